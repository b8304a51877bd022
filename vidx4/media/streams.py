"""Which streams of a source an output holds."""

from collections.abc import Iterator
from dataclasses import dataclass

from vidx4.errors import ContainerError, OptionError, OutputError
from vidx4.media.formats.codec_name import can_decode
from vidx4.media.formats.containers import FORMATS, PICTURES, format_of, held_codecs, holds
from vidx4.media.formats.limits import MAX_STREAMS, MAX_TEXTS_AT_ONCE
from vidx4.media.options import ALL, NONE, StreamOptions
from vidx4.media.tracks.convert import Conversion, compression, conversion
from vidx4.media.tracks.timecode import is_timecode
from vidx4.media.tracks.timeline import Cut
from vidx4.video import WHOLE, Source, StreamInfo, TimeRange

_OPTIONS = {"audio": "audio", "subtitle": "subtitles"}
"""The option that selects streams, by their kind."""
_WITHOUT_EMPTY = {
    **dict.fromkeys(("mp4", "mov"), ("audio", "data", "subtitle", "video")),  # the muxer leaves them out
    "mpegts": ("audio",),  # only packets tell the sample rate
}
"""Kinds of streams that a muxer can't write without packets."""
_COMBINING = frozenset({"mp4", "mov"})
"""Muxers of containers that can't show two texts at once: those that overlap become one."""


@dataclass(frozen=True)
class Carried:
    """A stream of a source that an output holds."""

    stream: StreamInfo
    codec: str | None = None
    """The codec that it is converted to; None to copy its packets."""
    note: str = ""
    """What the conversion keeps, for the user."""


@dataclass(frozen=True)
class Streams:
    """What becomes of the streams of a source, except the enlarged one."""

    carried: tuple[Carried, ...]
    lost: tuple[tuple[StreamInfo, str], ...]
    """Streams that are dropped though the options select them, and why."""

    @property
    def kept(self) -> tuple[StreamInfo, ...]:
        """The streams of the source that the output holds, beside the enlarged one."""
        return tuple(carried.stream for carried in self.carried)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about streams that are converted or dropped."""
        converted = (
            f"{_named(each.stream)} is converted to {each.codec}: {each.note}."
            for each in self.carried
            if each.codec
        )
        lost = (f"{_named(stream)} is dropped: {why}." for stream, why in self.lost)
        return (*converted, *lost)


def choose_streams(
    source: Source, suffix: str, span: TimeRange = WHOLE, options: StreamOptions = StreamOptions()
) -> Streams:
    """Decide which streams an output holds.

    A stream that the container can't hold is converted if that loses nothing that matters. Fonts and data
    that it can't hold are dropped with a warning. So are other videos and covers if only a range is wanted:
    they have no keyframe at its beginning.

    Raises:
        OptionError: the options select streams that don't exist.
        ContainerError: the container can't hold a selected stream, or there are too many.
        OutputError: a selected stream is protected.
    """
    carried: list[Carried] = []
    lost: list[tuple[StreamInfo, str]] = []
    if suffix != PICTURES:
        _check_number(source, options)
    for stream in _wanted(source, options):
        if why := _reason_to_drop(source, stream, suffix, span):
            lost.append((stream, why))
        elif stream.is_protected:
            raise OutputError(_protection(source, stream))
        elif holds(suffix, source, stream):
            carried.append(Carried(stream))
        elif found := _conversion(source, stream, suffix):
            carried.append(Carried(stream, found.codec, found.note))
        elif stream.kind in _OPTIONS and can_decode(stream.codec):
            raise ContainerError(_refusal(source, stream, suffix))
        else:
            lost.append((stream, f"{suffix} can't hold it"))
    return Streams(tuple(carried), tuple(lost))


def _check_number(source: Source, options: StreamOptions) -> None:
    number = sum(stream.kind != "attachment" for stream in _wanted(source, options))
    if number > MAX_STREAMS:
        raise ContainerError(
            f"{source.path} holds {number} streams beside its video, more than the {MAX_STREAMS} that can be "
            "kept: choose some with --audio and --subtitles."
        )


def _conversion(source: Source, stream: StreamInfo, suffix: str) -> Conversion | None:
    """Return what a stream becomes in a container that can't hold it; None if too much would be lost."""
    muxer = format_of(suffix)
    if not can_decode(stream.codec):
        return None
    if found := conversion(stream.codec, muxer):
        return found
    return None if stream.kind != "audio" or _takers(source, stream) else compression(muxer)


def _takers(source: Source, stream: StreamInfo) -> list[str]:
    """Return the suffixes of the containers that can hold a stream as it is."""
    return [each for each in FORMATS if each != ".m4v" and holds(each, source, stream)]


def _reason_to_drop(source: Source, stream: StreamInfo, suffix: str, span: TimeRange) -> str:
    """Return why a stream is dropped whatever the container can hold; an empty string to keep it."""
    if stream.kind == "video" and not span.is_whole:
        return "a range is written with one video stream"
    if suffix == PICTURES:
        return "pictures have no other streams"
    if not stream.codec and stream.kind in ("audio", "subtitle", "video"):
        return "its codec is unknown to FFmpeg"
    if not stream.is_described:
        return "FFmpeg finds no description of it in the file"
    if stream.is_protected and stream.kind not in _OPTIONS:
        return "it is protected"
    if stream.most_at_once > MAX_TEXTS_AT_ONCE and format_of(suffix) in _COMBINING:
        return f"it shows more than {MAX_TEXTS_AT_ONCE} texts at once, which {suffix} would have to combine"
    if stream.kind in _WITHOUT_EMPTY.get(format_of(suffix), ()):
        return _emptiness(source, stream, span)
    return ""


def _emptiness(source: Source, stream: StreamInfo, span: TimeRange) -> str:
    """Return why a stream would be empty, an empty string if it has packets where they are wanted."""
    if stream.is_empty:
        return "it is empty"
    cut = Cut.of(source, span)
    if stream.stretches is None or any(cut.holds(*stretch) for stretch in stream.stretches):
        return ""
    return "it is empty in this range"


def _wanted(source: Source, options: StreamOptions) -> Iterator[StreamInfo]:
    chosen = {
        "audio": _numbers(source, "audio", options.audio),
        "subtitle": _numbers(source, "subtitle", options.subtitles),
    }
    for stream in source.streams:
        if stream.index == source.video_index or is_timecode(stream.kind, dict(stream.tags)):
            continue
        if stream.index in chosen.get(stream.kind, {stream.index}):
            yield stream


def _numbers(source: Source, kind: str, wanted: str) -> set[int]:
    there = {stream.index for stream in source.streams if stream.kind == kind}
    if wanted == ALL:
        return there
    if wanted == NONE:
        return set()
    try:
        numbers = {int(number) for number in wanted.split(",")}
    except ValueError:
        raise OptionError(
            f"--{_OPTIONS[kind]} takes all, none or stream numbers such as 1,3, not {wanted!r}."
        ) from None
    for number in sorted(numbers - there):
        known = ", ".join(map(str, sorted(there))) or "none"
        article = "an" if kind == "audio" else "a"
        raise OptionError(
            f"Stream {number} of {source.path} is not {article} {kind} stream. "
            f"{kind.capitalize()} streams: {known}."
        )
    return numbers


def _protection(source: Source, stream: StreamInfo) -> str:
    what = f"{_named(stream)} of {source.path} is protected and useless without its key"
    return f"{what}: exclude it with --{_OPTIONS[stream.kind]}."


def _refusal(source: Source, stream: StreamInfo, suffix: str) -> str:
    takers = _takers(source, stream)
    use = f"use {' or '.join(takers)}, or exclude" if takers else "exclude"
    option = f"--{_OPTIONS[stream.kind]}"
    return f"A {suffix} file can't hold {_named(stream, 's')} of {source.path}: {use} it with {option}."


def _named(stream: StreamInfo, letter: str = "S") -> str:
    what = " ".join(filter(None, (stream.codec, stream.kind, stream.language)))
    return f"{letter}tream {stream.index} ({what})"


def choose_suffix(source: Source, codec: str = "auto", options: StreamOptions = StreamOptions()) -> str:
    """Return the suffix of the container that keeps most of a source and can hold video of a codec.

    MP4 and its predecessor MOV keep any time base. Matroska rounds times to milliseconds, but holds any kind
    of stream; nothing is rounded if the source is a Matroska file itself.
    """
    if "matroska" in source.container:
        return ".mkv"
    candidates = [".mp4", ".mov", ".mkv"]
    if any(stream.codec.startswith("pcm_") for stream in source.streams):
        candidates = [".mov", ".mp4", ".mkv"]  # few players support uncompressed sound in MP4
    if source.container == "mpegts":
        candidates.append(".ts")  # it moves the beginning, so only if it alone keeps all
    return next((each for each in candidates if _keeps_all(source, each, codec, options)), ".mkv")


def _keeps_all(source: Source, suffix: str, codec: str, options: StreamOptions) -> bool:
    if codec != "auto" and codec not in held_codecs(suffix):
        return False
    wanted = (stream for stream in _wanted(source, options) if stream.kind != "data")
    return all(
        holds(suffix, source, stream)
        for stream in wanted
        if stream.kind == "attachment" or (stream.codec and not stream.is_empty)
    )
