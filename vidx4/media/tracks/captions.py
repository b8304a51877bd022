"""Closed captions, which are stored in the frames of a video: read, moved to other frames, and written."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from pathlib import Path

from av.packet import Packet
from av.sidedata.sidedata import Type as SideDataType

from vidx4.media.container import AnyPacket, open_source, read_frame_packets
from vidx4.media.decode import stored_frames
from vidx4.media.display.side_data import SideDataReader
from vidx4.media.formats.captions import CAPTIONED, captions_in, with_captions
from vidx4.media.formats.cc_data import MAX_TRIPLETS, TRIPLET
from vidx4.video import Source, TimeRange

_MARGIN = 1
"""Seconds before a range from which to decode: after a seek, a decoder gives captions of frames that it skips
to the frames after them."""


@dataclass(frozen=True)
class Caption:
    """The captions of one frame."""

    time: Fraction
    """Second at which the frame is shown."""
    triplets: bytes
    """Triplets of a kind and two bytes of data, as in `cc_data` of CTA-708."""


def read_captions(source: Source, span: TimeRange) -> Iterator[Caption]:
    """Decode the captions of a span, in order of display, on the source's clock.

    Raises:
        SourceError: the source can't be read.
    """
    start, stop = (pts * source.time_base for pts in span.pts_bounds(source))
    stored, time = source.untreated or source, Fraction(0)
    margin, reader = _MARGIN // stored.time_base, SideDataReader()
    first, last = (-int(-seconds // stored.time_base) for seconds in (start, stop))  # rounded up
    for frame in stored_frames(stored, first - margin, last):
        # After damage, frames may come without a time: what these hold is shown at once.
        time = time if frame.pts is None else frame.pts * stored.time_base
        if time >= stop:
            return
        if time >= start and (triplets := reader.read(frame).get(SideDataType.A53_CC)):
            yield Caption(time, triplets)


def written_captions(path: Path, video_index: int) -> list[Caption]:
    """Read the captions of an H.264 or HEVC video out of its packets, without decoding, in order of display.

    Those of a video of another codec are not found.

    Raises:
        SourceError: the file can't be read.
    """
    with open_source(path) as container:
        stream = container.streams[video_index]
        context = stream.codec_context
        codec, description = context.codec.canonical_name, bytes(context.extradata or b"")
        if codec not in CAPTIONED:
            return []
        found = (
            Caption((packet.pts or 0) * packet.time_base, captions_in(bytes(packet), codec, description))
            for packet in read_frame_packets(container, stream)
        )
        return sorted((caption for caption in found if caption.triplets), key=lambda caption: caption.time)


def delays(
    given: Sequence[Caption], kept: Sequence[Caption], origin: Fraction, copy: Source
) -> Iterator[Fraction]:
    """Yield by how many seconds each triplet of a copy is later than on the first frame that could hold it.

    Args:
        given: captions of the source.
        kept: captions of the copy.
        origin: the second of the source's clock that is 0 on the copy's.
        copy: the copy, whose times may be rounded.
    """
    times = [pts * copy.time_base for pts in copy.pts]
    for time, found in zip(_times(given), _times(kept), strict=False):
        due = min(bisect_left(times, time - origin - copy.time_base), len(times) - 1)
        yield found - times[due]


def _times(captions: Iterable[Caption]) -> Iterator[Fraction]:
    """Yield the time of each triplet."""
    for caption in captions:
        yield from repeat(caption.time, len(caption.triplets) // TRIPLET)


def place_captions(captions: Iterable[Caption], times: Sequence[Fraction]) -> Mapping[int, bytes]:
    """Return the triplets that each frame gets, by its index.

    Captions of a frame that is gone belong to the next one. What is too much for one frame is left to those
    after it, and the last takes all that remains.

    Args:
        captions: captions in order of display.
        times: second at which each frame is shown, ascending.
    """
    placed: dict[int, bytes] = {}
    room, index = TRIPLET * MAX_TRIPLETS, 0
    for caption in captions:
        rest, index = caption.triplets, max(index, bisect_left(times, caption.time))
        while rest and index < len(times) - 1:
            held = placed.get(index, b"")
            taken = room - len(held)
            placed[index], rest = held + rest[:taken], rest[taken:]
            index += 1 if rest else 0
        if rest:
            index = len(times) - 1
            placed[index] = placed.get(index, b"") + rest
    return {index: triplets for index, triplets in placed.items() if triplets}


def add_captions(
    read_parts: Callable[[], Iterable[AnyPacket]], source: Source, span: TimeRange, codec: str
) -> Iterator[AnyPacket]:
    """Yield the packets of parts with the captions of a source.

    Args:
        read_parts: yields the packets of the parts, with start codes, on the source's clock.
        source: the source.
        span: the part of the source that the parts cover.
        codec: the name of the codec of the parts.

    Raises:
        SourceError: the source can't be read.
    """
    present = sorted(_pts(packet, source) for packet in read_parts())
    placed = place_captions(read_captions(source, span), [pts * source.time_base for pts in present])
    triplets_of = {present[index]: triplets for index, triplets in placed.items()}
    for packet in read_parts():
        triplets = triplets_of.get(_pts(packet, source))
        yield packet if triplets is None else _replaced(packet, with_captions(bytes(packet), triplets, codec))


def _pts(packet: AnyPacket, source: Source) -> int:
    return round((packet.pts or 0) * packet.time_base / source.time_base)


def _replaced(packet: AnyPacket, data: bytes) -> AnyPacket:
    """Return a packet with other data."""
    other: AnyPacket = Packet(data)
    other.stream, other.time_base, other.is_keyframe = packet.stream, packet.time_base, packet.is_keyframe
    other.pts, other.dts, other.duration = packet.pts, packet.dts, packet.duration
    return other
