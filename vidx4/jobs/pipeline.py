"""The stages of a frame: decoded, tied to the frame before it, and enlarged, each stage in its own thread."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from vidx4.frames import SCALE, FrameBatch, pixel_dtype
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Control, Monitor, StageSeconds
from vidx4.jobs.shots import Batch, ShotBatch, by_shot
from vidx4.jobs.threads import ahead
from vidx4.media.damage import too_damaged
from vidx4.media.decode import read_frames
from vidx4.media.stall import PATIENCE, Pulse
from vidx4.temporal.follow import Followed, FollowedBatch
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.video import Source

BUFFERED_FRAMES, BUFFERED_BYTES = 16, 64 * 2**20
"""The most that may wait for the encoder, so that the model keeps working while a part is finished."""

Enlarge: TypeAlias = Callable[[FrameBatch, ShotState | None], Upscaled]
"""Enlarges frames of a shot, given the state after the frames before them."""
EnlargeFollowed: TypeAlias = Callable[[FollowedBatch, ShotState | None], Upscaled]
"""The same for frames that were followed ahead of it."""
Follow: TypeAlias = Callable[[FrameBatch, Followed | None], FollowedBatch]
"""Finds out what ties frames of a shot to each other and to the frame before them."""


@dataclass(frozen=True)
class TwoStageModel:
    """A model that runs on a device, and what prepares frames for it on the CPU, in a thread ahead of it."""

    follow: Follow
    enlarge: EnlargeFollowed


Model: TypeAlias = Enlarge | TwoStageModel
"""What enlarges frames, in one stage or two."""


@dataclass(frozen=True)
class Place:
    """A place in a video from which frames are enlarged."""

    pts: int
    """The pts of the first frame to enlarge."""
    shown_from: int
    """A pts at or before `pts`, in the same shot: the frames in between show what the shot looks like."""


def decoded(plan: Plan, batch_size: int, place: Place, monitor: Monitor) -> Generator[ShotBatch[FrameBatch]]:
    """Yield the frames of a plan from a place on, decoded ahead in a thread.

    Raises:
        StoppedError: the control was told to stop.
        SourceError: the decoder makes no progress, or something can't be decoded and the plan is strict.
    """

    def wants(pts: int) -> bool:
        # Asked for every decoded frame, so this is where a decoder far ahead of its first batch is stopped.
        monitor.control.check()
        if plan.request.strict and monitor.damage:
            raise too_damaged(plan.source.path, " ".join(monitor.damage.sentences()))
        return pts >= place.shown_from

    pulse = Pulse()  # a resumed job may decode for long before the first frame it wants
    frames = read_frames(plan.source, plan.request.span, wants, monitor.damage, pulse.beat)
    shots = monitor.seconds.timed_items("decode", by_shot(frames, batch_size, place.pts))
    return ahead(shots, patience=PATIENCE, pulse=pulse, what=f"The decoder of {plan.source.path}")


def enlarged(
    model: Model,
    batches: Generator[ShotBatch[FrameBatch]],
    state: ShotState | None,
    control: Control,
    seconds: StageSeconds,
    depth: int = 2,
) -> Generator[ShotBatch[Upscaled]]:
    """Yield batches enlarged; each stage of the model runs ahead in a thread.

    Args:
        model: what enlarges the frames.
        batches: consecutive batches of one shot or several; closed with the returned generator.
        state: the state after the frames before the first batch; None at the start of a shot.
        control: stops the work after the current batch.
        seconds: records where the time goes.
        depth: the most batches that may wait for the consumer.

    Raises:
        StoppedError: the control was told to stop.
    """
    if isinstance(model, TwoStageModel):
        last = None if state is None else state.last
        followed = ahead(_followed(model.follow, batches, last, seconds))
        return ahead(_arrived(_enlarged(model.enlarge, followed, state, control, seconds), seconds), depth)
    return ahead(_arrived(_enlarged(model, batches, state, control, seconds), seconds), depth)


def buffered(source: Source, batch_size: int) -> int:
    """Return how many batches may wait for the encoder."""
    return max(2, min(BUFFERED_FRAMES // batch_size, BUFFERED_BYTES // _batch_bytes(source, batch_size)))


def _batch_bytes(source: Source, batch_size: int) -> int:
    """Return the size of an enlarged batch in bytes."""
    num_values = 3 * SCALE**2 * source.width * source.height * batch_size
    return num_values * pixel_dtype(source.bit_depth).itemsize


def _followed(
    follow: Follow, batches: Generator[ShotBatch[FrameBatch]], last: Followed | None, seconds: StageSeconds
) -> Generator[ShotBatch[FollowedBatch]]:
    """Follow batches, each from the last frame of the one before it in its shot."""
    with closing(batches):
        for each in batches:
            with seconds.timed("follow"):
                followed = follow(each.batch, None if each.starts_shot else last)
            last = followed.last
            yield each.replaced(followed)


def _enlarged(
    enlarge: Callable[[Batch, ShotState | None], Upscaled],
    batches: Generator[ShotBatch[Batch]],
    state: ShotState | None,
    control: Control,
    seconds: StageSeconds,
) -> Generator[ShotBatch[Upscaled]]:
    """Enlarge batches, or launch that, each with the state after the one before it in its shot."""
    with closing(batches):
        for each in batches:
            control.check()
            with seconds.timed("model"):
                upscaled = enlarge(each.batch, None if each.starts_shot else state)
            state = upscaled.state
            yield each.replaced(upscaled)


def _arrived(
    launched: Generator[ShotBatch[Upscaled]], seconds: StageSeconds
) -> Generator[ShotBatch[Upscaled]]:
    """Yield batches when their frames are on the host, each only after a GPU has been given the next one."""
    last: ShotBatch[Upscaled] | None = None

    def arrived(each: ShotBatch[Upscaled]) -> ShotBatch[Upscaled]:
        with seconds.timed("model"):
            return each.replaced(each.batch.arrived())

    try:
        with closing(launched):
            for each in launched:
                if last is not None:
                    yield arrived(last)
                last = each if each.batch.download is not None else None
                if last is None:
                    yield each
    except Exception:
        if last is not None:
            yield arrived(last)  # what came before the error counts
        raise
    if last is not None:
        yield arrived(last)


def one_chunk(batches: Iterator[ShotBatch[Upscaled]], num_frames: int) -> Iterator[ShotBatch[Upscaled]]:
    """Take batches up to the end of the shot, or until they hold `num_frames` frames."""
    num_taken = 0
    for each in batches:
        num_taken += len(each.batch)
        yield each
        if each.ends_shot or num_taken >= num_frames:
            return
