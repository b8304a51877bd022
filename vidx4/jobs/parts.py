"""Frames to a part, and which parts are missing."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidx4.files.read import file_digest
from vidx4.frames import FrameBatch
from vidx4.jobs.part_record import Part
from vidx4.jobs.pipeline import Place, one_chunk
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Advance, StageSeconds, used_memory
from vidx4.jobs.shots import ShotBatch
from vidx4.jobs.work_folder import WorkFolder
from vidx4.media.encode import encode_part
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.working_time import working_seconds


@dataclass(frozen=True)
class Made:
    """A part that is written, but not recorded yet."""

    part: Part
    state: ShotState | None
    """State for the frames after the part; None if they need none."""


def make_part(
    start: int,
    path: Path,
    batches: Iterator[ShotBatch[Upscaled]],
    num_frames: int,
    plan: Plan,
    seconds: StageSeconds,
    on_advance: Callable[[Advance], Any],
) -> Made:
    """Write a part: frames up to the end of the shot, or until there are `num_frames` of them.

    Args:
        start: index of the first frame in the source.
        path: where the part should appear.
        batches: the part's batches, and possibly later ones; the time spent waiting for them counts as
            `waiting`.
        num_frames: the number of frames at which the part ends; its last batch is kept whole.
        plan: how frames are encoded.
        seconds: records the time that encoding takes.
        on_advance: called after every encoded batch.
    """
    begun, waited = working_seconds(), seconds.waiting
    count = _Count(start, plan, on_advance)
    encode_part(path, count.counted(one_chunk(batches, num_frames)), plan.source, plan.written.target)
    part = Part(
        start=start,
        stop=count.stop,
        num_frames=count.num_frames,
        num_reused=count.num_reused,
        starts_shot=count.starts_shot,
        ends_shot=count.ends_shot,
        seconds=working_seconds() - begun,
        size=path.stat().st_size,
        digest=file_digest(path),
    )
    seconds.encode += part.seconds - (seconds.waiting - waited)
    return Made(part, None if count.ends_shot else count.state)


class _Count:
    """Counts the frames that go into a part."""

    def __init__(self, start: int, plan: Plan, on_advance: Callable[[Advance], Any]) -> None:
        self._start = start
        self._plan = plan
        self._on_advance = on_advance
        self.num_frames = 0
        self.num_reused = 0.0
        self.starts_shot = self.ends_shot = False
        self.stop = plan.frames.stop
        self.state: ShotState | None = None

    def counted(self, batches: Iterator[ShotBatch[Upscaled]]) -> Iterator[FrameBatch]:
        """Pass the batches on to an encoder."""
        for each in batches:
            upscaled = each.batch
            self.starts_shot |= each.starts_shot
            self.ends_shot, self.state = each.ends_shot, upscaled.state
            self.stop = index_of(each.next_pts, self._plan)
            self.num_frames += len(upscaled)
            self.num_reused += upscaled.num_reused
            yield upscaled.batch
            # The encoder has asked for the next batch, so it has taken this one.
            self._on_advance(self._advance())

    def _advance(self) -> Advance:
        pts = self._plan.source.pts[self._start]
        counts = self.num_frames, self.num_reused
        return Advance(self._start, self.stop, *counts, self.starts_shot, pts, used_memory())


def index_of(pts: int | None, plan: Plan) -> int:
    """Return the index of the source's frame at a pts; the end of the plan for None."""
    return plan.frames.stop if pts is None else bisect_left(plan.source.pts, pts)


@dataclass(frozen=True)
class Gap:
    """Frames that no part covers, and the place from which they can be made."""

    stop: int
    """Index of the frame after the last."""
    start: int
    """Index of the first frame to enlarge: the first of the gap or, if the state before it is gone, one of an
    earlier part of the shot."""
    place: Place
    state: Path | None
    """File of the state after the frames before; None at the start of a shot."""


def gaps(plan: Plan, folder: WorkFolder) -> Iterator[Gap]:
    """Yield the gaps in a folder, in order; gaps that are closed in the meantime are skipped."""
    start = plan.frames.start
    while (gap := _next_gap(start, plan, folder)) is not None:
        yield gap
        start = gap.stop


def _next_gap(start: int, plan: Plan, folder: WorkFolder) -> Gap | None:
    """Return the first gap at or after a frame."""
    while start in folder.parts:
        start = folder.parts[start].stop
    stop = min((other for other in folder.parts if other > start), default=plan.frames.stop)
    return _reached(start, stop, plan, folder) if start < stop else None


def _reached(start: int, stop: int, plan: Plan, folder: WorkFolder) -> Gap:
    """Return a gap with the nearest place at or before it from which it can be made.

    That is a part whose state is there, or else the start of the shot.
    """
    pts = plan.source.pts
    by_stop = {part.stop: part for part in folder.parts.values()}
    while (before := by_stop.get(start)) is not None and not before.ends_shot:
        with suppress(LookupError):
            return Gap(stop, start, Place(pts[start], pts[before.start]), folder.state_after(before))
        start = before.start
    return Gap(stop, start, Place(pts[start], pts[start]), None)
