"""Time, memory and disk space that a job will take, estimated before it starts."""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.errors import DiskFullError
from vidx4.frames import FrameBatch
from vidx4.jobs.job import CHUNK_FRAMES, Executor, Job
from vidx4.jobs.meter import Meter
from vidx4.jobs.plan import Plan
from vidx4.jobs.work_folder import WorkFolder
from vidx4.media.decode import can_seek, read_frames
from vidx4.media.encode import encode_part, frame_sizes
from vidx4.syntax import format_disk, format_seconds, plural
from vidx4.video import TimeRange

NUM_PLACES, NUM_FRAMES = 4, 6
"""Number of places in a long video whose frames are compressed as a sample, and of frames in each."""
FRAMES_PER_PLACE = 250
"""Shorter videos are sampled in one place for so many frames, or in none."""
ENOUGH_PARTS = 8
"""Number of finished parts from which the size is estimated from these alone."""
MAX_GROWTH = 3.0
"""The most that a model's detail is taken to add to a frame's size, compared with bicubic enlargement."""

MAX_FAT_SIZE = (1 << 32) - 1
"""The largest file on FAT32, in bytes."""
_FAT = ("vfat", "msdos", "fat", "fat32")
"""Its names on Linux, macOS and Windows."""

Sizes = tuple[list[int], list[int]]
"""Sizes in bytes of keyframes and of other frames."""


@dataclass(frozen=True)
class Alternative:
    """Another option, with which work would take less time."""

    options: str
    """The option and its value, as they are typed."""
    seconds: float
    """Seconds that the work would take, from its beginning if other frames have to be made."""
    basis: str
    """What the time follows from."""

    def __str__(self) -> str:
        return f"{self.options}: about {format_seconds(self.seconds)}, {self.basis}"


@dataclass(frozen=True)
class Estimate:
    """Time, memory and disk space that a job still needs."""

    num_left: int
    """Number of frames still to be made."""
    seconds_per_frame: float
    """Seconds per frame, if no frame repeats the one before it."""
    basis: str
    """What the speed was measured on."""
    output_size: int
    """Size of the output in bytes."""
    disk_needed: int
    """Bytes needed beyond those in the work folder; parts are kept until the output is written."""
    disk_free: int
    """Bytes available on the output's disk."""
    memory: int
    """Peak memory of a process so far, on the CPU and the GPU, in bytes."""
    alternatives: tuple[Alternative, ...] = ()
    """What takes less time, if this takes hours."""

    @property
    def seconds_left(self) -> float:
        """Seconds until the output is finished."""
        return self.num_left * self.seconds_per_frame

    def facts(self, job: Job) -> dict[str, Any]:
        """Return what the job takes, as JSON values."""
        return {
            **asdict(self),
            "seconds_left": self.seconds_left,
            "batch_size": job.batch_size,
            "tile_size": job.identity.get("tile-size"),
            "noise_level": job.noise_level,
            "estimated_noise_level": job.estimated_noise_level,
        }


def estimate(plan: Plan, folder: WorkFolder, meter: Meter, executor: Executor) -> Estimate:
    """Estimate what a job will take from its finished parts, of which there must be one.

    The speed is that of this run or, if it has made no frame yet, of earlier runs. The size follows from the
    parts and, while these are few, from samples of the video.

    Args:
        plan: the source, and the output to make of it.
        folder: the finished parts.
        meter: the measurements of this run.
        executor: the workers that will do the rest.
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
        memory=meter.peak_memory,
    )


def check_disk(plan: Plan, estimate: Estimate) -> None:
    """Make sure that a job fits the disk, and its output the file system.

    Raises:
        DiskFullError: it does not.
    """
    if estimate.output_size > MAX_FAT_SIZE and not plan.written.is_pictures and _is_on_fat(plan.output):
        raise DiskFullError(
            f"{plan.output} gets about {format_disk(estimate.output_size)}, but FAT, as which its disk is "
            "formatted, holds no file above 4.29 GB: choose another place."
        )
    if estimate.disk_needed > estimate.disk_free:
        needed, free = map(format_disk, (estimate.disk_needed, estimate.disk_free))
        raise DiskFullError(
            f"{plan.output} needs about {needed}, its parts included, and {free} are free: make room, choose "
            "another place, or start anyway with --ignore-disk-space."
        )


def _is_on_fat(path: Path) -> bool:
    folder = Path(os.path.realpath(path.parent))
    found = [each for each in psutil.disk_partitions(all=True) if folder.is_relative_to(each.mountpoint)]
    nearest = max(found, key=lambda each: len(each.mountpoint), default=None)
    return nearest is not None and nearest.fstype.lower() in _FAT


def disk_needed(plan: Plan, folder: WorkFolder) -> int:
    """Return how many bytes a job needs beyond those in its folder, extrapolated from its finished parts."""
    num_done, done = folder.num_done, folder.size_of_parts
    return 2 * done * plan.num_frames // max(num_done, 1) - done + _copied(plan) + _states(folder)


def _speed(folder: WorkFolder, meter: Meter, num_workers: int) -> tuple[float, str]:
    if meter.num_new:
        what = f"measured on {plural(meter.num_new, 'frame')} of this video"
        seconds = meter.seconds_per_frame(without_reuse=True)
        if num_workers == 1 or meter.num_parts > 1:
            return seconds, f"{what} on this device" if num_workers == 1 else what
        return seconds / num_workers, f"{what} by one of {num_workers} workers"
    parts = sorted(folder.parts.values(), key=lambda part: part.start)
    parts = parts[1:] or parts  # the first includes warming up
    num_computed = sum(part.num_frames - part.num_reused for part in parts)
    seconds = sum(part.seconds for part in parts)
    return seconds / max(num_computed, 1), f"measured on {plural(folder.num_done, 'frame')} of an earlier run"


def _states(folder: WorkFolder, num_shots: int = 1) -> int:
    """Return the most that states take: one for each shot at work, the last one, and one being written."""
    return (num_shots + 2) * folder.size_of_state


def _copied(plan: Plan) -> int:
    """Return an upper bound for the other streams: the plan's share of the source file."""
    if not plan.written.streams.carried:
        return 0  # and numbered pictures are no file of a size
    return plan.source.path.stat().st_size * plan.num_frames // plan.source.num_frames


def frames_size(plan: Plan, folder: WorkFolder) -> int:
    """Estimate how many bytes the frames of a plan take, from its finished parts, of which there must be one.

    While there are few, frames from all over the video are enlarged by bicubic interpolation and compressed
    as well, since a film may begin with black. The same is done with the frames of the first part, to see by
    how much the model's detail makes frames larger.
    """
    starts = sorted(folder.parts)
    if len(starts) >= ENOUGH_PARTS:
        return folder.size_of_parts * plan.num_frames // folder.num_done
    made = _sum(frame_sizes(folder.part_path(start), plan.written.target) for start in starts)
    places = list(_places(plan))
    if not places:
        return _extrapolate(made, plan.num_frames)
    first = folder.parts[starts[0]]
    plain = _total(_plain(plan, folder, first.start, first.num_frames))
    growth = _total(frame_sizes(folder.part_path(first.start), plan.written.target)) / max(plain, 1)
    sampled = _sum(_plain(plan, folder, place, NUM_FRAMES) for place in places)
    return round(min(max(growth, 1.0), MAX_GROWTH) * _extrapolate(sampled, plan.num_frames))


def _places(plan: Plan) -> Iterator[int]:
    """Yield the indices of evenly spaced frames; none if finding them would mean decoding the whole video."""
    num_places = min(NUM_PLACES, plan.num_frames // FRAMES_PER_PLACE) if can_seek(plan.source) else 0
    return (plan.frames[(2 * i + 1) * plan.num_frames // (2 * num_places)] for i in range(num_places))


def _plain(plan: Plan, folder: WorkFolder, start: int, num_frames: int) -> Sizes:
    """Return the compressed sizes of frames that are enlarged by bicubic interpolation."""
    source = plan.source
    frames = islice(read_frames(source, TimeRange(start=source.seconds_of(source.pts[start]))), num_frames)
    batches = (enlarge_frames(FrameBatch.of([frame])) for frame in frames)
    encode_part(folder.sample_path, batches, source, plan.written.target)
    return frame_sizes(folder.sample_path, plan.written.target)


def _sum(sizes: Iterable[Sizes]) -> Sizes:
    keyframes, others = zip(*sizes, strict=True)
    return list(chain(*keyframes)), list(chain(*others))


def _total(sizes: Sizes) -> int:
    return sum(map(sum, sizes))


def _extrapolate(sizes: Sizes, num_frames: int) -> int:
    keyframes, others = sizes
    num_keyframes = -(-num_frames // CHUNK_FRAMES)
    return round(num_keyframes * fmean(keyframes) + (num_frames - num_keyframes) * fmean(others or keyframes))
