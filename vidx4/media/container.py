"""Open a file and read its packets."""

import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, TypeAlias

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream

from vidx4.errors import SourceError
from vidx4.files.read import open_file
from vidx4.files.windows_names import MAX_LENGTH, allows_long_paths
from vidx4.media.formats import ebml
from vidx4.media.formats.boxes import read_boxes
from vidx4.media.formats.demuxers import DECODER_OPTIONS, file_url, reading_options
from vidx4.media.formats.limits import MAX_TAGS
from vidx4.media.formats.matroska import SEGMENT
from vidx4.media.formats.sample_tables import MAX_ENTRIES, num_entries
from vidx4.media.pictures.animated_webp import is_animation, open_animation
from vidx4.media.pictures.read_sequence import is_sequence, open_sequence
from vidx4.video import STEADY, Clock

_logger = logging.getLogger(__name__)

OnError: TypeAlias = Callable[[FFmpegError], object]
"""Receives an error of reading packets."""
AnyPacket: TypeAlias = "Packet[Stream]"
"""A packet of any kind of stream; PyAV's class has its type parameter only in the stubs."""

BITEXACT = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
"""Options of a muxer: write no date, version or random number, and keep every timestamp."""
_MAX_DELAY = 16
"""Most places by which H.264 and HEVC decode a frame earlier than they show it."""
_UNORDERED = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo"})
"""Demuxers of containers without presentation times."""
_PATIENCE = 120.0
"""Seconds to wait for a file to be opened, or for its next bytes."""
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
"""An address such as `https://example.org/film.mp4`, whose slashes a path may have joined."""
_PLANE = ".y"
"""The suffix of files of one plane of a picture: FFmpeg looks for the others beside them."""
_LISTS = (b"ffconcat version", b"#EXTM3U", b"<")
"""First bytes of files that make FFmpeg open others, even pipes that block: concat, HLS, DASH (XML)."""
_MAGIC_LANTERN = b"MLVI"
"""First bytes of raw recordings that go on in other files."""
_BOXES = frozenset(
    [*b"ftyp moov mdat wide free skip moof styp sidx mfra emsg meta udta uuid".split(), b"jP  "]
)
"""Kinds of boxes at the top of MP4, QuickTime and JPEG 2000 files."""
_HEAD = 8
"""Bytes that tell how a file is structured."""


def open_source(path: Path) -> InputContainer:
    """Open a file, or numbered pictures, for reading.

    Raises:
        SourceError: the file is missing, unreadable, protected, or of an unknown format.
    """
    if is_sequence(path):
        return open_sequence(path)
    _check_readable(path)
    if is_animation(path):
        return open_animation(path)
    try:
        container = _open(path)
    except FFmpegError as error:
        raise SourceError(
            f"{path} can't be read as a video: it is something else, or is cut off before its index "
            f"({error.strerror})."
        ) from error
    if _is_protected(container):
        container.close()
        raise SourceError(f"{path} is protected and can't be decoded without its key.")
    if max(len(each.metadata) for each in (container, *container.streams)) > MAX_TAGS:
        container.close()
        raise SourceError(f"{path} holds more than {MAX_TAGS:,} tags: copy its streams to a new file.")
    return container


def open_part(path: Path, demuxer: str) -> InputContainer:
    """Open a file that vidx4 has written: as what it is, whatever may have taken its place.

    Args:
        path: the file.
        demuxer: FFmpeg's name of its format.

    Raises:
        SourceError: it is missing, unreadable, or something else.
    """
    _check_readable(path)
    try:
        container = _open(path, demuxer)
    except FFmpegError as error:
        raise SourceError(f"{path} is damaged or was not written by vidx4: delete it.") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{path} holds no video and was not written by vidx4: delete it.")
    return container


def _open(path: Path, demuxer: str | None = None) -> InputContainer:
    container = av.open(
        file_url(path),
        format=demuxer,
        options=DECODER_OPTIONS,
        container_options=reading_options(),
        metadata_errors="replace",
        timeout=_PATIENCE,
    )
    for stream in container.streams.video:
        if stream.codec_context is not None:
            stream.codec_context.options = DECODER_OPTIONS
    return container


def _is_protected(container: InputContainer) -> bool:
    """Return whether a header names a key, as in Windows Media and Matroska; in MP4, the packets do."""
    videos = container.streams.video
    return "ASF_Protection_Type" in container.metadata or any("enc_key_id" in s.metadata for s in videos)


def why_missing(name: str) -> str:
    """Return a sentence on a file that is not there; as a path, an address has lost a slash."""
    if address := _ADDRESS.fullmatch(name):
        scheme, rest = address.groups()
        return (
            f"{scheme}://{rest} is an address, and vidx4 reads files: download it first, and give the path "
            "of the file."
        )
    if any(each in name for each in "*?["):
        return f"{name} does not exist: no file matches that pattern."
    if sys.platform == "win32" and len(name) > MAX_LENGTH and not allows_long_paths():
        return (
            f"{name} can't be opened: Windows allows {MAX_LENGTH} characters unless long paths are enabled."
        )
    return f"{name} does not exist."


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            raise SourceError(
                f"{path} is a folder without numbered pictures: for one of videos, use vidx4 batch {path} "
                "OUTPUT."
            )
        if not path.exists():
            raise SourceError(why_missing(str(path)))
        if not path.is_file():
            raise SourceError(f"{path} is not a file.")
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty.")
        _check_content(path)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error


def _check_content(path: Path) -> None:
    if path.name.lower().endswith(_PLANE):  # even if that is the whole name
        raise SourceError(f"{path} holds one plane of a picture, not a video.")
    with open_file(path) as file:
        start = file.read(32)
        if start.startswith(_LISTS):
            raise SourceError(f"{path} is a list of other files or a document, not a video.")
        if start.startswith(_MAGIC_LANTERN):
            raise SourceError(
                f"{path} is a raw recording of Magic Lantern, which may go on in files beside it: convert it "
                "to a video first."
            )
        if num_entries(file, path) > MAX_ENTRIES:
            raise SourceError(
                f"{path} claims to hold more than {MAX_ENTRIES:,} samples: if that is true, divide it into "
                "pieces."
            )


def knows_order(container: InputContainer) -> bool:
    """Return whether a container states the order in which frames are shown, not only that of decoding."""
    return container.format.name not in _UNORDERED


def packet_pts(container: InputContainer, packet: AnyPacket, index: int) -> int:
    """Return the pts of a frame; without `knows_order`, that of a frame nearby.

    Args:
        container: the file of the packet.
        packet: a packet of a video.
        index: the number of packets before it.
    """
    pts = packet.pts if knows_order(container) else packet.dts  # the pts that FFmpeg gives is a guess
    pts = packet.dts if pts is None else pts
    return index * (packet.duration or 1) if pts is None else pts


def is_cut_off(path: Path) -> bool:
    """Return whether a file is shorter than its own structure says; MP4, Matroska and AVI state it."""
    if not path.is_file():  # numbered pictures
        return False
    size = path.stat().st_size
    with open_file(path) as file:
        head = file.read(_HEAD)
        if head[4:8] in _BOXES:
            return _end_of_boxes(file, size) > size
        if head.startswith(ebml.HEADER):
            return _end_of_segment(file) > size
    # The last chunk of a RIFF file may lack the byte that pads it to an even length.
    return head.startswith(b"RIFF") and int.from_bytes(head[4:8], "little") + _HEAD > size + 1


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Return the end of the last of the boxes at the top of an MP4 file."""
    known = takewhile(lambda box: box.kind in _BOXES, read_boxes(file, 0, size))
    return max((box.stop for box in known), default=0)


def _end_of_segment(file: BinaryIO) -> int:
    """Return the end of the segment, the one element after the header of a Matroska file; 0 if unknown."""
    file.seek(0)
    with suppress(ValueError):
        file.seek(ebml.read_header(file).size or 0, os.SEEK_CUR)
        segment = ebml.read_header(file)
        return file.tell() + (segment.size or 0) if segment.name == SEGMENT else 0
    return 0


def read_packets(
    container: InputContainer,
    *streams: Stream,
    on_error: OnError | None = None,
    clock: Clock = STEADY,
) -> Iterator[AnyPacket]:
    """Yield the packets of some streams in the order of the file, up to the first place that can't be read.

    Args:
        container: an open file; at its beginning, unless its clock is steady.
        streams: the streams.
        on_error: called with what went wrong at a place that can't be read; None to end there.
        clock: the clock that timestamps are moved to.
    """
    return _on_clock(_stored_packets(container, streams, on_error), clock)


def _on_clock(packets: Iterator[AnyPacket], clock: Clock) -> Iterator[AnyPacket]:
    """Yield packets, read from the beginning of a file, with the timestamps of its continuous clock."""
    if clock == STEADY:
        yield from packets
        return
    counts: Counter[int] = Counter()
    shifts: dict[int, Fraction] = {}
    jumps = {(jump.stream, jump.packet): jump.shift for jump in clock.jumps}
    for packet in packets:
        index = packet.stream_index
        shifts[index] = jumps.get((index, counts[index]), shifts.get(index, Fraction(0)))
        counts[index] += 1
        _shift(packet, shifts[index])
        yield packet


def _shift(packet: AnyPacket, seconds: Fraction) -> None:
    ticks = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks


def _stored_packets(
    container: InputContainer, streams: tuple[Stream, ...], on_error: OnError | None
) -> Iterator[AnyPacket]:
    try:
        for packet in container.demux(streams):
            if packet.size or packet.dts is not None:  # the last one is empty: it flushes a decoder
                yield packet
    except IndexError:
        return  # PyAV fails to flush a stream that appears in the middle of a file, such as MPEG-TS
    except FFmpegError as error:
        _logger.debug("%s can't be read to the end: %s", container.name, error.strerror)
        if on_error is not None:
            on_error(error)


def read_frame_packets(
    container: InputContainer,
    stream: Stream,
    on_error: OnError | None = None,
    clock: Clock = STEADY,
) -> Iterator[AnyPacket]:
    """Yield the packets of a video that hold a frame.

    Theora has empty packets, which show the last frame for longer. To FFmpeg's decoders, an empty packet
    means the end of the stream.
    """
    packets = read_packets(container, stream, on_error=on_error, clock=clock)
    return (packet for packet in packets if packet.size)


def complete_times(packets: Iterable[AnyPacket]) -> Iterator[AnyPacket]:
    """Yield packets that all have a pts and a dts.

    Matroska stores no dts. FFmpeg derives them from the pts, but in a stream with reordered frames not those
    of the first packets: these wait for the first packet with a dts.
    """
    waiting: dict[int, list[AnyPacket]] = {}
    for packet in packets:
        run = waiting.setdefault(packet.stream_index, [])
        run.append(packet)
        if packet.dts is not None or not _may_be_reordered(packet) or len(run) > _MAX_DELAY:
            yield from _complete_run(waiting.pop(packet.stream_index))
    for run in waiting.values():
        yield from _complete_run(run)


def _may_be_reordered(packet: AnyPacket) -> bool:
    stream = packet.stream
    return stream.type == "video" and not stream.disposition & Disposition.attached_pic


def _complete_run(run: list[AnyPacket]) -> Iterator[AnyPacket]:
    """Yield packets of one stream, giving a dts to those before the last, counting down from the last's.

    Args:
        run: consecutive packets of which only the last may have a dts.
    """
    last = run[-1].dts
    if last is None:
        last = min(packet.pts or 0 for packet in run)  # a cover picture has no times at all
    for dts, packet in enumerate(run, start=last - len(run) + 1):
        packet.dts = dts
        packet.pts = dts if packet.pts is None else packet.pts
        yield packet
