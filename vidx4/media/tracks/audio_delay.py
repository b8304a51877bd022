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
from vidx4.media.formats.ebml import Element, find_element
from vidx4.media.formats.matroska import SEGMENT, TRACK, TRACKS, VOID
from vidx4.media.formats.tiny_file import write_tiny_file
from vidx4.media.tracks.audio_trim import trim_sound
from vidx4.media.tracks.subtitle_trim import begin_of, read_around
from vidx4.media.tracks.timeline import Cut

_NANOSECONDS = 10**9
_CODEC_DELAY, _LANGUAGE = b"\x56\xaa", b"\x22\xb5\x9c"
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
    packet: Packet[Stream] = Packet(payload)
    packet.time_base, packet.is_keyframe = stream.time_base or Fraction(1), True
    # A checksum would be wrong after the change.
    return write_tiny_file(stream, packet, "matroska", write_crc32="0")


def _delay(mkv: bytes) -> Fraction:
    """Return the seconds that the only track of a file is delayed by."""
    delay = _track_elements(mkv).get(_CODEC_DELAY)
    return Fraction(int.from_bytes(delay.content) if delay else 0, _NANOSECONDS)


def _with_delay(mkv: bytes, delay: Fraction) -> bytes:
    """Return a file, as long as before, with another delay of its only track and no language."""
    data, elements = bytearray(mkv), _track_elements(mkv)
    if known := elements.get(_CODEC_DELAY):
        data[known.start : known.stop] = bytes(Element(VOID, bytes(known.stop - known.start - 2)))
    language = elements[_LANGUAGE]
    room = language.stop - language.start - len(_CODEC_DELAY) - 1
    number = round(delay * _NANOSECONDS).to_bytes(room)
    data[language.start : language.stop] = bytes(Element(_CODEC_DELAY, number))
    return bytes(data)


def _track_elements(mkv: bytes) -> dict[bytes, Element]:
    """Return what the only track of a file consists of."""
    return {each.name: each for each in find_element(mkv, SEGMENT, TRACKS, TRACK).children()}
