"""A job's shots made by Ray actors, on this machine or many."""

import logging
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import Event
from typing import Any, Self

import psutil

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError, RayTaskError

from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError, WorkerError
from vidx4.jobs.cluster.backend import ClusterBackend
from vidx4.jobs.cluster.chunks import Chunk
from vidx4.jobs.cluster.model_files import Models, Setting
from vidx4.jobs.cluster.scheduler import ERRANDS_AT_ONCE, Load, WorkerLost
from vidx4.jobs.cluster.worker import Fitted, Packed, Task, Worker
from vidx4.jobs.cluster.workers import Staff
from vidx4.jobs.identity import Identity, program
from vidx4.jobs.job import Pixels
from vidx4.jobs.progress import Advance

logger = logging.getLogger(__name__)

LOCAL = "local"
CPUS_PER_WORKER = 4
"""Of workers without a GPU, where nobody says how many there are to be."""
FRAMES_PER_WORKER, BYTES_PER_WORKER = 512, 2**30
"""Low-resolution frames that wait or are at work: some shots for each worker, so that each has one."""
SHARE_OF_STORE = 0.5
"""Of Ray's memory for objects, what such frames may fill; the rest is for parts, states and weights."""
SHARE_OF_MEMORY = 0.25
"""Of this machine's memory, what Ray gets for objects where it is started here."""
PROGRESS_SECONDS = 1.0
"""Between two looks at how far a worker is."""
PATIENT_SECONDS = 30.0
"""After which it is told that a worker is waited for."""
_WAYS_IN = (
    f"it has to be there (ray start --head starts one), run Ray {ray.__version__} and this Python, and have "
    "been told the same of tokens (RAY_AUTH_MODE)."
)
_CALLS_AT_ONCE = ERRANDS_AT_ONCE + 2
"""Of a worker: those of its errands, and questions."""


@dataclass(frozen=True)
class Workforce:
    """How many workers there are, and what each takes of the cluster."""

    num_workers: int
    num_gpus: int
    """Of each: one or none."""
    num_cpus: int
    """That are set apart for each."""
    num_threads: int
    """That each uses."""

    @classmethod
    def of(cls, nodes: Sequence[Mapping[str, float]], num_workers: int | None, device: str) -> Self:
        """Divide a cluster among workers.

        Args:
            nodes: what each machine has, by Ray's names.
            num_workers: as many are wanted; one for each GPU, or for some CPUs, where None.
            device: `cuda`, `cpu`, or `auto` for GPUs where there are any.

        Raises:
            OptionError: another device, or there is none of its kind.
        """
        num_gpus, num_cpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("GPU", "CPU"))
        if device not in ("auto", "cpu", "cuda"):
            raise OptionError(f"A worker sees one device: --device can be auto, cpu or cuda, not {device}.")
        if device == "cuda" and not num_gpus:
            raise OptionError("No machine of the cluster has a GPU: leave --device out, or use --device cpu.")
        if num_gpus and device != "cpu":
            return cls(num_workers or num_gpus, 1, 1, max(1, num_cpus // num_gpus))
        num_workers = num_workers or max(1, num_cpus // CPUS_PER_WORKER)
        largest = int(max((node.get("CPU", 0) for node in nodes), default=1))
        each = max(1, min(num_cpus // num_workers, largest))
        return cls(num_workers, 0, each, each)

    def __str__(self) -> str:
        each = f"{'a GPU and ' if self.num_gpus else ''}{self.num_threads} CPU threads"
        return f"{self.num_workers} workers, each with {each}"


class _Actor(Worker):
    """A worker in a process that Ray starts."""

    def __init__(self, num_threads: int) -> None:
        super().__init__(num_threads, _fetch)


def _store(value: Any) -> Any:
    """Put something where all machines can fetch it; in a list, or Ray would do so before it is asked."""
    return [ray.put(value)]


def _fetch(reference: Any) -> Any:
    return ray.get(reference[0])


class _RemoteWorker:
    """A Ray actor, as seen from here. Its methods raise `WorkerLost` where it died."""

    def __init__(self, number: int, force: Workforce) -> None:
        self.name = f"Worker {number}"
        actor = ray.remote(_Actor).options(
            num_cpus=force.num_cpus,
            num_gpus=force.num_gpus,
            max_concurrency=_CALLS_AT_ONCE,
            max_restarts=0,
            scheduling_strategy="SPREAD",
        )
        self._actor: Any = actor.remote(force.num_threads)

    def begin(self, setting: Setting, is_over: Event) -> Identity:
        """Wait until it is there and has loaded its model; return all that decides on its pixels.

        Raises:
            WorkerError: it runs another program.
            ModelError: it can't have the model.
            WorkerLost: nobody waits for it any more.
        """
        there = self._awaited(self._actor.program.remote(), self._patient(is_over))
        self.name += f" on {there.pop('host')} (process {there.pop('pid')})"
        if (here := program()) != there:
            is_, was = map(_described, (there, here))
            raise WorkerError(f"{self.name} runs {is_}, and this is {was}: install the same everywhere.")
        identity: Identity = self._awaited(self._actor.identity.remote(setting), self._patient(is_over))
        return identity

    def _patient(self, is_over: Event) -> Callable[[], None]:
        """Return what is done while it is waited for."""
        begun = time.monotonic()

        def wait() -> None:
            if is_over.is_set():
                raise WorkerLost(f"{self.name} is not waited for any more.")
            if time.monotonic() - begun > PATIENT_SECONDS:
                logger.info("%s is waited for: the cluster has no room for it yet, or it loads.", self.name)

        return wait

    def identity(self, setting: Setting) -> Identity:
        """Return all that decides on the pixels of a result."""
        identity: Identity = self._awaited(self._actor.identity.remote(setting))
        return identity

    def fitted(
        self, setting: Setting, width: int, height: int, num_frames: int, batch_size: int | None
    ) -> Fitted:
        """Find out how frames fit its memory."""
        call = self._actor.fitted.remote(setting, width, height, num_frames, batch_size)
        fitted: Fitted = self._awaited(call)
        return fitted

    def make_part(
        self,
        task: Task,
        chunk: Chunk,
        frames: Any,
        state: bytes | None,
        *,
        is_entry: bool,
        on_advance: Callable[[Advance], Any],
    ) -> Packed:
        """Make a part, and tell how far it is."""

        def tell() -> None:
            if advance := ray.get(self._actor.advance.remote(task.key, chunk.start)):
                on_advance(advance)

        call = self._actor.make_part.remote(task, chunk, frames, state, is_entry=is_entry)
        packed: Packed = self._awaited(call, tell)
        return packed

    def picture(self, setting: Setting, pixels: Any) -> Pixels:
        """Enlarge a still picture."""
        enlarged: Pixels = self._awaited(self._actor.picture.remote(setting, pixels))
        return enlarged

    def _awaited(self, call: Any, on_wait: Callable[[], object] = lambda: None) -> Any:
        """Return what comes of a call, or raise what the worker raised.

        Args:
            call: Ray's reference to it.
            on_wait: called now and then in the meantime.
        """
        try:
            while not ray.wait([call], timeout=PROGRESS_SECONDS)[0]:
                on_wait()
            self._pass_on_notes()
            return ray.get(call)
        except RayTaskError as error:
            if isinstance(error.cause, RayError):
                raise WorkerLost(f"{self.name} was lost: {_reason(error.cause)}") from error
            raise error.cause from None
        except (RayError, ConnectionError) as error:
            raise WorkerLost(f"{self.name} was lost: {_reason(error)}") from error

    def _pass_on_notes(self) -> None:
        with suppress(RayError, ConnectionError):
            for level, message in ray.get(self._actor.notes.remote()):
                logger.log(level, "%s", message)

    def dismiss(self) -> None:
        """Let it end."""
        with suppress(RayError, ConnectionError):
            ray.kill(self._actor)


def _described(program: Mapping[str, str]) -> str:
    return "vidx4 {vidx4} ({program:.8}) with PyAV {av}".format(**program)


def _reason(error: Exception) -> str:
    """Say in a few words what Ray says in many."""
    text = " ".join(str(error).split())
    match = re.search(r"The actor is dead because (.*?)\.(?: |$)", text)
    return f"{match[1] if match else text[:200]}."


@contextmanager
def connect(
    address: str, num_workers: int | None = None, device: str = "auto", *, sends_model: bool = False
) -> Iterator[Callable[[UpscaleOptions], ClusterBackend]]:
    """Start Ray on this machine, or join a cluster that runs; the workers end with the block.

    Args:
        address: `local` to start it here, `auto` for the cluster that this machine is of, or `ray://HOST:PORT`.
        num_workers: how many there are; one for each GPU, or for some CPUs, where None.
        device: `cpu`, `cuda`, or `auto` for GPUs where there are any.
        sends_model: whether the model's files go to the workers from here; else each finds them by itself.

    Yields:
        What lets the workers load a first model.

    Raises:
        OptionError: there is no such cluster, or what is asked for doesn't fit it.
    """
    if sends_model and address == LOCAL:
        raise OptionError("On this machine, workers read the model's files themselves: none is to be sent.")
    with _ray(address, num_workers):
        force = Workforce.of([node["Resources"] for node in _nodes()], num_workers, device)
        logger.info("cluster %s: %s", address, force)
        models = Models("cuda" if force.num_gpus else "cpu", _store, sends=sends_model)
        staff = Staff(lambda number: _RemoteWorker(number, force), force.num_workers, _room(force))
        with closing(staff):
            yield lambda options: ClusterBackend.load(staff, models, options)


@contextmanager
def _ray(address: str, num_workers: int | None) -> Iterator[None]:
    if address not in (LOCAL, "auto") and not address.startswith("ray://"):
        raise OptionError(f"There is no cluster {address!r}: give local, auto or ray://HOST:PORT.")
    # What goes wrong is told by vidx4, in its own words, and standard output may be JSON.
    ray._private.worker._worker_logs_enabled = False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    children = _deaf_children() if address == LOCAL else nullcontext()
    if address == LOCAL:
        options |= {
            "num_cpus": max(os.cpu_count() or 1, num_workers or 1),
            "object_store_memory": int(SHARE_OF_MEMORY * psutil.virtual_memory().total),
            "include_dashboard": False,
        }
    try:
        with _own_handlers(), children, warnings.catch_warnings(action="ignore"):
            ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise OptionError(f"The cluster {address} can't be joined ({why}): {_WAYS_IN}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Undo what Ray does to the handlers of signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let processes that are started now not hear that they are to end: they end with this one.

    What closes a terminal or stops a service tells all processes of a job at once, and without Ray's own
    this one could not say what it has kept. Ray does the same for SIGINT.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _room(force: Workforce) -> Load:
    """Return how many frames may wait or be at work."""
    here = ray.get_runtime_context().get_node_id()
    store = next(node["Resources"]["object_store_memory"] for node in _nodes() if node["NodeID"] == here)
    most = min(force.num_workers * BYTES_PER_WORKER, int(SHARE_OF_STORE * store))
    return Load(force.num_workers * FRAMES_PER_WORKER, most)
