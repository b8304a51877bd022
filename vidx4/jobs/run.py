"""One video, from source to finished file."""

import fcntl
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.shots import ShotBatch, by_shot
from vidx4.jobs.stages import ahead
from vidx4.media.decode import read_batches
from vidx4.media.encode import encode_part
from vidx4.media.encoder import EncodeOptions
from vidx4.media.mux import join
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.video import WHOLE, FrameBatch, TimeRange

LOCK = "lock"
"""A file in the work folder, locked while a job runs: the lock dies with its process."""

Enlarge = Callable[[FrameBatch, ShotState | None], Upscaled]
"""Frames of a shot, and the state after those before them, to frames four times larger at the same pts."""


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    num_done: int
    num_frames: int
    seconds: float
    """Since the first frame was asked for."""
    num_reused: float
    """How many frames' worth of work was not done again."""

    @property
    def seconds_per_frame(self) -> float:
        """On average so far."""
        return self.seconds / max(self.num_done, 1)

    @property
    def seconds_left(self) -> float:
        """If it goes on as it went."""
        return self.seconds_per_frame * (self.num_frames - self.num_done)

    @property
    def share_reused(self) -> float:
        """Of the work so far."""
        return self.num_reused / max(self.num_done, 1)


OnProgress = Callable[[Progress], Any]


@dataclass(frozen=True)
class Report:
    """What a job did."""

    output: Path
    num_frames: int
    seconds: float
    share_reused: float
    """Of the work, what was not done again, since its result was there."""
    num_shots: int
    warnings: tuple[str, ...]
    """What the plan gave up, known before the work."""
    damage: tuple[str, ...]
    """What could not be decoded."""


def upscale_video(
    path: str | Path,
    output: str | Path | None = None,
    *,
    upscaler: Upscaler | None = None,
    options: UpscaleOptions = UpscaleOptions(),
    encode: EncodeOptions = EncodeOptions(),
    span: TimeRange = WHOLE,
    batch_size: int | None = None,
    overwrite: bool = False,
    on_progress: OnProgress | None = None,
) -> Report:
    """Make a video four times larger, with its own sound and timing.

    Args:
        path: the video.
        output: where the result goes; `<stem>_x4` beside the source where None.
        upscaler: a loaded model; loaded from `options` where None.
        options: the model and how it denoises; without effect where `upscaler` is given.
        encode: codec and quality.
        span: the part of the video that is wanted.
        batch_size: frames that are computed together; chosen by their size where None.
        overwrite: whether a file at `output` may be replaced.
        on_progress: called after every batch.

    Raises:
        Vidx4Error: what the user can mend; nothing is left at `output` then.
    """
    plan = plan_video(
        Path(path), Path(output) if output else None, span=span, encode=encode, overwrite=overwrite
    )
    upscaler = upscaler or Upscaler.from_options(options)
    return run(plan, upscaler, batch_size or upscaler.batch_size_for(plan.source), on_progress)


def run(plan: Plan, enlarge: Enlarge, batch_size: int, on_progress: OnProgress | None = None) -> Report:
    """Carry out a plan: decoding ahead and the model run in threads while this one encodes."""
    start = time.monotonic()
    counter = _Counter(plan, on_progress)
    with _work_folder(plan.work_folder) as folder, closing(_enlarged(plan, enlarge, batch_size)) as batches:
        part = folder / "00000000.nut"
        encode_part(part, counter.count(batches), plan.source, plan.encode)
        missing = join([part], plan.source, plan.output, plan.span, overwrite=plan.overwrite)
    last = counter.progress
    seconds = time.monotonic() - start
    return Report(
        plan.output,
        last.num_done,
        seconds,
        last.share_reused,
        counter.num_shots,
        plan.warnings,
        _damage(plan, missing),
    )


def _enlarged(plan: Plan, enlarge: Enlarge, batch_size: int) -> Generator[tuple[ShotBatch, Upscaled]]:
    decoded = ahead(by_shot(read_batches(plan.source, batch_size, plan.span), batch_size))
    return ahead(_shot_after_shot(enlarge, decoded))


def _shot_after_shot(
    enlarge: Enlarge, batches: Generator[ShotBatch]
) -> Generator[tuple[ShotBatch, Upscaled]]:
    """Enlarge batches, each going on from the last of its shot."""
    state: ShotState | None = None
    with closing(batches):
        for shot_batch in batches:
            upscaled = enlarge(shot_batch.batch, None if shot_batch.starts_shot else state)
            state = upscaled.state
            yield shot_batch, upscaled


class _Counter:
    """Counts what passes by."""

    def __init__(self, plan: Plan, on_progress: OnProgress | None) -> None:
        self.progress = Progress(0, plan.num_frames, 0.0, 0.0)
        self.num_shots = 0
        self._on_progress = on_progress
        self._start = time.monotonic()

    def count(self, batches: Iterable[tuple[ShotBatch, Upscaled]]) -> Iterator[FrameBatch]:
        for shot_batch, upscaled in batches:
            yield upscaled.batch
            self.num_shots += shot_batch.starts_shot
            self.progress = replace(
                self.progress,
                num_done=self.progress.num_done + len(upscaled.batch),
                num_reused=self.progress.num_reused + upscaled.num_reused,
                seconds=time.monotonic() - self._start,
            )
            if self._on_progress:
                self._on_progress(self.progress)


def _damage(plan: Plan, missing: tuple[int, ...]) -> tuple[str, ...]:
    if not missing:
        return ()
    first = float((missing[0] - plan.source.pts[0]) * plan.source.time_base)
    return (f"{len(missing)} of {plan.num_frames} frames could not be decoded, the first at {first:.2f} s.",)


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to this process alone; what a job that was killed left there is replaced."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"Another job writes to {folder}: wait for it, or stop it.") from error
        except OSError as error:
            raise OutputError(f"{folder} can't be made: {error.strerror}.") from error
        stack.callback(_remove, folder)
        yield folder


def _remove(folder: Path) -> None:
    """Remove a work folder, but nothing that a job doesn't make."""
    for pattern in (LOCK, "*.nut", ".*.unfinished"):
        for path in folder.glob(pattern):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()
