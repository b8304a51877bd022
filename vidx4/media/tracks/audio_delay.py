"""What Matroska says about sound that only prepares the decoder, which PyAV has no way to set."""

from fractions import Fraction
from io import BytesIO
from itertools import chain
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.stream import Stream

from vidx4.media.container import open_source
from vidx4.media.tracks.audio_trim import trim_sound
from vidx4.media.tracks.subtitle_trim import begin_of, read_around
from vidx4.media.tracks.timeline import Cut

_NANOSECONDS = 10**9
_SEGMENT, _TRACKS, _TRACK = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae"
_CODEC_DELAY, _LANGUAGE, _VOID = b"\x56\xaa", b"\x22\xb5\x9c", b"\xec"
"""Elements of Matroska (RFC 9559, 5.1)."""


def declare_delay(copy: Stream, path: Path, index: int, cut: Cut) -> None:
    """Make a Matroska file say how much of a sound before its beginning is decoded, but not heard.

    MP4 has edit lists for that, which FFmpeg writes by itself. PyAV copies the delay from stream to stream
    but can't set it: so a packet is written to a file in memory, the delay is written over another element of
    the same length, and what is read back is copied.

    Args:
        copy: a stream of an output whose header is not written yet, with the parameters of the original.
        path: the source.
        index: the number of the original there.
        cut: what is kept of the source.
    """
    if copy.container.format.name not in ("matroska", "webm") or copy.codec_context is None:
        return
    with open_source(path) as source:
        stream = source.streams[index]
        assert isinstance(stream, AudioStream)
        packets = read_around(source, stream, cut)
        sample = next(packets, None)
        if sample is None:
            return
        tiny = _tiny_file(stream, bytes(sample))
        packets = chain([sample], packets)
        first = next(packets if cut.is_whole else trim_sound(packets, stream, copy, cut), sample)
    delay, known = max(Fraction(0), -begin_of(first)), _delay(tiny)
    is_bare = not cut.is_whole and copy.codec_context.extradata is None  # the tiny file tells what AAC lacks
    if is_bare or abs(known - delay) > (first.time_base if known else 0):
        with av.open(BytesIO(_with_delay(tiny, delay))) as changed:
            BitStreamFilterContext("null", changed.streams.audio[0], copy)


def _tiny_file(stream: AudioStream, payload: bytes) -> bytes:
    file = BytesIO()
    with av.open(file, "w", format="matroska", container_options={"write_crc32": "0"}) as tiny:
        packet = Packet(payload)
        packet.stream, packet.pts, packet.dts = tiny.add_stream_from_template(stream, opaque=True), 0, 0
        packet.time_base, packet.is_keyframe = stream.time_base or Fraction(1), True
        tiny.mux(packet)
    return file.getvalue()


def _delay(mkv: bytes) -> Fraction:
    """Return the seconds that the only track of a file is delayed by."""
    _, body, stop = _track_elements(mkv).get(_CODEC_DELAY, (0, 0, 0))
    return Fraction(int.from_bytes(mkv[body:stop], "big"), _NANOSECONDS)


def _with_delay(mkv: bytes, delay: Fraction) -> bytes:
    """Return a file with another delay of its only track, and no statement of its language."""
    data, elements = bytearray(mkv), _track_elements(mkv)
    if _CODEC_DELAY in elements:
        start, _, stop = elements[_CODEC_DELAY]
        data[start:stop] = _VOID + bytes([0x80 | stop - start - 2]) + bytes(stop - start - 2)
    start, _, stop = elements[_LANGUAGE]
    data[start:stop] = _CODEC_DELAY + b"\x84" + round(delay * _NANOSECONDS).to_bytes(stop - start - 3, "big")
    return bytes(data)


def _track_elements(mkv: bytes) -> dict[bytes, tuple[int, int, int]]:
    """Return where each element of the only track begins, has its content, and ends."""
    segment = _elements(mkv, 0, len(mkv))[_SEGMENT]
    tracks = _elements(mkv, *segment[1:])[_TRACKS]
    track = _elements(mkv, *tracks[1:])[_TRACK]
    return _elements(mkv, *track[1:])


def _elements(mkv: bytes, start: int, stop: int) -> dict[bytes, tuple[int, int, int]]:
    found = {}
    while start < stop:
        name = mkv[start : start + _length(mkv[start])]
        place = start + len(name)
        body = place + _length(mkv[place])
        size = int.from_bytes(mkv[place:body], "big") & (1 << 7 * (body - place)) - 1
        found[name] = start, body, min(body + size, stop)
        start = body + size
    return found


def _length(byte: int) -> int:
    """Return the bytes of a number of variable length by its first one (RFC 8794, 4)."""
    return 9 - byte.bit_length()
