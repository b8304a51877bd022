"""Frames on their way from the source through the model, from any place of a video on."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from vidx4.errors import SourceError
from vidx4.frames import SCALE, FrameBatch, pixel_dtype
from vidx4.jobs.plan import Plan
from vidx4.jobs.prefetch import ahead
from vidx4.jobs.progress import Control, Monitor, StageSeconds
from vidx4.jobs.shots import ShotBatch, by_shot
from vidx4.media.decode import read_batches
from vidx4.media.stall import PATIENCE, Pulse
from vidx4.temporal.follow import Followed, FollowedBatch
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.video import Source

BUFFERED_FRAMES, BUFFERED_BYTES = 16, 64 * 2**20
"""What waits for the encoder at most, so that the model goes on while a part is brought to its end."""

Enlarge = Callable[[Any, ShotState | None], Upscaled]
"""Frames of a shot, and the state after those before them, to frames four times larger at the same pts. The
frames are a `FrameBatch`, or what comes of one ahead of it."""

Follow = Callable[[FrameBatch, Followed | None], FollowedBatch]
"""Frames of a shot, and the one before them, to what ties them to it."""


Ready: TypeAlias = tuple[ShotBatch, FrameBatch | FollowedBatch]
"""A batch, and what of it the model takes."""


@dataclass(frozen=True)
class Model:
    """What enlarges frames."""

    enlarge: Enlarge
    follow: Follow | None = None
    """What is done first, in a thread of its own, where there is such a thing."""


@dataclass(frozen=True)
class Place:
    """Where work begins or goes on."""

    pts: int
    """Of the first frame to be enlarged."""
    shown_from: int
    """A pts up to `pts`: frames from there on are of the same shot, and tell what it looks like."""


class Enlarged(NamedTuple):
    """Consecutive frames of a shot before and after."""

    shot_batch: ShotBatch
    upscaled: Upscaled


def decoded(plan: Plan, batch_size: int, place: Place, monitor: Monitor) -> Generator[ShotBatch]:
    """Yield the frames of a plan from a place on, decoded ahead in a thread.

    Raises:
        StoppedError: the control says so.
        SourceError: the decoder makes no progress, or something can't be decoded and the plan is strict.
    """

    def wants(pts: int) -> bool:
        monitor.control.check()
        if plan.request.strict and monitor.damage:
            raise SourceError(f"{plan.source.path} is damaged: {' '.join(monitor.damage.sentences())}")
        return pts >= place.shown_from

    pulse = Pulse()  # a job that goes on decodes for long before the first frame that it wants
    frames = read_batches(plan.source, batch_size, plan.span, wants, monitor.damage, pulse.beat)
    shots = monitor.seconds.timed_items("decode", by_shot(frames, batch_size, place.pts))
    return ahead(shots, patience=PATIENCE, pulse=pulse, what=f"The decoder of {plan.source.path}")


def enlarged(
    model: Model,
    batches: Generator[ShotBatch],
    state: ShotState | None,
    control: Control,
    seconds: StageSeconds,
    depth: int = 2,
) -> Generator[Enlarged]:
    """Yield batches with what becomes of them; the model, and what it needs first, run ahead in threads.

    Args:
        model: what enlarges them.
        batches: consecutive ones of one shot or several; closed with the generator that is returned.
        state: what the first needs of those before; None at the start of a shot.
        control: stops it; the batch at work is done first.
        seconds: gets to know where the time goes.
        depth: how many wait for the consumer at most.

    Raises:
        StoppedError: the control says so.
    """
    last = None if state is None else state.last
    ready = ahead(_followed(model.follow, batches, last, seconds)) if model.follow else _alone(batches)
    return ahead(_enlarged(model.enlarge, ready, state, control, seconds), depth)


def buffered(source: Source, batch_size: int) -> int:
    """Return how many batches may wait for the encoder."""
    return max(2, min(BUFFERED_FRAMES // batch_size, BUFFERED_BYTES // _batch_bytes(source, batch_size)))


def _batch_bytes(source: Source, batch_size: int) -> int:
    """Return how large the results of a batch are."""
    num_values = 3 * SCALE**2 * source.width * source.height * batch_size
    return num_values * pixel_dtype(source.bit_depth).itemsize


def _followed(
    follow: Follow, batches: Generator[ShotBatch], last: Followed | None, seconds: StageSeconds
) -> Generator[Ready]:
    """Follow batches, each from the last of its shot."""
    with closing(batches):
        for shot_batch in batches:
            with seconds.timed("follow"):
                followed = follow(shot_batch.batch, None if shot_batch.starts_shot else last)
            last = followed.last
            yield shot_batch, followed


def _alone(batches: Generator[ShotBatch]) -> Generator[Ready]:
    with closing(batches):
        for shot_batch in batches:
            yield shot_batch, shot_batch.batch


def _enlarged(
    enlarge: Enlarge,
    batches: Generator[Ready],
    state: ShotState | None,
    control: Control,
    seconds: StageSeconds,
) -> Generator[Enlarged]:
    """Enlarge batches, each going on from the last of its shot."""
    with closing(batches):
        for shot_batch, frames in batches:
            control.check()
            with seconds.timed("model"):
                upscaled = enlarge(frames, None if shot_batch.starts_shot else state)
            state = upscaled.state
            yield Enlarged(shot_batch, upscaled)


def one_chunk(batches: Iterator[Enlarged], num_frames: int) -> Iterator[Enlarged]:
    """Take batches up to the end of the shot, or until there are so many frames."""
    num_taken = 0
    for each in batches:
        num_taken += len(each.shot_batch.batch)
        yield each
        if each.shot_batch.ends_shot or num_taken >= num_frames:
            return
