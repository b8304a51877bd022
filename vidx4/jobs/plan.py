"""What will be done, decided before any work."""

from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from vidx4.diffusion.bicubic import SCALE
from vidx4.errors import OptionError
from vidx4.media.encoder import EncodeOptions, EncoderSettings, resolve
from vidx4.media.mux import check_output
from vidx4.media.probe import probe
from vidx4.media.suffix import check_encoder, choose_suffix, lost_streams
from vidx4.video import WHOLE, Source, StreamInfo, TimeRange


@dataclass(frozen=True)
class Plan:
    """A video, what becomes of it, and where it goes."""

    source: Source
    output: Path
    span: TimeRange
    encode: EncodeOptions
    overwrite: bool
    frames: range
    """Indices of the span's frames in the source, by its packets."""
    warnings: tuple[str, ...]

    @property
    def num_frames(self) -> int:
        """Number of frames in the span."""
        return len(self.frames)

    @property
    def lost(self) -> tuple[StreamInfo, ...]:
        """Streams that the output leaves out."""
        return lost_streams(self.source, self.output.suffix, self.span)

    @property
    def kept(self) -> tuple[StreamInfo, ...]:
        """Streams beside the enlarged one that the output holds."""
        lost = {self.source.video_index, *(stream.index for stream in self.lost)}
        return tuple(stream for stream in self.source.streams if stream.index not in lost)

    @property
    def seconds(self) -> float:
        """That the span lasts."""
        start, stop = self.span.pts_bounds(self.source)
        return float((stop - max(start, self.source.pts[0])) * self.source.time_base)

    @property
    def encoder(self) -> EncoderSettings:
        """How frames are compressed."""
        source = self.source
        return resolve(self.encode, SCALE * source.width, SCALE * source.height, source.bit_depth)

    @property
    def work_folder(self) -> Path:
        """Where unfinished parts lie, beside the output."""
        return work_folder_of(self.output)


def work_folder_of(output: Path) -> Path:
    """Return where the parts of an output lie until all are there."""
    return output.with_name(output.name + ".vidx4")


def plan_video(
    path: Path,
    output: Path | None = None,
    *,
    span: TimeRange = WHOLE,
    encode: EncodeOptions = EncodeOptions(),
    overwrite: bool = False,
) -> Plan:
    """Look at a video and decide what will be done.

    Args:
        path: the video.
        output: where the result goes; beside the source and named after it where None.
        span: the part of the video that is wanted.
        encode: how it is encoded.
        overwrite: whether a file at `output` may be replaced.

    Raises:
        SourceError: the video can't be read.
        OptionError: the span holds no frame, or the encoding can't be had.
        OutputError: the output exists, is the source, or is of an unknown kind. One that lies beside its
            work folder may be of a run that ended just before it removed that: `run` finds out.
    """
    source = probe(path)
    output = output or default_output(path, choose_suffix(source))
    return plan_source(source, output, span=span, encode=encode, overwrite=overwrite)


def plan_source(
    source: Source,
    output: Path,
    *,
    span: TimeRange = WHOLE,
    encode: EncodeOptions = EncodeOptions(),
    overwrite: bool = False,
) -> Plan:
    """Decide what will be done of a video that was looked at; see `plan_video`."""
    check_output(source, output, overwrite=overwrite or work_folder_of(output).is_dir())
    frames = range(*(bisect_left(source.pts, pts) for pts in span.pts_bounds(source)))
    if not frames:
        raise OptionError(
            f"{source.path} has no frame in that range: it is {float(source.duration):.3f} s long."
        )
    plan = Plan(source, output, span, encode, overwrite, frames, _warnings(source, output, span))
    check_encoder(plan.encoder.encoder, source, output.suffix)
    return plan


def default_output(path: Path, suffix: str) -> Path:
    """Return where the enlarged copy of a file goes when nobody says: beside it, marked `_x4`."""
    return path.with_name(f"{path.stem}_x4{suffix}")


def _warnings(source: Source, output: Path, span: TimeRange) -> tuple[str, ...]:
    unheld = lost_streams(source, output.suffix)
    warnings = [_left_out(stream, f"{output.suffix} can't hold it") for stream in unheld]
    for stream in lost_streams(source, output.suffix, span):
        if stream not in unheld:
            warnings.append(_left_out(stream, "a range holds one video stream"))
    if source.is_interlaced:
        warnings.append("The video is interlaced: two fields are enlarged as one frame, combs and all.")
    if source.color.is_hdr:
        warnings.append("The video is HDR: it keeps its transfer curve, but loses its mastering metadata.")
    return tuple(warnings)


def _left_out(stream: StreamInfo, why: str) -> str:
    what = " ".join(filter(None, (stream.codec, stream.kind, stream.language)))
    return f"Stream {stream.index} ({what}) is left out: {why}."
