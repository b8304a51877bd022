"""The clean aperture: the part of the stored picture that a container tells players to show."""

import struct
from contextlib import suppress
from dataclasses import astuple
from fractions import Fraction
from io import BytesIO

from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

from vidx4.appearance import Margins
from vidx4.media.formats.boxes import find_sample_entry, read_boxes
from vidx4.media.formats.matroska import read_margins
from vidx4.media.formats.tiny_file import write_tiny_file

_CLAP = struct.Struct(">8i")
"""Content of `clap` (ISO/IEC 14496-12, 12.1.4): width and height of what is shown, and how far its middle is
right of and below the middle of the picture; all as fractions."""
_SIZE = struct.Struct(">24x2H")
"""Width and height of the picture in a sample entry (ISO/IEC 14496-12, 12.1.3)."""
_VISUAL_SAMPLE_ENTRY = 78
"""Bytes of a sample entry of a video before its boxes."""


def margins_of(stream: VideoStream) -> Margins:
    """Return what players hide at the edges of the picture of a stream."""
    with suppress(ValueError, FFmpegError):  # FFmpeg's muxer of Matroska doesn't take every codec
        return read_margins(_tiny_file(stream, "matroska"))
    with suppress(ValueError, FFmpegError):
        return _from_box(_tiny_file(stream, "mov"))
    return Margins()


def _tiny_file(stream: VideoStream, muxer: str) -> bytes:
    return write_tiny_file(stream, Packet(bytes(16)), muxer)  # QuickTime has no track without a packet


def _from_box(movie: bytes) -> Margins:
    *_, entry = find_sample_entry(movie)
    boxes = read_boxes(BytesIO(movie), entry.body + _VISUAL_SAMPLE_ENTRY, entry.stop)
    clap = next((box for box in boxes if box.kind == b"clap"), None)
    if clap is None:
        return Margins()
    picture = _SIZE.unpack_from(movie, entry.body)
    values = _CLAP.unpack_from(movie, clap.body)
    fractions = [Fraction(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    before, after = [], []
    for length, shown, shift in zip(picture, fractions[:2], fractions[2:], strict=True):
        before.append(round((length - shown) / 2 + shift))
        after.append(round((length - shown) / 2 - shift))
    return Margins(before[0], before[1], after[0], after[1])


def enlarged(margins: Margins, across: Fraction, down: Fraction) -> Margins:
    """Return the margins of a picture that is enlarged by some factors."""
    left, top, right, bottom = astuple(margins)
    return Margins(round(left * across), round(top * down), round(right * across), round(bottom * down))


def to_box(margins: Margins, width: int, height: int) -> bytes:
    """Return margins as a box of MP4, given the size of the picture; nothing without margins."""
    if not margins:
        return b""
    left, top, right, bottom = astuple(margins)
    shown = (width - left - right, 1, height - top - bottom, 1)
    content = _CLAP.pack(*shown, left - right, 2, top - bottom, 2)
    return struct.pack(">I4s", 8 + len(content), b"clap") + content
