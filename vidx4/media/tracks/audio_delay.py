"""The codec delay of Matroska: sound at the beginning that only prepares the decoder. PyAV can't set it."""

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
"""Elements of a track (RFC 9559, 5.1.4.1)."""


def declare_delay(copy: Stream, path: Path, index: int, cut: Cut) -> None:
    """State in a Matroska file how much sound before its beginning is decoded, but not heard.

    MP4 has edit lists for it, which FFmpeg writes automatically. PyAV copies the delay between streams, but
    can't set it. So a packet is written to a file in memory, the delay replaces another element there, and
    what FFmpeg reads from it is copied.

    Args:
        copy: a stream of an output whose header is not written yet, with the parameters of the original.
        path: the source.
        index: the index of the original in the source.
        cut: the part of the source that is kept.
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
    # AAC may come without its header, as in MPEG-TS; FFmpeg's muxer made one for the tiny file.
    is_bare = not cut.is_whole and copy.codec_context.extradata is None
    if is_bare or abs(known - delay) > (first.time_base if known else 0):
        with av.open(BytesIO(_with_delay(tiny, delay))) as changed:
            BitStreamFilterContext("null", changed.streams.audio[0], copy)


def _tiny_file(stream: AudioStream, payload: bytes) -> bytes:
    packet: Packet[Stream] = Packet(payload)
    packet.time_base, packet.is_keyframe = stream.time_base or Fraction(1), True
    # A checksum would be wrong after the change.
    return write_tiny_file(stream, packet, "matroska", write_crc32="0")


def _delay(mkv: bytes) -> Fraction:
    """Return the codec delay of a file's only track, in seconds."""
    delay = _track_elements(mkv).get(_CODEC_DELAY)
    return Fraction(int.from_bytes(delay.content) if delay else 0, _NANOSECONDS)


def _with_delay(mkv: bytes, delay: Fraction) -> bytes:
    """Return a file of the same length with another delay of its only track, in place of its language."""
    data, elements = bytearray(mkv), _track_elements(mkv)
    if known := elements.get(_CODEC_DELAY):
        data[known.start : known.stop] = bytes(Element(VOID, bytes(known.stop - known.start - 2)))
    language = elements[_LANGUAGE]
    room = language.stop - language.start - len(_CODEC_DELAY) - 1
    number = round(delay * _NANOSECONDS).to_bytes(room)
    data[language.start : language.stop] = bytes(Element(_CODEC_DELAY, number))
    return bytes(data)


def _track_elements(mkv: bytes) -> dict[bytes, Element]:
    """Return the elements of a file's only track by their names."""
    return {each.name: each for each in find_element(mkv, SEGMENT, TRACKS, TRACK).children()}
