"""Errands and workers: who does what, and what happens when a worker is lost."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event

import pytest

from vidx4.errors import SourceError, WorkerError
from vidx4.jobs.cluster.scheduler import Crew, Dropped, Errand, Load, Piece, WorkerLost

ONE = Load(1, 10)
ROOM = Load(100, 1000)


@dataclass(eq=False)
class Hand:
    """A worker that notes what it does."""

    done: list[str] = field(default_factory=list)
    firsts: list[bool] = field(default_factory=list)
    go_on: Event = field(default_factory=Event)
    num_losses: int = 0
    """How often it dies before it does anything."""


@dataclass
class Note(Piece[Hand]):
    """A piece of work that notes its name."""

    name: str
    load: Load = ONE

    def run(self, hand: Hand, *, is_first: bool) -> None:
        if hand.num_losses:
            hand.num_losses -= 1
            raise WorkerLost("It died.")
        hand.done.append(self.name)
        hand.firsts.append(is_first)


@dataclass
class Failing(Piece[Hand]):
    error: Exception
    load: Load = ONE

    def run(self, hand: Hand, *, is_first: bool) -> None:
        raise self.error


@dataclass
class Waiting(Piece[Hand]):
    """A piece of work that takes until it is told to go on."""

    load: Load = ONE

    def run(self, hand: Hand, *, is_first: bool) -> None:
        assert hand.go_on.wait(10)


class Heard(Errand[Hand]):
    """An errand that remembers what went wrong."""

    def __init__(self, rank: int = 0) -> None:
        self.errors: list[BaseException] = []
        super().__init__(rank, "an errand", self.errors.append)


@pytest.fixture
def crew() -> Crew[Hand]:
    return Crew(ROOM, 1)


@pytest.fixture
def threads(crew: Crew[Hand]) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor
        crew.end(WorkerError("over"))


def send(crew: Crew[Hand], errand: Errand[Hand], *pieces: Piece[Hand], is_complete: bool = True) -> None:
    for piece in pieces:
        crew.make_room(errand, piece.load)
        crew.put(errand, piece)
    if is_complete:
        crew.complete(errand)
    crew.begin(errand)


def settle(crew: Crew[Hand], condition: str) -> None:
    """Wait for something that other threads are about to do."""
    deadline = time.monotonic() + 10
    while not eval(condition, {"crew": crew}):
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)


def test_the_longest_comes_first_but_after_those_of_lower_rank(
    crew: Crew[Hand], threads: ThreadPoolExecutor
) -> None:
    send(crew, Heard(1), *map(Note, "abc"))
    send(crew, Heard(0), *map(Note, "de"))
    send(crew, Heard(0), *map(Note, "fgh"))
    hand = Hand()
    threads.submit(crew.work, hand)
    settle(crew, "not crew._waiting and crew._load.num_frames == 0")
    assert "".join(hand.done) == "fghdeabc"
    assert hand.firsts == [True, False, False, True, False, True, False, False]


def test_a_second_errand_is_left_to_who_has_none(crew: Crew[Hand], threads: ThreadPoolExecutor) -> None:
    busy, idle = Hand(), Hand()
    send(crew, Heard(), Waiting())
    threads.submit(crew.work, busy)
    settle(crew, "crew._busy and not crew._waiting")
    work = threads.submit(crew.work, idle)
    settle(crew, "len(crew._busy) == 2")
    threads.submit(crew.work, busy)  # its second thread
    send(crew, Heard(), Note("a"))
    settle(crew, "crew._load.num_frames == 1")
    assert (busy.done, idle.done) == ([], ["a"])
    assert not work.done()
    send(crew, Heard(), Waiting())
    settle(crew, "not crew._waiting")
    send(crew, Heard(), Note("b"))  # now nobody is idle
    settle(crew, "crew._load.num_frames == 2")
    assert busy.done == ["b"]
    for hand in (busy, idle):
        hand.go_on.set()


def test_pieces_may_come_while_it_is_at_work(crew: Crew[Hand], threads: ThreadPoolExecutor) -> None:
    hand, errand = Hand(), Heard()
    send(crew, errand, Note("a"), is_complete=False)
    threads.submit(crew.work, hand)
    settle(crew, "crew._load.num_frames == 0")
    for name in "bc":
        crew.make_room(errand, ONE)
        crew.put(errand, Note(name))
    crew.complete(errand)
    settle(crew, "crew._load.num_frames == 0")
    assert "".join(hand.done) == "abc"


def test_a_lost_worker_is_replaced_at_the_piece_that_was_not_done(
    crew: Crew[Hand], threads: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    errand, next_ = Heard(), Hand()
    send(crew, errand, *map(Note, "ab"))
    with pytest.raises(WorkerLost):
        crew.work(Hand(num_losses=1))
    threads.submit(crew.work, next_)
    settle(crew, "crew._load.num_frames == 0")
    assert (next_.done, next_.firsts) == (["a", "b"], [True, False])
    assert not errand.errors
    assert "It died. Another one goes on with an errand." in caplog.text


def test_a_lost_worker_takes_nothing_more_in_any_thread(
    crew: Crew[Hand], threads: ThreadPoolExecutor
) -> None:
    hand, other, errand = Hand(num_losses=1), Hand(), Heard()
    idle = threads.submit(crew.work, hand)
    settle(crew, "crew._busy")
    send(crew, errand, Note("a"))
    with pytest.raises(WorkerLost):
        idle.result(10)
    crew.work(hand)
    threads.submit(crew.work, other)
    settle(crew, "crew._load.num_frames == 0")
    assert (hand.done, other.done, errand.errors) == ([], ["a"], [])


def test_after_three_more_tries_an_errand_fails_and_the_rest_goes_on(
    crew: Crew[Hand], threads: ThreadPoolExecutor
) -> None:
    errand = Heard()
    send(crew, errand, Note("a"))
    for _ in range(4):
        assert not errand.errors
        with pytest.raises(WorkerLost):
            crew.work(Hand(num_losses=1))
    (error,) = errand.errors
    assert isinstance(error, WorkerError)
    assert str(error) == "4 workers were lost at the same place of an errand. It died."
    hand = Hand()
    send(crew, Heard(), Note("b"))
    threads.submit(crew.work, hand)
    settle(crew, "crew._load.num_frames == 0")
    assert hand.done == ["b"]


def test_a_piece_that_is_done_gives_the_next_all_tries_again(
    crew: Crew[Hand], threads: ThreadPoolExecutor
) -> None:
    class Deadly(Note):
        def run(self, hand: Hand, *, is_first: bool) -> None:
            if hand.done:
                raise WorkerLost("It died.")
            super().run(hand, is_first=is_first)

    errand = Heard()
    send(crew, errand, *map(Deadly, "abcdef"))
    hands = [Hand() for _ in range(6)]
    for hand in hands[:5]:
        with pytest.raises(WorkerLost):
            crew.work(hand)
    threads.submit(crew.work, hands[5])
    settle(crew, "crew._load.num_frames == 0")
    assert [hand.done for hand in hands] == [[name] for name in "abcdef"]
    assert not errand.errors


def test_an_error_ends_its_errand_alone(crew: Crew[Hand], threads: ThreadPoolExecutor) -> None:
    bad, good, hand = Heard(0), Heard(1), Hand()
    send(crew, bad, Failing(SourceError("broken")), Note("never"))
    send(crew, good, Note("a"))
    threads.submit(crew.work, hand)
    settle(crew, "crew._load.num_frames == 0")
    assert [str(error) for error in bad.errors] == ["broken"]
    assert hand.done == ["a"]


def test_without_room_nothing_more_comes_but_a_single_piece_may_be_larger(
    crew: Crew[Hand], threads: ThreadPoolExecutor
) -> None:
    large = Load(1, ROOM.num_bytes + 1)
    first, second = Heard(), Heard()
    send(crew, first, Note("large", large))
    waiting = threads.submit(crew.make_room, second, ONE)
    time.sleep(0.1)
    assert not waiting.done()
    threads.submit(crew.work, Hand())
    waiting.result(10)


def test_what_is_dropped_makes_room(crew: Crew[Hand], threads: ThreadPoolExecutor) -> None:
    errand, other = Heard(), Heard()
    send(crew, errand, Note("a", ROOM))
    waiting = threads.submit(crew.make_room, other, ONE)
    crew.drop(errand)
    waiting.result(10)
    with pytest.raises(Dropped):
        crew.make_room(errand, ROOM)
    assert not errand.errors


def test_at_the_end_everybody_is_told(crew: Crew[Hand], threads: ThreadPoolExecutor) -> None:
    waiting, unfinished, hand = Heard(1), Heard(0), Hand()
    send(crew, unfinished, Note("a"), is_complete=False)
    work = threads.submit(crew.work, hand)
    settle(crew, "crew._load.num_frames == 0")
    send(crew, waiting, Note("b"))
    crew.end(WorkerError("There is no worker any more."))
    work.result(10)
    assert [str(error) for error in waiting.errors + unfinished.errors] == [
        "There is no worker any more."
    ] * 2
    with pytest.raises(WorkerError, match="no worker any more"):
        crew.begin(Heard())
