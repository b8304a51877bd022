"""Workers that are Ray actors, on this machine or on many."""

import logging
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # report nothing to the makers of Ray
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's coming default: no warning about it

import ray
from ray.exceptions import RayError, RayTaskError

from vidx4.diffusion.host import total_memory
from vidx4.errors import DeviceError, OptionError
from vidx4.jobs.cluster.backend import ClusterLoader
from vidx4.jobs.cluster.local_ray import private_ray
from vidx4.jobs.cluster.model_files import Models
from vidx4.jobs.cluster.object_store import Ref, Value
from vidx4.jobs.cluster.ray_address import check_address
from vidx4.jobs.cluster.task_queue import TASKS_PER_WORKER, WorkerLost, WorkSize
from vidx4.jobs.cluster.worker import Worker
from vidx4.jobs.cluster.worker_pool import WorkerPool

_logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

LOCAL = "local"
CPUS_PER_WORKER = 4
"""CPUs for each worker without a GPU, by default."""
FRAMES_PER_WORKER, BYTES_PER_WORKER = 512, 2**30
"""Low-resolution frames for each worker that may wait or be in progress: a few shots for each."""
SHARE_OF_STORE = 0.5
"""Share of Ray's object store that such frames may fill; the rest is for parts, states and weights."""
SHARE_OF_MEMORY = 0.25
"""Share of this machine's memory for the object store of a Ray that is started here."""
PROGRESS_SECONDS = 1.0
"""Time between two questions about how far a worker is."""
_CALLS_AT_ONCE = TASKS_PER_WORKER + 2
"""Calls that a worker answers at once: those of its tasks, and questions."""


@dataclass(frozen=True)
class Allocation:
    """How many workers there are, and what each takes of the cluster."""

    num_workers: int
    num_gpus: int
    """GPUs for each: one or none."""
    num_cpus: int
    """CPUs that are reserved for each."""
    num_threads: int
    """CPU threads that each uses."""

    @classmethod
    def of(cls, nodes: Sequence[Mapping[str, float]], num_workers: int | None, device: str) -> Self:
        """Divide a cluster among workers.

        Args:
            nodes: resources of each machine, by Ray's names.
            num_workers: how many workers to have; None for one for each GPU, or for every few CPUs.
            device: `cuda`, `cpu`, or `auto` for GPUs if there are any.

        Raises:
            OptionError: the device is another one, or the cluster has none of its kind.
        """
        num_gpus, num_cpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("GPU", "CPU"))
        if device not in ("auto", "cpu", "cuda"):
            text = f"On a cluster, --device is auto, cpu or cuda, not {device}: each worker sees one device."
            raise OptionError(text)
        if device == "cuda" and not num_gpus:
            raise OptionError("No machine of the cluster has a GPU: omit --device, or use --device cpu.")
        if num_gpus and device != "cpu":
            return cls(num_workers or num_gpus, 1, 1, max(1, num_cpus // num_gpus))
        num_workers = num_workers or max(1, num_cpus // CPUS_PER_WORKER)
        largest = int(max((node.get("CPU", 0) for node in nodes), default=1))
        each = max(1, min(num_cpus // num_workers, largest))
        return cls(num_workers, 0, each, each)

    def __str__(self) -> str:
        each = f"{'a GPU and ' if self.num_gpus else ''}{self.num_threads} CPU threads"
        return f"{self.num_workers} workers, each with {each}"


class _RayStore:
    """Ray's object store."""

    def put(self, value: Value) -> Ref[Value]:
        """Store a value."""
        return Ref(ray.put(value))  # of a call's arguments, Ray would fetch a bare reference, but not a `Ref`

    def get(self, ref: Ref[Value]) -> Value:
        """Fetch a value."""
        return ray.get(cast("ray.ObjectRef[Value]", ref.key))


class _Actor(Worker):
    """A worker in a process that Ray starts."""

    def __init__(self, num_threads: int) -> None:
        super().__init__(num_threads, _RayStore())


class _RayWorker:
    """Handle of a Ray actor.

    Raises:
        WorkerLost: the cluster can't be asked for the actor.
    """

    def __init__(self, number: int, allocation: Allocation) -> None:
        self.name = f"Worker {number}"
        actor = ray.remote(_Actor).options(
            num_cpus=allocation.num_cpus,
            num_gpus=allocation.num_gpus,
            max_concurrency=_CALLS_AT_ONCE,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        try:
            self._actor: Any = actor.remote(allocation.num_threads)
        except (RayError, ConnectionError) as error:
            raise WorkerLost(f"{self.name} could not be requested: {_reason(error)}") from error

    def call(
        self,
        on_wait: Callable[[], object],
        method: Callable[Concatenate[Worker, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call a method of the worker; arguments and errors are those of `WorkerHandle.call`."""
        try:
            call = getattr(self._actor, method.__name__).remote(*args, **kwargs)
            while not ray.wait([call], timeout=PROGRESS_SECONDS)[0]:
                on_wait()
            self._pass_on_log()
            result: Result = ray.get(call)
        except RayTaskError as error:
            if isinstance(error.cause, RayError | DeviceError):
                raise WorkerLost(f"{self.name} was lost: {_reason(error.cause)}") from error
            raise error.cause from None
        except (RayError, ConnectionError) as error:
            raise WorkerLost(f"{self.name} was lost: {_reason(error)}") from error
        return result

    def _pass_on_log(self) -> None:
        with suppress(RayError, ConnectionError):
            for level, message in ray.get(self._actor.take_log.remote()):
                _logger.log(level, "%s", message)

    def kill(self) -> None:
        """End the worker, whatever it is doing."""
        with suppress(RayError, ConnectionError):
            ray.kill(self._actor)


def _reason(error: Exception) -> str:
    """Shorten an error message of Ray."""
    text = " ".join(str(error).split())
    match = re.search(r"The actor is dead because (.*?)\.(?: |$)", text)
    return f"{match[1] if match else text[:200]}."


@contextmanager
def connect(
    address: str, num_workers: int | None = None, device: str = "auto", *, sends_model: bool = False
) -> Iterator[ClusterLoader]:
    """Start Ray on this machine, or join a running cluster; the workers end with the block.

    Args:
        address: `local` to start Ray here, `auto` for the cluster that this machine belongs to, or
            `ray://HOST:PORT`.
        num_workers: how many workers to have; None for one for each GPU, or for every few CPUs.
        device: `cpu`, `cuda`, or `auto` for GPUs if there are any.
        sends_model: whether the model's files are sent to the workers from here; else each finds them itself.

    Yields:
        What has the workers load models.

    Raises:
        OptionError: there is no such cluster, or the options don't fit it.
    """
    if sends_model and address == LOCAL:
        text = "workers on this machine read the model's files themselves"
        raise OptionError(f"--send-model does not go with --cluster local: {text}.")
    with _ray(address, num_workers):
        allocation = Allocation.of([node["Resources"] for node in _nodes()], num_workers, device)
        _logger.info("cluster %s: %s", address, allocation)
        models = Models("cuda" if allocation.num_gpus else "cpu", _RayStore(), sends=sends_model)
        pool = WorkerPool(
            lambda number: _RayWorker(number, allocation), allocation.num_workers, _capacity(allocation)
        )
        with closing(pool):
            yield ClusterLoader(pool, models)


@contextmanager
def _ray(address: str, num_workers: int | None) -> Iterator[None]:
    """Start Ray here, or join a running cluster, until the block ends."""
    if address not in (LOCAL, "auto") and not address.startswith("ray://"):
        raise OptionError(f"{address!r} is not the address of a cluster: use local, auto or ray://HOST:PORT.")
    if address != LOCAL:
        check_address(address)
    with _options(address, num_workers) as options:
        _join(address, options)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _options(address: str, num_workers: int | None) -> Iterator[dict[str, Any]]:
    """Give the options for `ray.init`."""
    if address != LOCAL:
        yield {}
        return
    with private_ray() as options:
        yield options | {
            "num_cpus": max(os.cpu_count() or 1, num_workers or 1),
            "object_store_memory": int(SHARE_OF_MEMORY * total_memory()),
        }


def _join(address: str, options: Mapping[str, Any]) -> None:
    """Become a part of a cluster.

    Raises:
        OptionError: there is no such cluster, or it refuses this process.
    """
    # vidx4 reports errors in its own words, and standard output may be JSON.
    ray._private.worker._worker_logs_enabled = False
    children = _signals_blocked() if address == LOCAL else nullcontext()
    try:
        with _handlers_restored(), children, warnings.catch_warnings(action="ignore"):
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise OptionError(
            f"The cluster {address} can't be joined ({why}): check that it is running (ray start --head), "
            f"uses Ray {ray.__version__} and this version of Python, and has the same RAY_AUTH_MODE."
        ) from error


@contextmanager
def _handlers_restored() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Have processes that are started in the block ignore requests to end: they end with this one.

    Whatever closes a terminal or stops a service signals all processes of a job at once; without Ray's own,
    this one could not store what is done. Ray does the same for SIGINT.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _capacity(allocation: Allocation) -> WorkSize:
    """Return how many frames may wait or be in progress."""
    here = ray.get_runtime_context().get_node_id()
    store = next(node["Resources"]["object_store_memory"] for node in _nodes() if node["NodeID"] == here)
    most = min(allocation.num_workers * BYTES_PER_WORKER, int(SHARE_OF_STORE * store))
    return WorkSize(allocation.num_workers * FRAMES_PER_WORKER, most)
