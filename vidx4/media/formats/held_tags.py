"""Which metadata a container holds.

FFmpeg's muxers drop, rename and change what they can't store, each in its own way. So a muxer is asked: the
metadata is written to a file of one packet in memory, and what is read from that is what an output will hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO

import av
from av.container import Container
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from vidx4.media.formats.containers import MATROSKA
from vidx4.media.formats.languages import UNDETERMINED, written_language
from vidx4.media.formats.tags import CREATION_TIME, is_same_value, lasting

_QUICKTIME = frozenset({"mp4", "mov"})
_WITH_KEYS = {"movflags": "+use_metadata_tags"}
"""Options of a muxer that give MP4 and QuickTime files metadata with any key; fewer players read it."""
_MAX_SERVICE_NAME = 255
"""Bytes of the longest name of a service in MPEG-TS (ETSI EN 300 468, 6.2.35), for which a title is taken."""
_NAMED_IN_TS = frozenset({"audio", "subtitle"})
"""Kinds of streams that the muxer of MPEG-TS writes a language for."""
_MAX_HANDLER_NAME = 255
"""Bytes of the longest name of a track in QuickTime files, whose length is stored in one byte."""
_SIZE = 16
"""Width and height of the picture in a file that is only written to be read."""


@dataclass(frozen=True)
class HeldTags:
    """What becomes of the metadata of a file, or of one of its streams, in a container."""

    kept: Mapping[str, str] = field(default_factory=dict)
    """What is written, and what is read again under the same keys, apart from upper and lower case."""
    lost: tuple[str, ...] = ()
    """Keys of what the container can't hold."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options with which the muxer holds it."""


@dataclass(frozen=True)
class _Probe:
    """A file of one packet that a muxer is asked to write."""

    muxer: str
    options: Mapping[str, str] = field(default_factory=dict)
    is_of_stream: bool = False
    """Whether the metadata is that of a stream."""
    rate: Fraction | None = None
    """Frames per second of the video."""
    time_base: Fraction = Fraction(1, 12800)

    def held(self, tags: Mapping[str, str]) -> HeldTags:
        """Return what the muxer holds; where it refuses everything, each tag is tried by itself."""
        if not tags:
            return HeldTags(options=self.options)
        try:
            found = self._written(tags)
        except (FFmpegError, ValueError):
            alone = [] if len(tags) == 1 else [self.held({key: value}) for key, value in tags.items()]
            kept = {key: value for each in alone for key, value in each.kept.items()}
        else:
            kept = {key: value for key, value in tags.items() if _is_found(key, value, found)}
        return HeldTags(kept, tuple(key for key in tags if key not in kept), self.options)

    def _written(self, tags: Mapping[str, str]) -> dict[str, str]:
        file = BytesIO()
        options = {"fflags": "+bitexact", **self.options}
        if self.muxer in _QUICKTIME:
            options["video_track_timescale"] = str(self.time_base.denominator)
        with av.open(file, "w", format=self.muxer, container_options=options) as container:
            codec = "vp8" if self.muxer == "webm" else "mpeg4"
            stream = container.add_mux_stream(codec, self.rate, width=_SIZE, height=_SIZE)
            stream.time_base = self.time_base
            (stream if self.is_of_stream else container).metadata.update(tags)
            container.mux(_packet(stream))
        with av.open(BytesIO(file.getvalue()), metadata_errors="replace") as container:
            return read_tags(container.streams[0] if self.is_of_stream else container)


def _packet(stream: Stream) -> "Packet[Stream]":
    packet: Packet[Stream] = Packet(b"\0" * 8)
    packet.stream, packet.time_base, packet.is_keyframe = stream, stream.time_base or Fraction(1), True
    packet.pts = packet.dts = 0
    return packet


def _is_found(key: str, value: str, found: Mapping[str, str]) -> bool:
    return key.lower() in found and is_same_value(key, value, found[key.lower()])


def read_tags(described: Stream | Container) -> dict[str, str]:
    """Return the metadata of a file or a stream with keys in lower case."""
    found = {key.lower(): value for key, value in described.metadata.items()}
    if isinstance(described, Stream) and (title := _title(found)):
        found["title"] = title
    return found


def _title(tags: Mapping[str, str]) -> str:
    """Return the title of a stream; FFmpeg calls it a name in QuickTime files, and garbles all but ASCII."""
    name = tags.get("name", "")
    return tags.get("title", name if name.isascii() else "")


def tags_of_file(metadata: Mapping[str, str], muxer: str) -> HeldTags:
    """Return what becomes of the metadata of a file.

    Args:
        metadata: as it is read from the source.
        muxer: FFmpeg's name of the output's container.
    """
    wanted, doubled = _distinct(lasting(metadata), muxer)
    if muxer == "mpegts":
        title = wanted.get("title", "")
        return HeldTags({"title": title} if 0 < len(title.encode()) <= _MAX_SERVICE_NAME else {})
    time = {CREATION_TIME: wanted.pop(CREATION_TIME)} if CREATION_TIME in wanted else {}
    # With keys, a time is stored twice, as a number and as text: the number has to be right.
    held_time = _Probe(muxer).held(time)
    held = _Probe(muxer).held(wanted)
    if held.lost and muxer in _QUICKTIME:
        held = min(held, _Probe(muxer, _WITH_KEYS).held(wanted), key=lambda each: len(each.lost))
    return HeldTags({**held.kept, **held_time.kept}, (*held_time.lost, *held.lost, *doubled), held.options)


def tags_of_stream(
    kind: str,
    metadata: Mapping[str, str],
    muxer: str,
    timecode: str = "",
    rate: Fraction | None = None,
    time_base: Fraction = Fraction(1, 12800),
) -> HeldTags:
    """Return what becomes of the metadata of a stream.

    Args:
        kind: `video`, `audio`, `subtitle` or `data`.
        metadata: as it is read from the source.
        muxer: FFmpeg's name of the output's container.
        timecode: that of the first frame, for a video that has one.
        rate: frames per second of the video, if they all last equally long.
        time_base: seconds per unit of its pts.
    """
    wanted = lasting(metadata)
    wanted.pop(CREATION_TIME, None)  # that of the file counts: most containers store no other
    wanted |= {"title": title} if (title := _title(wanted)) else {}
    language = written_language(wanted.pop("language", ""), muxer)
    if muxer in _QUICKTIME:
        wanted.pop("name", None)
        wanted |= {"handler_name": title} if title else {}  # the name that most players show
    wanted |= {"timecode": timecode} if timecode else {}
    wanted |= {"language": language} if language not in ("", UNDETERMINED) else {}
    if muxer == "mpegts":
        is_named = "language" in wanted and kind in _NAMED_IN_TS
        named = {"language": wanted.pop("language")} if is_named else {}
        return HeldTags(named, tuple(wanted))
    if muxer == "mov" and len(wanted.get("handler_name", "").encode()) > _MAX_HANDLER_NAME:
        del wanted["handler_name"]  # it would spoil what follows it
    wanted, doubled = _distinct(wanted, muxer)
    held = _Probe(muxer, {}, True, rate, time_base).held(wanted)
    has_title = title and title in (held.kept.get("title"), held.kept.get("handler_name"))
    lost = [key for key in (*held.lost, *doubled) if not (key == "title" and has_title)]
    return HeldTags(held.kept, tuple(lost))


def _distinct(tags: Mapping[str, str], muxer: str) -> tuple[dict[str, str], list[str]]:
    """Return tags under keys that a container doesn't change, and the keys of those that would be doubles."""
    found: dict[str, str] = {}
    known: set[str] = set()
    doubled = []
    for key, value in tags.items():
        stored = key.replace(" ", "_") if muxer in MATROSKA else key
        if stored.lower() in known:
            doubled.append(key)
        else:
            found[stored] = value
            known.add(stored.lower())
    return found, doubled
