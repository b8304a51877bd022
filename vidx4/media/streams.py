"""Which streams of a source an output holds, and how."""

from collections.abc import Iterator
from dataclasses import dataclass

from vidx4.errors import ContainerError, OptionError, OutputError
from vidx4.media.formats.containers import FORMATS, PICTURES, format_of, held_codecs, holds
from vidx4.media.options import ALL, NONE, StreamOptions
from vidx4.media.tracks.convert import conversion
from vidx4.video import WHOLE, Source, StreamInfo, TimeRange

_OPTIONS = {"audio": "audio", "subtitle": "subtitles"}
"""The option that chooses among the streams of a kind."""


@dataclass(frozen=True)
class Carried:
    """A stream that an output holds."""

    stream: StreamInfo
    codec: str | None = None
    """What it is converted into; None for a copy, packet for packet."""
    note: str = ""
    """What is to be said of that."""


@dataclass(frozen=True)
class Streams:
    """What becomes of each stream of a source beside the enlarged one."""

    carried: tuple[Carried, ...]
    lost: tuple[tuple[StreamInfo, str], ...]
    """What nobody asked to leave out, and why that is done all the same."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of it."""
        converted = (
            f"{_named(each.stream)} becomes {each.codec}: {each.note}." for each in self.carried if each.codec
        )
        lost = (f"{_named(stream)} is left out: {why}." for stream, why in self.lost)
        return (*converted, *lost)


def choose_streams(
    source: Source, suffix: str, span: TimeRange = WHOLE, options: StreamOptions = StreamOptions()
) -> Streams:
    """Decide which streams an output holds.

    What its container can't hold is converted where that loses nothing that matters. Fonts and data that it
    can't hold are left out and told of, as are, in a part of a video, other videos and covers: they have
    no keyframe where it begins.

    Raises:
        OptionError: the options name streams that are not there.
        ContainerError: the container can't hold a wanted stream.
        OutputError: a wanted stream is protected.
    """
    carried: list[Carried] = []
    lost: list[tuple[StreamInfo, str]] = []
    for stream in _wanted(source, options):
        if why := _hindrance(stream, suffix, span):
            lost.append((stream, why))
        elif stream.is_protected:
            raise OutputError(_protection(source, stream))
        elif holds(suffix, source, stream):
            carried.append(Carried(stream))
        elif found := conversion(stream.codec, format_of(suffix)):
            carried.append(Carried(stream, found.codec, found.note))
        elif stream.kind in _OPTIONS:
            raise ContainerError(_refusal(source, stream, suffix))
        else:
            lost.append((stream, f"{suffix} can't hold it"))
    return Streams(tuple(carried), tuple(lost))


def _hindrance(stream: StreamInfo, suffix: str, span: TimeRange) -> str:
    """Return why a stream is left out whatever the container takes; nothing where it need not be."""
    if stream.kind == "video" and not span.is_whole:
        return "a range holds one video stream"
    if suffix == PICTURES:
        return "pictures hold no other stream"
    if not stream.is_described:
        return "the file is damaged where it describes it"
    if stream.is_protected and stream.kind not in _OPTIONS:
        return "it is protected"
    return ""


def _wanted(source: Source, options: StreamOptions) -> Iterator[StreamInfo]:
    chosen = {
        "audio": _numbers(source, "audio", options.audio),
        "subtitle": _numbers(source, "subtitle", options.subtitles),
    }
    for stream in source.streams:
        if stream.index != source.video_index and stream.index in chosen.get(stream.kind, {stream.index}):
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
            f"--{_OPTIONS[kind]} takes all, none or numbers of streams, not {wanted!r}."
        ) from None
    for number in sorted(numbers - there):
        known = ", ".join(map(str, sorted(there))) or "none"
        raise OptionError(f"Stream {number} of {source.path} is no {kind} stream: {known} would be.")
    return numbers


def _protection(source: Source, stream: StreamInfo) -> str:
    what = f"{_named(stream)} of {source.path} is protected"
    return f"{what}: it is of no use without its key. Leave it out by --{_OPTIONS[stream.kind]}."


def _refusal(source: Source, stream: StreamInfo, suffix: str) -> str:
    takers = [each for each in FORMATS if each != ".m4v" and holds(each, source, stream)]
    use = f"use {' or '.join(takers)}, or leave" if takers else "leave"
    option = f"--{_OPTIONS[stream.kind]}"
    return f"A {suffix} file can't hold {_named(stream, 's')} of {source.path}: {use} it out by {option}."


def _named(stream: StreamInfo, letter: str = "S") -> str:
    what = " ".join(filter(None, (stream.codec, stream.kind, stream.language)))
    return f"{letter}tream {stream.index} ({what})"


def choose_suffix(source: Source, codec: str = "auto", options: StreamOptions = StreamOptions()) -> str:
    """Return the suffix of the container that keeps most of a source and takes video of a codec.

    MP4 and its elder MOV keep any time base; Matroska rounds to milliseconds but holds any kind of stream.
    A source whose times are in milliseconds already, as Matroska's are, loses nothing there.
    """
    if "matroska" in source.container:
        return ".mkv"
    candidates = [".mp4", ".mov", ".mkv"]
    if any(stream.codec.startswith("pcm_") for stream in source.streams):
        candidates = [".mov", ".mp4", ".mkv"]  # few players take uncompressed sound in MP4
    return next((each for each in candidates if _keeps_all(source, each, codec, options)), ".mkv")


def _keeps_all(source: Source, suffix: str, codec: str, options: StreamOptions) -> bool:
    if codec != "auto" and codec not in held_codecs(suffix):
        return False
    wanted = (stream for stream in _wanted(source, options) if stream.kind != "data")
    return all(holds(suffix, source, stream) for stream in wanted)
