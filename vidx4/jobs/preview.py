"""A clip range beside what it came from."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.upscaler import Upscaler
from vidx4.jobs.crops import crops_beside, write_crops
from vidx4.jobs.parts import Job
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.report import Report
from vidx4.jobs.run import run
from vidx4.media.encoder import EncodeOptions
from vidx4.media.probe import probe
from vidx4.media.suffix import choose_suffix
from vidx4.media.whole import check_writable
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.video import FrameBatch, TimeRange

LINE_WIDTH = 4
"""Of the line between the halves, in output pixels."""


@dataclass(frozen=True)
class Preview:
    """What a preview made and measured."""

    report: Report
    crops: Path
    seconds_for_whole: float
    """What the whole video would take at the speed measured, in seconds."""


def plan_preview(
    path: Path,
    output: Path | None,
    span: TimeRange,
    *,
    encode: EncodeOptions = EncodeOptions(),
    overwrite: bool = False,
) -> Plan:
    """Decide on the preview of a range of a video; arguments and errors are those of `plan_video`."""
    if output is None:
        suffix = choose_suffix(probe(path))
        output = path.with_name(f"{path.stem}_x4_preview{suffix}")
    check_writable(crops_beside(output), path, overwrite)
    return plan_video(path, output, span=span, encode=encode, overwrite=overwrite)


def run_preview(plan: Plan, upscaler: Upscaler, batch_size: int, control: Control | None = None) -> Preview:
    """Enlarge a range of a video, the left half plainly (bicubic) and the right half by the model.

    The sound is cut to the range. A picture of crops from its first frame appears beside the clip.
    """
    control = control or Control()
    watch = _Watch(control)
    split = _Split(upscaler)
    report = run(Job(plan, split, batch_size), Control(watch, stop=control.stop), restart=True)
    crops = crops_beside(plan.output)
    if split.first is not None:
        write_crops(crops, *split.first)
    return Preview(report, crops, watch.seconds_per_frame * plan.source.num_frames)


class _Split:
    """Joins the left half of the plain enlargement to the right half of the model's result."""

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler
        self.first: tuple[FrameBatch, FrameBatch] | None = None
        """The first frame before and after."""

    def __call__(self, batch: FrameBatch, state: ShotState | None) -> Upscaled:
        upscaled = self._upscaler(batch, state)
        self.first = self.first or (_first(batch), _first(upscaled.batch))
        return replace(upscaled, batch=_joined(enlarge_frames(batch), upscaled.batch))


def _first(batch: FrameBatch) -> FrameBatch:
    return FrameBatch(batch.data[:1], batch.pts[:1])


def _joined(left: FrameBatch, right: FrameBatch) -> FrameBatch:
    data = right.data.clone()
    middle = data.shape[3] // 2
    data[..., :middle] = left.data[..., :middle]
    data[..., middle - LINE_WIDTH // 2 : middle + LINE_WIDTH // 2] = torch.iinfo(data.dtype).max
    return FrameBatch(data, right.pts)


class _Watch:
    """Passes progress on and remembers the speed."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.seconds_per_frame = 0.0

    def __call__(self, progress: Progress) -> None:
        self.seconds_per_frame = progress.seconds_per_frame
        self._control.on_progress(progress)
