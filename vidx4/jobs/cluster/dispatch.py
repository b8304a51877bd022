"""Parts made by workers: this process decodes, sends chunks out, and stores the parts that come back."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Queue
from threading import Event, Thread

from vidx4.files.write import write_whole
from vidx4.jobs.cluster.chunks import Chunk, Entry, Frames, missing_chunks
from vidx4.jobs.cluster.object_store import ObjectStore, Ref
from vidx4.jobs.cluster.task_queue import (
    TASKS_PER_WORKER,
    Task,
    TaskCancelled,
    TaskQueue,
    WorkItem,
    WorkSize,
)
from vidx4.jobs.cluster.worker import JobSpec, PartResult, Worker
from vidx4.jobs.cluster.worker_pool import WorkerHandle
from vidx4.jobs.job import Job
from vidx4.jobs.part_record import Part
from vidx4.jobs.progress import Advance, Control, Monitor, WorkerStats
from vidx4.jobs.stop import Stop
from vidx4.jobs.threads import join_thread, next_item, poll
from vidx4.jobs.work_folder import WorkFolder
from vidx4.working_time import working_seconds


@dataclass(frozen=True)
class ClusterExecutor:
    """Makes parts on workers.

    Args:
        queue: where workers take tasks from.
        spec: the job, as workers know it.
        priority: priority of its shots; jobs with a lower number come first.
        store: where frames are put for workers.
        num_workers: how many workers the queue has.
    """

    queue: TaskQueue[WorkerHandle]
    spec: JobSpec
    priority: int
    store: ObjectStore
    num_workers: int

    @property
    def num_shots_at_once(self) -> int:
        """As many as all workers take."""
        return TASKS_PER_WORKER * self.num_workers

    def make(self, job: Job, folder: WorkFolder, monitor: Monitor) -> Generator[Part]:
        """Make the parts that a folder lacks, those of several shots at once.

        Raises:
            StoppedError: the control asks for it; finished parts are kept.
            WorkerError: no workers are left, or too many were lost at the same point.
        """
        with closing(_Dispatcher(self, job, folder, monitor)) as dispatcher:
            yield from dispatcher.parts()


@dataclass(frozen=True)
class _Delivery:
    """A part that has come back from a worker."""

    result: PartResult
    worker: str
    is_stored: Event


@dataclass(frozen=True)
class _AllSent:
    """All frames are read and on their way."""

    num_chunks: int


class _Dispatcher:
    """A job on its workers: one thread sends chunks out, others bring parts back as events."""

    def __init__(self, executor: ClusterExecutor, job: Job, folder: WorkFolder, monitor: Monitor) -> None:
        self.executor = executor
        self.folder = folder
        self._job = job
        self._monitor = monitor
        self.events: Queue[Advance | _Delivery | _AllSent | BaseException] = Queue()
        self._shots: list[_ShotTask] = []
        self._is_closed = Stop()
        self._last_delivery = working_seconds()
        self._sender = Thread(target=self._send, daemon=True)

    def parts(self) -> Generator[Part]:
        """Yield each part once it is stored."""
        self._sender.start()
        num_chunks, num_stored = None, 0
        while num_stored != num_chunks:
            with self._monitor.seconds.timed("waiting"):
                event = next_item(self.events, self._monitor.control.check)
            match event:
                case Advance():
                    self._monitor.on_advance(event)
                case _AllSent(number):
                    num_chunks = number
                    self._monitor.control.on_read()
                case _Delivery():
                    part = self._receive(event)
                    num_stored += 1
                    self._monitor.control.on_part(part)
                    yield part
                case error:
                    raise error

    def _receive(self, delivery: _Delivery) -> Part:
        # A short part may be done before anybody asked how far it is, so its end is always reported here.
        self._monitor.on_advance(self._final_advance(delivery.result))
        part = self._store(delivery.result)
        delivery.is_stored.set()
        self._count(delivery.result, delivery.worker)
        return part

    def _store(self, result: PartResult) -> Part:
        """Write a part to the disk; from here on it is never lost."""
        now = working_seconds()
        # Several parts are made at once: each counts for the time since the last delivery.
        part, self._last_delivery = replace(result.part, seconds=now - self._last_delivery), now
        with write_whole(self.folder.part_path(part.start), makes_folder=False) as unfinished:
            unfinished.write_bytes(result.packets)
        state = result.state
        self.folder.add(part, None if state is None else lambda path: path.write_bytes(state))
        return part

    def _final_advance(self, result: PartResult) -> Advance:
        part, pts = result.part, self._job.plan.source.pts[result.part.start]
        counts = part.num_frames, part.num_reused
        return Advance(part.start, part.stop, *counts, part.starts_shot, pts, result.peak_memory)

    def _count(self, result: PartResult, worker: str) -> None:
        seconds = self._monitor.seconds
        seconds.follow += result.seconds.follow
        seconds.model += result.seconds.model
        seconds.encode += result.seconds.encode
        stats = self._monitor.worker_stats.setdefault(worker, WorkerStats())
        stats.num_frames += result.part.num_frames
        stats.model_seconds += result.seconds.model
        stats.peak_memory = max(stats.peak_memory, result.peak_memory)

    def _send(self) -> None:
        """Decode, and send out shots chunk by chunk; runs in a thread of its own."""
        try:
            self.events.put(_AllSent(self._send_chunks()))
        except TaskCancelled:
            pass
        except BaseException as error:
            self.events.put(error)

    def _send_chunks(self) -> int:
        """Return how many chunks there are."""
        num_chunks, shot = 0, None
        # The job's own stop is noticed where events are read, which then closes this.
        until_closed = replace(self._monitor, control=Control(stop=self._is_closed))
        with closing(missing_chunks(self._job, self.folder, until_closed)) as chunks:
            for chunk, frames, entry in chunks:
                if entry is not None or shot is None:
                    self._complete(shot)
                    shot = self._new_shot(chunk, entry)
                self._add(shot, chunk, frames)
                num_chunks += 1
        self._complete(shot)
        return num_chunks

    def _new_shot(self, chunk: Chunk, entry: Entry | None) -> "_ShotTask":
        source = self._job.plan.source
        seconds = float(source.seconds_of(source.pts[chunk.start]))
        description = f"the shot at {seconds:.2f} s of {source.path}"
        shot = _ShotTask(self.executor.priority, description, self.events.put, entry.state if entry else None)
        self._shots.append(shot)
        if self._is_closed.is_set():  # `close` may have cancelled the shots before this one was among them
            raise TaskCancelled
        return shot

    def _add(self, shot: "_ShotTask", chunk: Chunk, frames: Frames) -> None:
        size, queue = WorkSize(len(chunk.pts), frames.nbytes), self.executor.queue
        queue.reserve(shot, size)
        queue.add(shot, _ChunkItem(size, self, shot, chunk, self.executor.store.put(frames)))
        if not shot.is_submitted:
            shot.is_submitted = True
            queue.submit(shot)

    def _complete(self, shot: "_ShotTask | None") -> None:
        if shot is not None:
            self.executor.queue.complete(shot)

    def deliver(self, result: PartResult, worker: str) -> None:
        """Hand a part over, and wait until it is stored; called in a worker's thread.

        Raises:
            TaskCancelled: nobody stores it any more.
        """
        delivery = _Delivery(result, worker, Event())
        self.events.put(delivery)
        poll(delivery.is_stored.wait, self._check_open)

    def _check_open(self) -> None:
        if self._is_closed.is_set():
            raise TaskCancelled

    def close(self) -> None:
        """Cancel all shots that are not done."""
        self._is_closed.set()
        join_thread(self._sender, self._cancel_shots)  # it may wait for room, which only cancelling gives
        self._cancel_shots()

    def _cancel_shots(self) -> None:
        for shot in list(self._shots):
            self.executor.queue.cancel(shot)


class _ShotTask(Task[WorkerHandle]):
    """The chunks of a shot that are missing.

    Args:
        priority: tasks with a lower number come first.
        description: the shot in words.
        on_failure: called with the error that ends the task.
        state: file with what the first chunk needs of the frames before it; None at the start of a shot.
    """

    def __init__(
        self,
        priority: int,
        description: str,
        on_failure: Callable[[BaseException], None],
        state: Path | None,
    ) -> None:
        super().__init__(priority, description, on_failure)
        self.is_submitted = False
        self.last_part: Part | None = None
        self._state = state

    def state(self, folder: WorkFolder) -> bytes | None:
        """Return what the next chunk needs of the frames before it, from the disk."""
        path = self._state if self.last_part is None else folder.state_after(self.last_part)
        return None if path is None else path.read_bytes()


@dataclass(frozen=True)
class _ChunkItem(WorkItem[WorkerHandle]):
    """One chunk of a shot."""

    size: WorkSize
    dispatcher: _Dispatcher
    shot: _ShotTask
    chunk: Chunk
    frames: Ref[Frames]

    def run(self, worker: WorkerHandle, *, is_first: bool) -> None:
        """Have a worker make a part of it, and store that."""
        spec = self.dispatcher.executor.spec

        def report_advance() -> None:
            if advance := worker.call(lambda: None, Worker.advance, spec.key, self.chunk.start):
                self.dispatcher.events.put(advance)

        # A worker keeps the state of a shot that it works on; only a new one needs it sent.
        state = self.shot.state(self.dispatcher.folder) if is_first else None
        result = worker.call(
            report_advance, Worker.make_part, spec, self.chunk, self.frames, state, is_entry=is_first
        )
        self.dispatcher.deliver(result, worker.name)
        self.shot.last_part = result.part
