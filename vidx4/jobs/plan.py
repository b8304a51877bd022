"""What will be done, decided before any work."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vidx4.errors import OptionError
from vidx4.jobs.request import Request
from vidx4.media.encoder import EncoderSettings
from vidx4.media.output import Output, plan_output
from vidx4.media.pictures.read_sequence import find_sequence, is_sequence
from vidx4.media.pictures.write_sequence import split_output
from vidx4.media.source import read_source
from vidx4.media.streams import choose_suffix
from vidx4.video import Fields, Source, StreamInfo, TimeRange

_TREATED = {
    Fields.KEEP: "two fields are enlarged as one frame, combs and all",
    Fields.FRAME: "each frame is made whole of its fields (bwdif); --deinterlace field keeps all motion",
    Fields.FIELD: "each field becomes a frame (bwdif), so there are twice as many",
}
"""What is told of interlaced video."""


@dataclass(frozen=True)
class Plan:
    """A video, what becomes of it, and where it goes."""

    written: Output
    request: Request
    frames: range
    """Indices of the span's frames in the source, by its packets."""

    @property
    def source(self) -> Source:
        """The video."""
        return self.written.source

    @property
    def output(self) -> Path:
        """Where the result goes."""
        return self.written.path

    @property
    def span(self) -> TimeRange:
        """The part of the video that is wanted."""
        return self.written.span

    @property
    def num_frames(self) -> int:
        """Number of frames in the span."""
        return len(self.frames)

    @property
    def lost(self) -> tuple[StreamInfo, ...]:
        """Streams that the output leaves out though nobody asked for that."""
        return tuple(stream for stream, _ in self.written.streams.lost)

    @property
    def kept(self) -> tuple[StreamInfo, ...]:
        """Streams beside the enlarged one that the output holds."""
        return tuple(carried.stream for carried in self.written.streams.carried)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What falls short, known before the work."""
        return (*self.written.streams.warnings, *_warnings(self.written))

    @property
    def seconds(self) -> float:
        """That the span lasts."""
        start, stop = self.span.pts_bounds(self.source)
        return float((stop - max(start, self.source.pts[0])) * self.source.time_base)

    @property
    def encoder(self) -> EncoderSettings:
        """How frames are compressed."""
        return self.written.target.encoder

    @property
    def work_folder(self) -> Path:
        """Where unfinished parts lie, beside the output."""
        return work_folder_of(self.output)


def work_folder_of(output: Path) -> Path:
    """Return where the parts of an output lie until all are there."""
    output = output.parent if split_output(output) else output  # numbered pictures are one output
    return output.with_name(output.name + ".vidx4")


def plan_video(
    path: Path,
    output: Path | None = None,
    request: Request = Request(),
) -> Plan:
    """Look at a video and decide what will be done.

    Args:
        path: the video.
        output: where the result goes; beside the source and named after it where None.
        request: what is wanted of it.

    Raises:
        SourceError: the video can't be read.
        OptionError: the span holds no frame, or the encoding can't be had.
        OutputError: the output exists, is the source, or is of a kind that can't hold what is wanted. One
            beside its work folder may be of a run that ended just before it removed that: `run` finds out.
    """
    source = read_source(path, request.read)
    output = output or default_output(path, choose_suffix(source, request.encode.codec, request.streams))
    return plan_source(source, output, request)


def plan_source(source: Source, output: Path, request: Request = Request()) -> Plan:
    """Decide what will be done of a video that was looked at; see `plan_video`."""
    may_replace = request.overwrite or work_folder_of(output).is_dir()
    written = plan_output(
        source, output, request.span, request.encode, request.streams, overwrite=may_replace
    )
    frames = range(*(bisect_left(source.pts, pts) for pts in request.span.pts_bounds(source)))
    if not frames:
        raise OptionError(
            f"{source.path} has no frame in that range: it is {float(source.duration):.3f} s long."
        )
    return Plan(written, request, frames)


def default_output(path: Path, suffix: str) -> Path:
    """Return where the enlarged copy of a file goes when nobody says: beside it, marked `_x4`."""
    if is_sequence(path):
        folder = path if path.is_dir() else path.parent
        return folder.absolute().with_name(f"{folder.absolute().name}_x4{suffix}")
    return path.with_name(f"{path.stem}_x4{suffix}")


def _warnings(written: Output) -> Iterator[str]:
    source, depth = written.source, written.target.encoder.bit_depth
    yield from _warnings_of_fields(source)
    if is_sequence(source.path):
        yield from find_sequence(source.path).warnings
    if written.suffix == ".ts":
        yield "A .ts file holds no chapters, no titles and no covers."
    if source.margins and not written.target.margins:
        yield "What the file says of the edges of its picture is lost: players will show them."
    if source.has_alpha:
        yield "The video has transparency, which is lost."
    for name in source.hdr.dropped:
        yield f"Its {name} metadata, made for the source frame by frame, is left out."
    if source.color.is_hdr and depth < 10:
        yield "The video is HDR: in 8 bits, its gradients show bands."
    elif source.bit_depth > depth:
        yield f"Its {source.bit_depth} bits per colour become {depth}."


def _warnings_of_fields(source: Source) -> Iterator[str]:
    if source.fields == Fields.FILM:
        yield "The video is film with pulldown, which is undone: it gets back its 24000/1001 frames a second."
    elif source.is_interlaced or source.fields != Fields.KEEP:
        yield f"The video is interlaced: {_TREATED[source.fields]}."
