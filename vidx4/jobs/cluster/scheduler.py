"""Errands and the workers that run them: who does what next, and what happens when one is lost."""

import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Generic, TypeVar

from vidx4.errors import WorkerError

logger = logging.getLogger(__name__)

ERRANDS_AT_ONCE = 2
"""Of each worker: while one's frames are encoded and sent, those of the other are enlarged."""
MAX_TRIES = 4
"""The first, and three more."""
WAITING_PER_WORKER = 4
"""Errands, so that there is always a long one to begin with, and not the work of a whole folder."""

Hand = TypeVar("Hand")
"""A worker, as whoever runs errands sees it."""


class WorkerLost(Exception):  # noqa: N818  # it is news, and becomes an error only when it comes again and again
    """A worker died, or can't be reached any more."""


class Dropped(Exception):  # noqa: N818
    """Nobody wants the result of a piece any more."""


@dataclass(frozen=True)
class Load:
    """What waits for workers or is with them."""

    num_frames: int
    num_bytes: int

    def __add__(self, other: "Load") -> "Load":
        return Load(self.num_frames + other.num_frames, self.num_bytes + other.num_bytes)

    def __sub__(self, other: "Load") -> "Load":
        return Load(self.num_frames - other.num_frames, self.num_bytes - other.num_bytes)

    def fits(self, room: "Load") -> bool:
        """Return whether it is no more than there is room for."""
        return self.num_frames <= room.num_frames and self.num_bytes <= room.num_bytes


NOTHING = Load(0, 0)


class Piece(ABC, Generic[Hand]):
    """A step of an errand."""

    load: Load

    @abstractmethod
    def run(self, hand: Hand, *, is_first: bool) -> None:
        """Let a worker do it, and bring home what comes of it.

        Args:
            hand: the worker.
            is_first: whether it has done no earlier piece of the errand.

        Raises:
            WorkerLost: it died.
            Dropped: nobody wants it any more.
        """


class Errand(Generic[Hand]):
    """Pieces of work that one worker does in order, such as the chunks of a shot.

    Args:
        rank: lower ones come first.
        what: it is, for the user.
        on_failure: called with the error that ends it.
    """

    def __init__(self, rank: int, what: str, on_failure: Callable[[BaseException], None]) -> None:
        self.rank = rank
        self.what = what
        self.on_failure = on_failure
        self.pieces: deque[Piece[Hand]] = deque()
        """What is to be done and is known already."""
        self.is_complete = False
        """Whether no more pieces come."""
        self.is_dropped = False
        self.num_tries = 0
        """At the piece at hand."""

    @property
    def num_frames(self) -> int:
        """That are to be done, as far as is known."""
        return sum(piece.load.num_frames for piece in self.pieces)


class Crew(Generic[Hand]):
    """Errands that wait for workers, and workers that wait for errands.

    Of those of the lowest rank, the longest comes first: so none of them begins when all others are done.
    An errand whose worker is lost is taken up by another at the piece that was not brought home.

    Args:
        room: what may wait or be at work at once; a single piece may be larger.
        num_workers: how many there are to be.
    """

    def __init__(self, room: Load, num_workers: int) -> None:
        self._room = room
        self._num_workers = num_workers
        self._changed = Condition()
        self._waiting: list[Errand[Hand]] = []
        self._busy: Counter[Hand] = Counter()
        """How many errands each worker has."""
        self._lost: set[Hand] = set()
        self._load = NOTHING
        self._end: BaseException | None = None
        """Why nothing more is done."""

    def begin(self, errand: Errand[Hand]) -> None:
        """Let an errand wait for a worker; waits itself while many do.

        Raises:
            Vidx4Error: there is no worker any more.
        """
        with self._changed:
            most = WAITING_PER_WORKER * self._num_workers
            self._changed.wait_for(lambda: len(self._waiting) < most or errand.is_dropped or self._end)
            self._check_open()
            self._waiting.append(errand)
            self._changed.notify_all()

    def make_room(self, errand: Errand[Hand], load: Load) -> None:
        """Wait until there is room for a piece; what asks for room must put a piece of the same load.

        Raises:
            Vidx4Error: there is no worker any more.
            Dropped: the errand is.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    (self._load + load).fits(self._room)
                    or self._load == NOTHING
                    or errand.is_dropped
                    or self._end
                )
            )
            self._check_open()
            if errand.is_dropped:
                raise Dropped
            self._load += load

    def put(self, errand: Errand[Hand], piece: Piece[Hand]) -> None:
        """Add a piece to an errand; room was made for it."""
        with self._changed:
            errand.pieces.append(piece)
            self._changed.notify_all()

    def complete(self, errand: Errand[Hand]) -> None:
        """Say that no more pieces of an errand come."""
        with self._changed:
            errand.is_complete = True
            self._changed.notify_all()

    def drop(self, errand: Errand[Hand]) -> None:
        """Give up an errand; its worker goes on to another."""
        with self._changed:
            errand.is_dropped = True
            if errand in self._waiting:
                self._waiting.remove(errand)
                self._forget(errand)
            self._changed.notify_all()

    def end(self, error: BaseException) -> None:
        """Do nothing more: all errands fail with an error."""
        with self._changed:
            self._end = self._end or error
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for errand in waiting:
            errand.on_failure(error)

    def _check_open(self) -> None:
        if self._end is not None:
            raise self._end

    def work(self, hand: Hand) -> None:
        """Run errands with a worker until there are to be no more; called in as many threads as it can do.

        Raises:
            WorkerLost: it died; its errand waits for another.
        """
        while (errand := self._take(hand)) is not None:
            try:
                self._run(errand, hand)
            finally:
                with self._changed:
                    self._busy[hand] -= 1
                    self._changed.notify_all()

    def _take(self, hand: Hand) -> Errand[Hand] | None:
        with self._changed:
            self._busy[hand] += 0  # it is there, and idle
            self._changed.wait_for(lambda: self._is_for(hand) or hand in self._lost or self._end)
            if self._end is not None or hand in self._lost:
                return None
            errand = min(self._waiting, key=lambda each: (each.rank, -each.num_frames))
            self._waiting.remove(errand)
            self._busy[hand] += 1
            self._changed.notify_all()
            return errand

    def _is_for(self, hand: Hand) -> bool:
        """Whether a worker shall take an errand: a second one only if no other has none."""
        there = (num_errands for hand, num_errands in self._busy.items() if hand not in self._lost)
        num_idle = sum(num_errands == 0 for num_errands in there)
        return len(self._waiting) > (0 if self._busy[hand] == 0 else num_idle)

    def _run(self, errand: Errand[Hand], hand: Hand) -> None:
        is_first = True
        while (piece := self._next(errand)) is not None:
            errand.num_tries += 1
            try:
                piece.run(hand, is_first=is_first)
            except WorkerLost as loss:
                self._lose(hand)
                self._take_back(errand, loss)
                raise
            except BaseException as error:
                self._fail(errand, error)
                return
            is_first, errand.num_tries = False, 0
            self._pop(errand)

    def _next(self, errand: Errand[Hand]) -> Piece[Hand] | None:
        """Return the next piece, when it is there; None where no more comes."""
        with self._changed:
            self._changed.wait_for(
                lambda: errand.pieces or errand.is_complete or errand.is_dropped or self._end
            )
            if self._end is not None and not errand.is_dropped:
                errand.on_failure(self._end)
                errand.is_dropped = True
            if errand.is_dropped:
                self._forget(errand)
                return None
            return errand.pieces[0] if errand.pieces else None

    def _pop(self, errand: Errand[Hand]) -> None:
        with self._changed:
            self._load -= errand.pieces.popleft().load
            self._changed.notify_all()

    def _forget(self, errand: Errand[Hand]) -> None:
        for piece in errand.pieces:
            self._load -= piece.load
        errand.pieces.clear()
        self._changed.notify_all()

    def _fail(self, errand: Errand[Hand], error: BaseException) -> None:
        with self._changed:
            errand.is_dropped = True
            self._forget(errand)
        if not isinstance(error, Dropped):
            errand.on_failure(error)

    def _take_back(self, errand: Errand[Hand], loss: WorkerLost) -> None:
        """Let an errand wait for another worker, unless too many were lost at it."""
        if errand.is_dropped or errand.num_tries >= MAX_TRIES or self._end is not None:
            text = f"{errand.num_tries} workers were lost at the same place of {errand.what}. {loss}"
            self._fail(errand, self._end or WorkerError(text))
            return
        logger.warning("%s Another one goes on with %s.", loss, errand.what)
        with self._changed:
            self._waiting.append(errand)
            self._changed.notify_all()

    def _lose(self, hand: Hand) -> None:
        """Count on a worker no more, in whichever thread."""
        with self._changed:
            self._lost.add(hand)
            self._changed.notify_all()

    def leave(self, hand: Hand) -> None:
        """Forget a worker that no thread works with any more."""
        with self._changed:
            self._lost.discard(hand)
            self._busy.pop(hand, None)
            self._changed.notify_all()
