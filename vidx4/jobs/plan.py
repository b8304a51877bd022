"""What a job will do, decided before any work."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from vidx4.appearance import color_name
from vidx4.errors import OptionError
from vidx4.files.read import is_folder_at
from vidx4.files.write import real_folder
from vidx4.jobs.destination import Destination, file_to_write
from vidx4.jobs.request import Request
from vidx4.media.existing import COPY_MARK
from vidx4.media.output import Output, plan_output
from vidx4.media.pictures.read_sequence import find_sequence, is_sequence
from vidx4.media.pictures.write_sequence import DEFAULT_PATTERN, split_output
from vidx4.media.rehearse import Rehearsal, rehearse
from vidx4.media.source import CheckSize, accept, read_source
from vidx4.media.streams import choose_suffix
from vidx4.syntax import format_seconds, plural
from vidx4.video import Fields, Source, TimeRange

WORK_SUFFIX = ".vidx4"
"""What the name of a work folder ends with."""
_MAX_NAME_SIZE = 255
"""Most bytes of a name on common file systems."""
_TREATED = {
    Fields.KEEP: "frames are enlarged as they are, combing included; --deinterlace frame removes it",
    Fields.FRAME: (
        "each frame is deinterlaced (bwdif); --deinterlace field makes a frame of each field, which keeps "
        "all motion, and --deinterlace off leaves frames as they are"
    ),
    Fields.FIELD: (
        "each field becomes a frame (bwdif), which doubles the frame rate; --deinterlace frame keeps the rate"
    ),
}
"""What to report about interlaced video."""


@dataclass(frozen=True)
class Plan:
    """A source, the output to make of it, and the request behind it."""

    written: Output
    request: Request
    frames: range
    """Indices in the source of the frames to enlarge, counted by packets."""

    @cached_property
    def rehearsal(self) -> Rehearsal:
        """What writing one frame and a few packets of the output shows; raises as `rehearse`."""
        return rehearse(self.written)

    @property
    def source(self) -> Source:
        """The video to enlarge."""
        return self.written.source

    @property
    def output(self) -> Path:
        """Path of the result."""
        return self.written.path

    @property
    def num_frames(self) -> int:
        """Number of frames to enlarge."""
        return len(self.frames)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that the output will lack or change, known before the work; raises as `rehearse`."""
        return (
            *self.written.streams.warnings,
            *self.written.description.warnings,
            *_warnings(self.written),
            *self.rehearsal.warnings,
        )

    @property
    def seconds(self) -> float:
        """Duration of the part to enlarge."""
        start, stop = map(self.source.seconds_of, self.request.span.bounds(self.source))
        return float(stop - start)

    @property
    def work_folder(self) -> Path:
        """Folder of the finished parts, beside the output."""
        return work_folder_of(self.output)

    def facts(self) -> dict[str, Any]:
        """Return what will be done, as JSON values."""
        target, streams = self.written.target, self.written.streams
        return {
            "source": self.source.path,
            "output": self.output,
            "num_frames": self.num_frames,
            "seconds": self.seconds,
            "width": target.width,
            "height": target.height,
            "codec": target.encoder.encoder,
            "pixel_format": target.encoder.pix_fmt,
            "fields": self.source.fields.value,
            "kept": [stream.facts() for stream in streams.kept],
            "lost": [stream.facts() for stream, _ in streams.lost],
        }


def work_folder_of(output: Path) -> Path:
    """Return the folder in which the parts of an output are kept until it is complete."""
    if split_output(output):
        output = real_folder(output.parent)  # a folder of pictures is one output
    name = os.fsencode(output.name + WORK_SUFFIX)
    if len(name) > _MAX_NAME_SIZE:
        mark = os.fsencode(f"~{sha256(name).hexdigest()[:16]}{WORK_SUFFIX}")
        name = name[: _MAX_NAME_SIZE - len(mark)] + mark
    return output.with_name(os.fsdecode(name))


def plan_video(
    path: Path,
    output: Path | Destination | None = None,
    request: Request = Request(),
    check_size: CheckSize = accept,
) -> Plan:
    """Probe a video and decide what will be done.

    Args:
        path: the video.
        output: path of the result, or a folder for it; beside the source and named after it if None. In a
            folder, numbered pictures become numbered pictures.
        request: what is wanted of the video.
        check_size: refuses sizes of frames early, as in `read_source`.

    Raises:
        SourceError: the video can't be read.
        OptionError: the range holds no frame, or the encoding is not available.
        OutputError: the output exists, is the source, or is of a kind that can't hold what is wanted.
    """
    source = read_source(path, request.read, check_size)
    suffix = choose_suffix(source, request.encode.codec, request.streams)
    named = Destination.of(output)
    is_certain = named is not None and named.is_certain
    return plan_source(source, _output_of(path, named, suffix), request, replaces_any=is_certain)


def _output_of(path: Path, named: Destination | None, suffix: str) -> Path:
    if named is not None and named.holds_file and is_sequence(path):
        return named.path / DEFAULT_PATTERN
    return file_to_write(named, default_output(path, suffix))


def plan_source(
    source: Source, output: Path, request: Request = Request(), *, replaces_any: bool = False
) -> Plan:
    """Decide what will be done with a probed video; see `plan_video` and `plan_output`."""
    # An output beside its work folder may be of a run that was killed between writing the one and removing
    # the other: `run` compares it with the parts.
    may_replace = request.overwrite or is_folder_at(work_folder_of(output))
    written = plan_output(
        source,
        output,
        request.span,
        request.encode,
        request.streams,
        overwrite=may_replace,
        replaces_any=replaces_any and request.overwrite,
    )
    return Plan(written, request, frames_of(source, request.span))


def frames_of(source: Source, span: TimeRange) -> range:
    """Return the indices of the frames in a range.

    Raises:
        OptionError: there are none.
    """
    frames = span.frames(source)
    if not frames:
        raise OptionError(f"{source.path} has no frames in that range: {_why_empty(source, span)}.")
    return frames


def _why_empty(source: Source, span: TimeRange) -> str:
    if (span.start or 0) < source.duration:
        return "it is shorter than its clock can measure"
    return f"the video is {format_seconds(float(source.duration))} long"


def default_output(path: Path, suffix: str) -> Path:
    """Return the default path of an enlarged copy: beside the file, with `_x4` added to its name."""
    if is_sequence(path):
        folder = path if path.is_dir() else path.parent
        return folder.absolute().with_name(f"{folder.absolute().name}{COPY_MARK}{suffix}")
    return path.with_name(f"{path.stem}{COPY_MARK}{suffix}")


def _warnings(written: Output) -> Iterator[str]:
    source, depth = written.source, written.target.encoder.bit_depth
    yield from _warnings_of_times(source.untreated or source)
    yield from _warnings_of_clock(written)
    yield from _warnings_of_fields(source)
    yield from _warnings_of_tags(source)
    if is_sequence(source.path):
        yield from find_sequence(source.path).warnings
    if written.suffix == ".ts":
        yield "A .ts file can't store chapters, titles, tags or covers."
    if source.margins and not written.target.margins:
        yield "The clean aperture can't be stored in this container: players will show the full frame."
    if source.has_alpha:
        yield "Transparency is dropped."
    yield from _warnings_of_metadata(written)
    if source.color.is_hdr and depth < 10:
        yield "The video is HDR, and the output has 8 bits per colour: expect banding in gradients."
    elif source.bit_depth > depth:
        yield f"The video's {source.bit_depth} bits per colour are reduced to {depth}."


def _warnings_of_clock(written: Output) -> Iterator[str]:
    if written.starts_late:
        begin = format_seconds(float(written.cut.origin))
        yield f"The source's clock begins at {begin}; in this container it begins at 0."


def _warnings_of_times(source: Source) -> Iterator[str]:
    if source.num_leading:
        what = "frame" if source.num_leading == 1 else f"{source.num_leading} frames"
        yield f"The first {what} can't be decoded: the video begins in the middle of a group of pictures."
    if source.clock.moved:
        yield f"The source's clock begins before 0: all times are moved by {source.clock.moved} s."
    if places := source.clock.places:
        first = ", ".join(f"{float(place - source.pts[0] * source.time_base):.2f} s" for place in places[:5])
        more = f" and {len(places) - 5} more places" if len(places) > 5 else ""
        yield f"The timestamps restart or jump at {first}{more}: they continue there without a gap."
    if source.num_respaced:
        what = f"{plural(source.num_respaced, 'frame')} {'has' if source.num_respaced == 1 else 'have'}"
        yield f"{what} the same time as the one before: they are spaced apart."
    if source.has_wrong_order:
        yield "The file states the times of frames in a wrong order: they are given to the frames in order."


def _warnings_of_tags(source: Source) -> Iterator[str]:
    if source.odd_colors:
        names = (odd.partition(" ")[0] for odd in source.odd_colors)
        assumed = ", ".join(f"{name} {color_name(name, getattr(source.color, name))}" for name in names)
        yield (
            f"The video is tagged with colours that it can't have ({', '.join(source.odd_colors)}, codes of "
            f"H.273): the usual ones are assumed ({assumed})."
        )


def _warnings_of_fields(source: Source) -> Iterator[str]:
    if source.fields == Fields.FILM:
        yield (
            "The video is telecined film: the pulldown is removed, which leaves 23.976 frames a second; "
            "--inverse-telecine off keeps all frames."
        )
    elif source.is_interlaced or source.fields != Fields.KEEP:
        yield f"The video is interlaced: {_TREATED[source.fields]}."


def _warnings_of_metadata(written: Output) -> Iterator[str]:
    source, target = written.source, written.target
    if source.has_captions and not written.keeps_captions:
        yield "The closed captions in the video's frames are dropped: only h264, hevc and av1 can hold them."
    if source.sphere and not target.sphere:
        yield f"The video's 360-degree mapping is dropped: a {written.suffix} file can't store it."
    if source.stereo and not target.stereo:
        yield f"The video's stereoscopic layout is dropped: a {written.suffix} file can't store it."
    for name in source.hdr.dropped:
        yield f"The video's {name} metadata is dropped: it describes single frames of the source."
    for name in source.lost_metadata:
        yield f"The video's {name} is dropped."
