"""What containers say about the picture that PyAV has no way to set: HDR, the clean aperture."""

import struct
from io import BytesIO
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.video.stream import VideoStream

from vidx4.media.container import open_source, read_frame_packets

_HEADER = 8
"""Bytes of a box before its content: size and name (ISO/IEC 14496-12, 4.2)."""
_SAMPLE_ENTRY_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_STSD_PREFIX = 8
"""Bytes before the first sample entry: version, flags and the number of entries."""
_UNDO_MP4 = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


def add_boxes(video: VideoStream, part: Path, boxes: bytes) -> None:
    """Make the video stream of an output carry in its container what boxes of MP4 say.

    PyAV copies such metadata from stream to stream but can't set it: so the part's first packet is written to
    an MP4 file in memory, the metadata is added to its header, and what is read back is copied.

    Args:
        video: was made after the part's stream.
        part: a file of `encode_part` that holds a frame.
        boxes: what is added to those of a sample entry.
    """
    if not boxes:
        return
    with open_source(part) as container, av.open(BytesIO(with_boxes(_tiny_mp4(container), boxes))) as tiny:
        template = tiny.streams.video[0]
        # MP4 has its own form of these headers; packets of parts, and so all muxers, expect the usual one.
        BitStreamFilterContext(
            _UNDO_MP4.get(template.codec_context.codec.canonical_name, "null"), template, video
        )
    video.codec_context.codec_tag = "\0\0\0\0"  # the muxer's choice


def _tiny_mp4(container: InputContainer) -> bytes:
    file, stream = BytesIO(), container.streams.video[0]
    kind = "mov" if stream.codec_context.name.startswith("prores") else "mp4"
    with av.open(file, "w", format=kind) as tiny:
        copy = tiny.add_stream_from_template(stream, opaque=True)
        packet = next(read_frame_packets(container, stream))
        packet.stream = copy
        packet.pts = packet.dts = 0
        tiny.mux(packet)
    return file.getvalue()


def with_boxes(mp4: bytes, boxes: bytes) -> bytes:
    """Add boxes to the sample entry of the only track of a file whose `moov` comes last."""
    data = bytearray(mp4)
    start, stop, sizes = 0, len(data), []
    for name in _SAMPLE_ENTRY_PATH:
        start, stop = _find(data, name, start, stop)
        sizes.append(start)
        start += _HEADER
    entry = start + _STSD_PREFIX
    sizes.append(entry)
    end = entry + _size(data, entry)
    data[end:end] = boxes
    for place in sizes:
        struct.pack_into(">I", data, place, _size(data, place) + len(boxes))
    return bytes(data)


def _find(data: bytearray, name: bytes, start: int, stop: int) -> tuple[int, int]:
    """Return where a box begins and ends."""
    while bytes(data[start + 4 : start + _HEADER]) != name:
        start += _size(data, start)
    return start, start + _size(data, start)


def _size(data: bytearray, place: int) -> int:
    return int(struct.unpack_from(">I", data, place)[0])
