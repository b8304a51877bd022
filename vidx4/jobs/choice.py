"""The model and the speed of a job, chosen by its length before a model is loaded."""

import logging

from vidx4.diffusion.choice import NIGHT_SECONDS, Frames, best, choose, is_open, recorded
from vidx4.diffusion.options import UpscaleOptions
from vidx4.jobs.identity import NOTHING, Identity, identify_frames
from vidx4.jobs.job import Loader
from vidx4.jobs.plan import Plan
from vidx4.jobs.work_folder import recorded_identity
from vidx4.video import Source

_logger = logging.getLogger(__name__)


def chosen_for_job(
    options: UpscaleOptions,
    plan: Plan,
    loader: Loader,
    night: float | None = None,
    *,
    made: Identity = NOTHING,
    restart: bool = False,
) -> UpscaleOptions:
    """Return options whose model and speed are chosen for a job, and log why.

    A job that resumes, or follows a dry run, keeps what was chosen then. Without a GPU, and for what the user
    chose, options are returned as they are.

    Args:
        options: what the user chose.
        plan: the plan of the job.
        loader: where the job will run.
        night: seconds that it may take; None for a night of the usual length.
        made: the identity of the job that has made the output already; empty if there is none.
        restart: whether the work of an earlier run is discarded.

    Raises:
        OptionError: there is no such device.
        ModelError: the model is a folder whose description can't be read.
        MemoryLimitError: the GPU has no memory left.
        WorkerError: no worker can start.
    """
    earlier = made or (NOTHING if restart else _earlier(plan))
    return chosen(options, plan.source, plan.num_frames, loader, night, earlier)


def chosen(
    options: UpscaleOptions,
    source: Source,
    num_frames: int,
    loader: Loader,
    night: float | None = None,
    earlier: Identity = NOTHING,
) -> UpscaleOptions:
    """Return options whose model and speed are chosen for some frames of a film; see `chosen_for_job`."""
    measure = loader.card(options) if is_open(options) else None
    if measure is None:
        return options
    frames = Frames(source.width, source.height, num_frames)
    limit = NIGHT_SECONDS if night is None else night
    choice = recorded(options, earlier) or choose(options, frames, measure, limit)
    if choice.reason:
        _logger.info("%s: %s", source.path.name, choice.reason)
    return choice.options


def chosen_for_picture(options: UpscaleOptions, loader: Loader) -> UpscaleOptions:
    """Return options with the best model and speed for a still picture, which takes little time with any."""
    return best(options) if is_open(options) and loader.card(options) else options


def chosen_before(options: UpscaleOptions, loader: Loader, identity: Identity) -> UpscaleOptions | None:
    """Return options whose model and speed are those of a job; None if they can't be, by what the user chose.

    Args:
        options: what the user chose.
        loader: where jobs run.
        identity: the identity of the job.
    """
    if not is_open(options) or loader.card(options) is None:
        return options
    choice = recorded(options, identity)
    return None if choice is None else choice.options


def _earlier(plan: Plan) -> Identity:
    """Return the identity of an earlier run of a job; empty if there is none, or it was of other frames."""
    was, wanted = recorded_identity(plan.work_folder), identify_frames(plan)
    return was if all(was.get(name) == value for name, value in wanted.items()) else NOTHING
