"""What a job will take, known before it takes it."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from statistics import fmean

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.errors import DiskFullError
from vidx4.jobs.job import CHUNK_FRAMES, Executor
from vidx4.jobs.meter import Meter
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import peak_memory
from vidx4.jobs.work_folder import WorkFolder
from vidx4.media.decode import can_seek, read_batches
from vidx4.media.encode import encode_part, frame_sizes
from vidx4.video import TimeRange

NUM_PLACES, NUM_FRAMES = 4, 6
"""In how many places of a long video frames are compressed for this, and how many in each."""
FRAMES_PER_PLACE = 250
"""A video that is shorter than so many for each has fewer places, or none."""
ENOUGH_PARTS = 8
"""Parts from which on they tell enough by themselves."""
MAX_GROWTH = 3.0
"""By how much a model's detail can make frames larger than plainly enlarged ones."""

Sizes = tuple[list[int], list[int]]
"""In bytes, of keyframes and of other frames."""


@dataclass(frozen=True)
class Estimate:
    """What a job will take from here on."""

    num_left: int
    """Frames that are to be made."""
    seconds_per_frame: float
    """If no frame repeats the one before it."""
    basis: str
    """What that was measured on."""
    output_size: int
    """In bytes."""
    disk_needed: int
    """Bytes on top of those in the work folder: parts are kept until the output is written."""
    disk_free: int
    """Bytes where the output goes."""
    memory: int
    """The most that a process has used so far, on the CPU and the GPU, in bytes."""

    @property
    def seconds_left(self) -> float:
        """Until the output is there."""
        return self.num_left * self.seconds_per_frame


def estimate(plan: Plan, folder: WorkFolder, meter: Meter, executor: Executor) -> Estimate:
    """Tell what a job will take, from the parts that are there: one at least.

    The speed is that of this run or, where it has made nothing yet, of those before. The size follows from
    the parts and, while these are few, from other places of the video.

    Args:
        plan: what is done.
        folder: what is there.
        meter: has measured this run.
        executor: does what is left.
    """
    seconds_per_frame, basis = _speed(folder, meter, executor.num_workers)
    size = frames_size(plan, folder)
    return Estimate(
        num_left=plan.num_frames - folder.num_done,
        seconds_per_frame=seconds_per_frame,
        basis=basis,
        output_size=size + _copied(plan),
        disk_needed=2 * size
        - folder.size_of_parts
        + _copied(plan)
        + _states(folder, executor.num_shots_at_once),
        disk_free=shutil.disk_usage(folder.path).free,
        memory=max(peak_memory(), meter.peak_memory),
    )


def check_disk(plan: Plan, estimate: Estimate) -> None:
    """Make sure that there is room for a job.

    Raises:
        DiskFullError: there is not.
    """
    if estimate.disk_needed > estimate.disk_free:
        needed, free = (f"{size / 1e9:.3g} GB" for size in (estimate.disk_needed, estimate.disk_free))
        raise DiskFullError(
            f"{plan.output} needs about {needed}, its parts included, and {free} are free: make room, choose "
            "another place, or start anyway with --ignore-disk-space."
        )


def disk_needed(plan: Plan, folder: WorkFolder) -> int:
    """Return how many bytes a job needs on top of those in its folder, by the parts that are there."""
    num_done, done = folder.num_done, folder.size_of_parts
    return 2 * done * plan.num_frames // max(num_done, 1) - done + _copied(plan) + _states(folder)


def _speed(folder: WorkFolder, meter: Meter, num_workers: int) -> tuple[float, str]:
    if meter.num_new:
        what = f"measured on {meter.num_new} frames of this video"
        seconds = meter.seconds_per_frame(without_reuse=True)
        if num_workers == 1 or meter.num_parts > 1:
            return seconds, f"{what} on this device" if num_workers == 1 else what
        return seconds / num_workers, f"{what} by one of {num_workers} workers"
    parts = sorted(folder.parts.values(), key=lambda part: part.start)
    parts = parts[1:] or parts  # in the first, everything warms up
    num_computed = sum(part.num_frames - part.num_reused for part in parts)
    seconds = sum(part.seconds for part in parts)
    return seconds / max(num_computed, 1), f"measured on the {folder.num_done} frames that are done"


def _states(folder: WorkFolder, num_shots: int = 1) -> int:
    """Return what states take at most: one of each shot and the last are kept, one more is being written."""
    return (num_shots + 2) * folder.size_of_state


def _copied(plan: Plan) -> int:
    """Return about what the other streams take: no more than the share of the source."""
    return plan.source.path.stat().st_size * plan.num_frames // plan.source.num_frames


def frames_size(plan: Plan, folder: WorkFolder) -> int:
    """Return about how many bytes the frames of a plan take, from the parts that are there: one at least.

    While there are few, frames of other places are enlarged plainly and compressed, since a film may begin
    with black. The first part, compared with its own frames enlarged plainly, tells what the model adds.
    """
    starts = sorted(folder.parts)
    if len(starts) >= ENOUGH_PARTS:
        return folder.size_of_parts * plan.num_frames // folder.num_done
    made = _sum(frame_sizes(folder.part_path(start)) for start in starts)
    places = list(_places(plan))
    if not places:
        return _extrapolate(made, plan.num_frames)
    first = folder.parts[starts[0]]
    plain = _total(_plain(plan, folder, first.start, first.num_frames))
    growth = _total(frame_sizes(folder.part_path(first.start))) / max(plain, 1)
    sampled = _sum(_plain(plan, folder, place, NUM_FRAMES) for place in places)
    return round(min(max(growth, 1.0), MAX_GROWTH) * _extrapolate(sampled, plan.num_frames))


def _places(plan: Plan) -> Iterator[int]:
    """Yield the indices of frames at equal distances."""
    num_places = min(NUM_PLACES, plan.num_frames // FRAMES_PER_PLACE) if can_seek(plan.source) else 0
    return (plan.frames[(2 * i + 1) * plan.num_frames // (2 * num_places)] for i in range(num_places))


def _plain(plan: Plan, folder: WorkFolder, start: int, num_frames: int) -> Sizes:
    """Return the sizes of some frames that are enlarged without a model."""
    source = plan.source
    seconds = Fraction(source.pts[start] - source.pts[0]) * source.time_base
    batches = read_batches(source, 1, TimeRange(start=seconds))
    frames = (enlarge_frames(batch) for batch, _ in zip(batches, range(num_frames), strict=False))
    encode_part(folder.sample_path, frames, source, plan.written.target)
    return frame_sizes(folder.sample_path)


def _sum(sizes: Iterable[Sizes]) -> Sizes:
    keyframes, others = zip(*sizes, strict=True)
    return list(chain(*keyframes)), list(chain(*others))


def _total(sizes: Sizes) -> int:
    return sum(map(sum, sizes))


def _extrapolate(sizes: Sizes, num_frames: int) -> int:
    keyframes, others = sizes
    num_keyframes = -(-num_frames // CHUNK_FRAMES)
    return round(num_keyframes * fmean(keyframes) + (num_frames - num_keyframes) * fmean(others or keyframes))
