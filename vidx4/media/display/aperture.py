"""The clean aperture: the part of the stored picture that a container asks players to show."""

import struct
from contextlib import suppress
from dataclasses import astuple
from fractions import Fraction
from io import BytesIO

import av
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vidx4.media.formats.matroska import read_margins
from vidx4.video import Margins

_BOX = struct.Struct(">I4s8i")
"""`clap` (ISO/IEC 14496-12, 12.1.4): width and height of what is shown, and by how much its middle is right
of and below that of the picture, all as fractions."""


def margins_of(stream: VideoStream) -> Margins:
    """Return what players leave away around the picture of a stream.

    PyAV copies this from stream to stream but can't tell it: it is read from the header of a file in memory.
    """
    with suppress(ValueError, FFmpegError):  # Matroska doesn't hold each codec
        return read_margins(_tiny_file(stream, "matroska"))
    with suppress(ValueError, FFmpegError):
        return _from_box(_tiny_file(stream, "mov").getvalue())
    return Margins()


def _tiny_file(stream: VideoStream, kind: str) -> BytesIO:
    file = BytesIO()
    with av.open(file, "w", format=kind) as tiny:
        packet: Packet[Stream] = Packet(bytes(16))  # QuickTime has no track without any
        packet.stream = tiny.add_stream_from_template(stream, opaque=True)
        packet.pts = packet.dts = 0
        tiny.mux(packet)
    file.seek(0)
    return file


def _from_box(movie: bytes) -> Margins:
    place, entry = movie.find(b"clap"), movie.find(b"stsd") + 4 + 8
    if place < 0:
        return Margins()
    picture = struct.unpack_from(">2H", movie, entry + 32)
    values = _BOX.unpack_from(movie, place - 4)[2:]
    fractions = [Fraction(a, b) for a, b in zip(values[::2], values[1::2], strict=True)]
    before, after = [], []
    for length, shown, shift in zip(picture, fractions[:2], fractions[2:], strict=True):
        before.append(round((length - shown) / 2 + shift))
        after.append(round((length - shown) / 2 - shift))
    return Margins(before[0], before[1], after[0], after[1])


def enlarged(margins: Margins, across: Fraction, down: Fraction) -> Margins:
    """Return the margins of a picture that is so many times larger."""
    left, top, right, bottom = astuple(margins)
    return Margins(round(left * across), round(top * down), round(right * across), round(bottom * down))


def to_box(margins: Margins, width: int, height: int) -> bytes:
    """Return the margins of a picture of a size as a box of MP4; empty for none."""
    if not margins:
        return b""
    left, top, right, bottom = astuple(margins)
    shown = (width - left - right, 1, height - top - bottom, 1)
    return _BOX.pack(_BOX.size, b"clap", *shown, left - right, 2, top - bottom, 2)
