"""A job's shots made by Ray actors, on this machine or many."""

import logging
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Self
from uuid import uuid4

import psutil
import torch

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray.exceptions import RayError, RayTaskError

from vidx4.diffusion.models import choose_model, find
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError, Vidx4Error, WorkerError
from vidx4.jobs.chunks import Chunk
from vidx4.jobs.crew import ERRANDS_AT_ONCE, MAX_TRIES, Crew, Load, WorkerLost
from vidx4.jobs.identity import Identity, differences, identify, program
from vidx4.jobs.job import Job, Pixels
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Advance, Control
from vidx4.jobs.remote import Hand, Remote, enlarge_remotely
from vidx4.jobs.worker import Fitted, ModelFiles, Packed, Setting, Task, Worker

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

    def hire(self, setting: Setting, is_over: Event) -> Identity:
        """Wait until it is there and has loaded its model; return all that decides on its pixels.

        Raises:
            WorkerError: it runs another program.
            ModelError: it can't have the model.
            WorkerLost: nobody waits for it any more.
        """
        there = self._awaited(self._actor.program.remote(), self._patient(is_over))
        self.name += f" on {there.pop('host')} (process {there.pop('pid')})"
        if found := differences(program(), there):
            raise WorkerError(f"{self.name} runs another program: {found}. Install the same everywhere.")
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
            return ray.get(call)
        except RayTaskError as error:
            if isinstance(error.cause, RayError):
                raise WorkerLost(f"{self.name} was lost: {_reason(error.cause)}") from error
            raise error.cause from None
        except (RayError, ConnectionError) as error:
            raise WorkerLost(f"{self.name} was lost: {_reason(error)}") from error
        finally:
            self._pass_on_notes()

    def _pass_on_notes(self) -> None:
        with suppress(RayError, ConnectionError):
            for level, message in ray.get(self._actor.notes.remote()):
                logger.log(level, "%s", message)

    def dismiss(self) -> None:
        """Let it end."""
        with suppress(RayError, ConnectionError):
            ray.kill(self._actor)


def _reason(error: Exception) -> str:
    """Say in a few words what Ray says in many."""
    text = " ".join(str(error).split())
    match = re.search(r"The actor is dead because (.*?)\.(?: |$)", text)
    return f"{match[1] if match else text[:200]}."


class Cluster:
    """Workers on the machines of a cluster, and what they are to do.

    Args:
        force: how many there are, and what each takes.
        room: for frames that wait or are at work.
        sends_model: whether the model's files go to the workers from here.
    """

    def __init__(self, force: Workforce, room: Load, *, sends_model: bool) -> None:
        self.force = force
        self._sends_model = sends_model
        self._sent: dict[Path, ModelFiles] = {}
        self.crew: Crew[Hand] = Crew(room, force.num_workers)
        self._is_over = Event()
        self._lock = Lock()
        self._there: dict[int, _RemoteWorker] = {}
        """Workers that are at work, by number."""
        self._first: Future[Identity] = Future()
        """How the first that is there makes pixels; all others have to do so alike."""
        self._keepers: list[Thread] = []
        self._ranks = count()

    def load(self, options: UpscaleOptions) -> "ClusterEngine":
        """Let the workers load a model; returns when the first has.

        Raises:
            ModelError: no worker can have it.
            OptionError: options don't fit the model or the device.
            WorkerError: no worker can begin.
        """
        setting = self.setting(options)
        for number in range(1, self.force.num_workers + 1):
            keeper = Thread(target=self._keep, args=(number, setting), daemon=True)
            self._keepers.append(keeper)
            keeper.start()
        self._first.result()
        return ClusterEngine(self, setting)

    def setting(self, options: UpscaleOptions) -> Setting:
        """Return options as all workers have to have them: nothing is left to the machine.

        Raises:
            OptionError: they ask for another device than the workers have.
            ModelError: the model's files are to be sent, and can't be had here.
        """
        force = self.force
        device = torch.device("cuda" if force.num_gpus else "cpu")
        if options.device not in ("auto", device.type):
            raise OptionError(
                f"All workers are on {device}: --device {options.device} can't be had beside it."
            )
        name, why = choose_model(options.model, device)
        each = "GPU" if force.num_gpus else f"{force.num_threads} CPU threads"
        logger.info("model %s (%s) on %d workers, with %s each", name, why, force.num_workers, each)
        return Setting(replace(options, model=name, device=device.type), self._files(name, options, device))

    def _files(self, name: str, options: UpscaleOptions, device: torch.device) -> ModelFiles:
        if not self._sends_model:
            is_folder = name != "compact" and Path(name).is_dir()
            return ModelFiles(Path(name).absolute() if is_folder else None)
        # Weights of half precision are enough where a GPU computes in it; a CPU may want all.
        is_half = device.type == "cuda" and options.dtype != "float32"
        folder = find(name, torch.float16 if is_half else torch.float32)
        if folder not in self._sent:
            self._sent[folder] = _sent(folder)
        return self._sent[folder]

    def _keep(self, number: int, setting: Setting) -> None:
        """Have a worker at work until all is over; one that is lost is replaced."""
        num_losses = 0
        while not self._is_over.is_set():
            worker = _RemoteWorker(number, self.force)
            try:
                self._check_alike(worker, worker.hire(setting, self._is_over))
                num_losses = 0
                self._let_work(number, worker)
            except WorkerLost as loss:
                num_losses += 1
                if num_losses == MAX_TRIES and not self._is_over.is_set():
                    self._give_up(WorkerError(f"{loss} It was lost {MAX_TRIES} times before it could begin."))
                    return
            except Exception as error:
                self._give_up(error)
                return
            finally:
                worker.dismiss()

    def _check_alike(self, worker: _RemoteWorker, identity: Identity) -> None:
        """Refuse a worker that makes other pixels than the first.

        Raises:
            WorkerError: it does.
        """
        with self._lock:
            if not self._first.done():
                self._first.set_result(identity)
        if found := differences(self._first.result(), identity):
            raise WorkerError(f"{worker.name} is refused, since it differs from the first: {found}.")

    def _let_work(self, number: int, worker: _RemoteWorker) -> None:
        """Let a worker run errands until it is lost, or all is over."""
        with self._lock:
            self._there[number] = worker
        threads = [Thread(target=self._work, args=(worker,), daemon=True) for _ in range(ERRANDS_AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            del self._there[number]
        self.crew.leave(worker)

    def _work(self, worker: _RemoteWorker) -> None:
        with suppress(WorkerLost):
            self.crew.work(worker)

    def _give_up(self, error: Exception) -> None:
        """Do without a worker; where it was the last, nothing more can be done."""
        with self._lock:
            self.force = replace(self.force, num_workers=self.force.num_workers - 1)
            is_last = self.force.num_workers == 0
            if is_last and not self._first.done():
                self._first.set_exception(error)
        if is_last:
            self.crew.end(error)
        elif isinstance(error, Vidx4Error):
            logger.warning("%s The others go on without it.", error)
        else:
            logger.exception("A worker failed by a fault of vidx4; the others go on.", exc_info=error)

    def ask(self, question: Callable[[_RemoteWorker], Any]) -> Any:
        """Ask a worker that is there something that takes no time.

        Raises:
            WorkerError: there is none any more.
        """
        for _ in range(MAX_TRIES):
            with suppress(WorkerLost):
                return question(self._any())
        raise WorkerError("No worker of the cluster answers.")

    def _any(self) -> _RemoteWorker:
        while not self._is_over.is_set() and self.force.num_workers:
            with self._lock:
                if self._there:
                    return next(iter(self._there.values()))
            self._is_over.wait(PROGRESS_SECONDS)
        raise WorkerError("There is no worker any more.")

    def next_rank(self) -> int:
        """Return a number higher than those before: what comes first is done first."""
        return next(self._ranks)

    def close(self) -> None:
        """Let all workers go, whatever they are at."""
        self._is_over.set()
        self.crew.end(WorkerError("The cluster was left."))
        with self._lock:
            there = list(self._there.values())
        for worker in there:
            worker.dismiss()
        for keeper in self._keepers:
            keeper.join()


def _sent(folder: Path) -> ModelFiles:
    """Put a model's files where workers can fetch them."""
    kinds = (".json", ".txt", ".safetensors")
    names = sorted(path.relative_to(folder) for path in folder.glob("*/*") if path.suffix in kinds)
    names = [Path("model_index.json"), *names]
    digest, sent = sha256(), {}
    for name in names:
        content = (folder / name).read_bytes()
        digest.update(sha256(str(name).encode()).digest() + sha256(content).digest())
        sent[str(name)] = _store(content)
    return ModelFiles(sent=sent, digest=digest.hexdigest())


class ClusterEngine:
    """A model with its settings, on the workers of a cluster.

    Args:
        cluster: where it is.
        setting: the model and its options.
    """

    def __init__(self, cluster: Cluster, setting: Setting) -> None:
        self._cluster = cluster
        self._setting = setting

    @cached_property
    def identity(self) -> Identity:
        """All that decides on the pixels of a result."""
        identity: Identity = self._cluster.ask(lambda worker: worker.identity(self._setting))
        return identity

    def with_options(self, options: UpscaleOptions) -> Self:
        """Return an engine with other options; raises as `Upscaler.with_options`."""
        engine = type(self)(self._cluster, self._cluster.setting(options))
        assert engine.identity  # what is wrong with the options, a worker knows
        return engine

    def job(self, plan: Plan, batch_size: int | None = None, source_digest: str | None = None) -> Job:
        """Return the job of enlarging a video; arguments and errors are those of `Engine.job`."""
        size = plan.source.width, plan.source.height
        fitted: Fitted = self._cluster.ask(
            lambda worker: worker.fitted(self._setting, *size, plan.num_frames, batch_size)
        )
        batch_size = batch_size or fitted.fit.batch_size
        identity = identify(plan, batch_size, fitted.identity, source_digest)
        task = Task(uuid4().hex, self._setting, fitted, batch_size, _store(plan))
        num_workers = self._cluster.force.num_workers
        maker = Remote(self._cluster.crew, task, self._cluster.next_rank(), _store, num_workers)
        return Job(plan, maker, batch_size, identity)

    def picture(self, pixels: Pixels, control: Control) -> Pixels:
        """Enlarge a still picture four times; arguments and errors are those of `Engine.picture`."""
        rank = self._cluster.next_rank()
        return enlarge_remotely(self._cluster.crew, self._setting, pixels, _store, rank, control)


@contextmanager
def connect(
    address: str, num_workers: int | None = None, device: str = "auto", *, sends_model: bool = False
) -> Iterator[Cluster]:
    """Start Ray on this machine, or join a cluster that runs; the workers end with the block.

    Args:
        address: `local` to start it here, `auto` for the cluster that this machine is of, or `ray://HOST:PORT`.
        num_workers: how many there are; one for each GPU, or for some CPUs, where None.
        device: `cpu`, `cuda`, or `auto` for GPUs where there are any.
        sends_model: whether the model's files go to the workers from here; else each finds them by itself.

    Raises:
        OptionError: there is no such cluster, or what is asked for doesn't fit it.
    """
    if sends_model and address == LOCAL:
        raise OptionError("On this machine, workers read the model's files themselves: none is to be sent.")
    with _ray(address, num_workers):
        force = Workforce.of([node["Resources"] for node in _nodes()], num_workers, device)
        cluster = Cluster(force, _room(force), sends_model=sends_model)
        try:
            yield cluster
        finally:
            cluster.close()


@contextmanager
def _ray(address: str, num_workers: int | None) -> Iterator[None]:
    if address not in (LOCAL, "auto") and not address.startswith("ray://"):
        raise OptionError(f"There is no cluster {address!r}: give local, auto or ray://HOST:PORT.")
    # What goes wrong is told by vidx4, in its own words, and standard output may be JSON.
    ray._private.worker._worker_logs_enabled = False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:
        options |= {
            "num_cpus": max(os.cpu_count() or 1, num_workers or 1),
            "object_store_memory": int(SHARE_OF_MEMORY * psutil.virtual_memory().total),
            "include_dashboard": False,
        }
    try:
        with _own_signals(), warnings.catch_warnings(action="ignore"):
            ray.init(address, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise OptionError(f"The cluster {address} can't be joined ({why}): {_WAYS_IN}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
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


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _room(force: Workforce) -> Load:
    """Return how many frames may wait or be at work."""
    here = ray.get_runtime_context().get_node_id()
    store = next(node["Resources"]["object_store_memory"] for node in _nodes() if node["NodeID"] == here)
    most = min(force.num_workers * BYTES_PER_WORKER, int(SHARE_OF_STORE * store))
    return Load(force.num_workers * FRAMES_PER_WORKER, most)
