"""Frames to a part, and which parts are missing."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidx4.frames import FrameBatch
from vidx4.jobs.pipeline import Enlarged, Place, one_chunk
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Advance, StageSeconds, used_memory
from vidx4.jobs.work_folder import Part, WorkFolder
from vidx4.media.atomic import file_digest
from vidx4.media.encode import encode_part
from vidx4.temporal.state import ShotState


@dataclass(frozen=True)
class Made:
    """A part that is written, but not recorded yet."""

    part: Part
    state: ShotState | None
    """What the frames after it need; None where they need nothing of it."""


def make_part(
    start: int,
    path: Path,
    batches: Iterator[Enlarged],
    num_frames: int,
    plan: Plan,
    seconds: StageSeconds,
    on_advance: Callable[[Advance], Any],
) -> Made:
    """Write a part: frames up to the end of the shot, or until there are so many.

    Args:
        start: index of the first frame in the source.
        path: where the part shall appear.
        batches: those of the part, and maybe more; the time that they are waited for counts as `waiting`.
        num_frames: how many frames it is to hold, but for the last batch.
        plan: what becomes of them.
        seconds: gets to know what encoding takes.
        on_advance: hears of every batch that is encoded.
    """
    begun, waited = time.monotonic(), seconds.waiting
    count = _Count(start, plan, on_advance)
    encode_part(path, count.passing(one_chunk(batches, num_frames)), plan.source, plan.written.target)
    part = Part(
        start=start,
        stop=count.stop,
        num_frames=count.num_frames,
        num_reused=count.num_reused,
        starts_shot=count.starts_shot,
        ends_shot=count.ends_shot,
        seconds=time.monotonic() - begun,
        size=path.stat().st_size,
        digest=file_digest(path),
    )
    seconds.encode += part.seconds - (seconds.waiting - waited)
    return Made(part, None if count.ends_shot else count.state)


class _Count:
    """Counts what goes into a part."""

    def __init__(self, start: int, plan: Plan, on_advance: Callable[[Advance], Any]) -> None:
        self._start = start
        self._plan = plan
        self._on_advance = on_advance
        self.num_frames = 0
        self.num_reused = 0.0
        self.starts_shot = self.ends_shot = False
        self.stop = plan.frames.stop
        self.state: ShotState | None = None

    def passing(self, batches: Iterator[Enlarged]) -> Iterator[FrameBatch]:
        """Give the batches on to an encoder."""
        for batch, upscaled in batches:
            self.starts_shot |= batch.starts_shot
            self.ends_shot, self.state = batch.ends_shot, upscaled.state
            self.stop = index_of(batch.next_pts, self._plan)
            self.num_frames += len(batch.batch)
            self.num_reused += upscaled.num_reused
            yield upscaled.batch
            self._on_advance(self._advance())

    def _advance(self) -> Advance:
        pts = self._plan.source.pts[self._start]
        counts = self.num_frames, self.num_reused
        return Advance(self._start, self.stop, *counts, self.starts_shot, pts, used_memory())


def index_of(pts: int | None, plan: Plan) -> int:
    """Return the index of the source's frame at a pts; where the plan ends for None."""
    return plan.frames.stop if pts is None else bisect_left(plan.source.pts, pts)


@dataclass(frozen=True)
class Gap:
    """Frames that no part covers, and the place from which they can be reached."""

    stop: int
    """Index of the frame after the last."""
    start: int
    """Of the frame with which work begins: the first of the gap, if the state of its shot is there."""
    place: Place
    state: Path | None
    """Where what the first frame needs of those before lies; None at the start of a shot."""


def gaps(plan: Plan, folder: WorkFolder) -> Iterator[Gap]:
    """Yield what a folder lacks, in order; gaps that parts close in the meantime are left out."""
    start = plan.frames.start
    while (gap := _next_gap(start, plan, folder)) is not None:
        yield gap
        start = gap.stop


def _next_gap(start: int, plan: Plan, folder: WorkFolder) -> Gap | None:
    """Return the first gap from a frame on."""
    while start in folder.parts:
        start = folder.parts[start].stop
    stop = min((other for other in folder.parts if other > start), default=plan.frames.stop)
    return _reached(start, stop, plan, folder) if start < stop else None


def _reached(start: int, stop: int, plan: Plan, folder: WorkFolder) -> Gap:
    """Return a gap with the place before it from which work can go on."""
    pts = plan.source.pts
    by_stop = {part.stop: part for part in folder.parts.values()}
    while (before := by_stop.get(start)) is not None and not before.ends_shot:
        with suppress(LookupError):
            return Gap(stop, start, Place(pts[start], pts[before.start]), folder.state_after(before))
        start = before.start
    return Gap(stop, start, Place(pts[start], pts[start]), None)
