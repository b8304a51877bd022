"""Parts made by a crew: this process decodes, hands out shots, and keeps what comes back."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Protocol

from vidx4.jobs.cluster.chunks import Chunk, Entry, Frames, missing_chunks
from vidx4.jobs.cluster.model_files import Setting, Store
from vidx4.jobs.cluster.scheduler import ERRANDS_AT_ONCE, Crew, Dropped, Errand, Load, Piece
from vidx4.jobs.cluster.worker import Packed, Task
from vidx4.jobs.job import Job, Pixels
from vidx4.jobs.progress import Advance, Control, Monitor, Share
from vidx4.jobs.work_folder import Part, WorkFolder
from vidx4.media.atomic import write_whole

POLL_SECONDS = 0.1


class Hand(Protocol):
    """A worker, as seen from here. Every method may raise `WorkerLost`."""

    name: str

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
        """Make a part; arguments are those of `Worker.make_part`, and who hears how far it is."""

    def picture(self, setting: Setting, pixels: Any) -> Pixels:
        """Enlarge a still picture, given by a reference."""


@dataclass(frozen=True)
class Remote:
    """Makes parts with a crew.

    Args:
        crew: does it.
        task: the job, as workers know it.
        rank: of its shots; those of lower ranks come first.
        store: takes frames.
        num_workers: of the crew.
    """

    crew: Crew[Hand]
    task: Task
    rank: int
    store: Store
    num_workers: int

    @property
    def num_shots_at_once(self) -> int:
        """As many as all workers take."""
        return ERRANDS_AT_ONCE * self.num_workers

    def make(self, job: Job, folder: WorkFolder, monitor: Monitor) -> Generator[Part]:
        """Make the parts that a folder lacks, those of several shots at once.

        Raises:
            StoppedError: the control says so; what is whole is kept.
            WorkerError: there is no worker any more, or too many were lost at the same place.
        """
        order = _Order(self, job, folder, monitor)
        with closing(order):
            yield from order.parts()


@dataclass(frozen=True)
class _Delivery:
    """A part that has come back."""

    packed: Packed
    worker: str
    is_kept: Event


@dataclass(frozen=True)
class _Read:
    """All frames are read, and on their way."""

    num_chunks: int


class _Order:
    """A job at work with a crew: frames go out in a thread, and come back as events in others."""

    def __init__(self, remote: Remote, job: Job, folder: WorkFolder, monitor: Monitor) -> None:
        self._remote = remote
        self._job = job
        self.folder = folder
        self._monitor = monitor
        self._events: Queue[Advance | _Delivery | _Read | BaseException] = Queue()
        self._errands: list[Errand[Hand]] = []
        self._is_closed = Event()
        self._last = time.monotonic()
        self._reader = Thread(target=self._read, daemon=True)

    def parts(self) -> Generator[Part]:
        """Yield each part when it is kept."""
        self._reader.start()
        num_chunks, num_kept = None, 0
        while num_kept != num_chunks:
            match self._next_event():
                case Advance() as advance:
                    self._monitor.on_advance(advance)
                case _Read(number):
                    num_chunks = number
                    self._monitor.control.on_read()
                case _Delivery() as delivery:
                    self._monitor.on_advance(self._advance(delivery.packed))
                    part = self._keep(delivery)
                    num_kept += 1
                    self._monitor.control.on_part(part)
                    yield part
                case error:
                    raise error

    def _next_event(self) -> "Advance | _Delivery | _Read | BaseException":
        with self._monitor.seconds.timed("waiting"):
            while True:
                self._monitor.control.check()
                try:
                    return self._events.get(timeout=POLL_SECONDS)
                except Empty:
                    continue

    def _keep(self, delivery: _Delivery) -> Part:
        """Write a part to the disk; whatever happens from here on, it is not lost."""
        packed, folder = delivery.packed, self.folder
        now = time.monotonic()
        # Of several that are made at once, each counts for the time from the last one on.
        part, self._last = replace(packed.part, seconds=now - self._last), now
        with write_whole(folder.part_path(part.start)) as unfinished:
            unfinished.write_bytes(packed.packets)
        state = packed.state
        folder.add(part, None if state is None else lambda path: path.write_bytes(state))
        delivery.is_kept.set()
        self._count(delivery)
        return part

    def _advance(self, packed: Packed) -> Advance:
        """Return what there is to tell of a part when it is done: it may never have been asked for."""
        part, pts = packed.part, self._job.plan.source.pts[packed.part.start]
        counts = part.num_frames, part.num_reused
        return Advance(part.start, part.stop, *counts, part.starts_shot, pts, packed.peak_memory)

    def _count(self, delivery: _Delivery) -> None:
        packed, seconds = delivery.packed, self._monitor.seconds
        seconds.follow += packed.seconds.follow
        seconds.model += packed.seconds.model
        seconds.encode += packed.seconds.encode
        share = self._monitor.shares.setdefault(delivery.worker, Share())
        share.num_frames += packed.part.num_frames
        share.model_seconds += packed.seconds.model
        share.peak_memory = max(share.peak_memory, packed.peak_memory)

    def _read(self) -> None:
        """Decode, and hand out shots chunk by chunk."""
        try:
            self._events.put(_Read(self._hand_out()))
        except Dropped:
            pass
        except BaseException as error:
            self._events.put(error)

    def _hand_out(self) -> int:
        """Return how many chunks there are."""
        num_chunks, errand = 0, None
        until_closed = replace(self._monitor, control=Control(stop=self._is_closed))
        with closing(missing_chunks(self._job, self.folder, until_closed)) as chunks:
            for chunk, frames, entry in chunks:
                if entry is not None or errand is None:
                    self._complete(errand)
                    errand = self._new_errand(chunk, entry)
                self._put(errand, chunk, frames)
                num_chunks += 1
        self._complete(errand)
        return num_chunks

    def _new_errand(self, chunk: Chunk, entry: Entry | None) -> "_Shot":
        pts = self._job.plan.source.pts[chunk.start]
        seconds = float(self._job.plan.source.seconds_of(pts))
        what = f"the shot at {seconds:.2f} s of {self._job.plan.source.path}"
        errand = _Shot(self._remote.rank, what, self._events.put, self, entry.state if entry else None)
        self._errands.append(errand)
        if self._is_closed.is_set():
            raise Dropped
        return errand

    def _put(self, errand: "_Shot", chunk: Chunk, frames: Frames) -> None:
        load = Load(len(chunk.pts), frames.nbytes)
        self._remote.crew.make_room(errand, load)
        self._remote.crew.put(errand, _ChunkPiece(load, errand, chunk, self._remote.store(frames)))
        if not errand.has_begun:
            errand.has_begun = True
            self._remote.crew.begin(errand)

    def _complete(self, errand: "_Shot | None") -> None:
        if errand is not None:
            self._remote.crew.complete(errand)

    def bring_home(self, packed: Packed, worker: str) -> None:
        """Give a part to who keeps it, and wait until that is done.

        Raises:
            Dropped: nobody does any more.
        """
        delivery = _Delivery(packed, worker, Event())
        self._events.put(delivery)
        while not delivery.is_kept.wait(POLL_SECONDS):
            if self._is_closed.is_set():
                raise Dropped

    def made_by(
        self, hand: Hand, chunk: Chunk, frames: Any, state: bytes | None, *, is_entry: bool
    ) -> Packed:
        """Let a worker make a part."""
        on_advance = self._events.put
        return hand.make_part(
            self._remote.task, chunk, frames, state, is_entry=is_entry, on_advance=on_advance
        )

    def close(self) -> None:
        """Let go of all shots that are not done."""
        self._is_closed.set()
        while self._reader.is_alive():
            for errand in list(self._errands):
                self._remote.crew.drop(errand)
            self._reader.join(POLL_SECONDS)
        for errand in self._errands:
            self._remote.crew.drop(errand)


class _Shot(Errand[Hand]):
    """The chunks of a shot that are missing."""

    def __init__(
        self,
        rank: int,
        what: str,
        on_failure: Callable[[BaseException], None],
        order: _Order,
        state: Path | None,
    ) -> None:
        super().__init__(rank, what, on_failure)
        self.order = order
        self.has_begun = False
        self._state = state
        self._last: Part | None = None

    def state(self) -> bytes | None:
        """Return what the next chunk needs of what is done, from the disk."""
        path = self._state if self._last is None else self.order.folder.state_after(self._last)
        return None if path is None else path.read_bytes()

    def bring_home(self, packed: Packed, worker: str) -> None:
        """Keep a part; raises as `_Order.bring_home`."""
        self.order.bring_home(packed, worker)
        self._last = packed.part


@dataclass(frozen=True)
class _ChunkPiece(Piece[Hand]):
    """One chunk of a shot."""

    load: Load
    shot: _Shot
    chunk: Chunk
    frames: Any

    def run(self, hand: Hand, *, is_first: bool) -> None:
        """Let a worker make a part of it, and keep that."""
        state = self.shot.state() if is_first else None
        packed = self.shot.order.made_by(hand, self.chunk, self.frames, state, is_entry=is_first)
        self.shot.bring_home(packed, hand.name)
