"""What else there is if work takes long, and how long it would take."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch

from vidx4.diffusion.choice import faster_and_faster
from vidx4.diffusion.models.compact import COMPACT, GAIN_OF_FAST
from vidx4.diffusion.models.registry import family_of
from vidx4.diffusion.options import Speed, UpscaleOptions
from vidx4.errors import Vidx4Error
from vidx4.jobs.estimate import Alternative, Estimate
from vidx4.jobs.job import Backend, Job
from vidx4.jobs.local import LocalBackend, LocalExecutor
from vidx4.jobs.moments import read_moments
from vidx4.jobs.progress import Control
from vidx4.working_time import working_seconds

LONG_SECONDS = 4 * 3600.0
"""How long work takes at least to have alternatives named."""
MAYBE_LONG = 1e15
"""Operations of a job that a slow CPU computes within minutes: with fewer, none takes long."""
COUNTED = "by counted operations"


class _Option(NamedTuple):
    text: str
    """As it is typed."""
    share: float
    """Share of the present time that a frame takes with it."""
    basis: str
    keeps_parts: bool = False
    """Whether parts that are made already stay valid."""


class Prospects:
    """Names alternatives to a job that takes long.

    Args:
        job: the job.
        backend: where it runs. For a job that may take long with another model, `compact` is loaded there at
            once: while a model works, none may be loaded.
    """

    def __init__(self, job: Job, backend: Backend) -> None:
        self._job = job
        self._compact = _compact_beside(job, backend)

    def alternatives(self, estimate: Estimate, seconds_left: float | None = None) -> tuple[Alternative, ...]:
        """Return what else there is, the most like the present work first; nothing for work that is short.

        Args:
            estimate: what the job takes.
            seconds_left: how long all work takes at the speed of this job; None if there is no other.
        """
        left = estimate.seconds_left if seconds_left is None else seconds_left
        if left <= LONG_SECONDS or not estimate.num_left:
            return ()
        made = (self._job.plan.num_frames - estimate.num_left) * estimate.seconds_per_frame
        options = [*_speeds(self._job), *self._other_model(estimate), *_cluster(self._job)]
        found = (
            Alternative(each.text, each.share * (left if each.keeps_parts else left + made), each.basis)
            for each in options
        )
        return tuple(each for each in found if each.seconds < left)

    def _other_model(self, estimate: Estimate) -> Iterator[_Option]:
        """Try `compact` on a frame of this video; whatever keeps it from that, it is no alternative then."""
        if self._compact is None:
            return
        try:
            seconds = _seconds_of_a_frame(self._compact, self._job)
        except Vidx4Error:
            return
        basis = "its share of the time was measured on a frame of this video"
        yield _Option("--model compact", seconds / estimate.seconds_per_frame, basis)


def _compact_beside(job: Job, backend: Backend) -> LocalBackend | None:
    """Load `compact` beside the model of a job; None if that is no alternative to it."""
    source, options = job.plan.source, job.options
    family = family_of(options.model)
    operations = family.operations_of_frame(options, source.width, source.height) * job.plan.num_frames
    if not isinstance(backend, LocalBackend) or family is COMPACT or operations < MAYBE_LONG:
        return None
    try:
        return backend.with_options(replace(options, model="compact", speed=Speed.AUTO))
    except Vidx4Error:  # such as a prompt, which it doesn't take
        return None


def _seconds_of_a_frame(backend: LocalBackend, job: Job) -> float:
    """Return how long a model takes for a frame of a job's film, without what is done beside it."""
    plan = job.plan
    (frame,) = read_moments(plan.source, [plan.frames[len(plan.frames) // 2]])
    pixels = frame.data.permute(1, 2, 0).numpy()
    backend.picture(pixels, Control())  # warms up
    start = working_seconds()
    backend.picture(pixels, Control())
    return working_seconds() - start


def _speeds(job: Job) -> Iterator[_Option]:
    source, family = job.plan.source, family_of(job.options.model)

    def operations(options: UpscaleOptions) -> float:
        return family.operations_of_frame(options, source.width, source.height)

    now = operations(job.options)
    for each in faster_and_faster(job.options):
        if operations(each) < now:
            yield _Option(f"--speed {each.speed}", operations(each) / now, COUNTED)
    if family is COMPACT and job.identity.get("remembers") and job.identity.get("device") == "cpu":
        yield _Option(f"--speed {Speed.FAST}", 1 / GAIN_OF_FAST, "as measured on another video")


def _cluster(job: Job) -> Iterator[_Option]:
    """Yield the GPUs of this machine that the job leaves idle."""
    executor = job.executor
    if sys.platform == "win32":
        return  # a cluster is refused there
    if not isinstance(executor, LocalExecutor) or torch.device(executor.device).type != "cuda":
        return
    if (num_gpus := torch.cuda.device_count()) > 1:
        basis = f"if the film has shots enough for {num_gpus} GPUs"
        yield _Option("--cluster local", 1 / num_gpus, basis, keeps_parts=True)
