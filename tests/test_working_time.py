"""Working time passes only while the process can work."""

from vidx4.working_time import LONGEST_SECONDS, TICK_SECONDS, WorkingTime


class SetClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_regular_signs_of_life_add_up() -> None:
    clock = SetClock()
    working_time = WorkingTime(clock)
    for _ in range(10):
        clock.now += LONGEST_SECONDS
        _ = working_time.seconds
    assert working_time.seconds == 10 * LONGEST_SECONDS


def test_a_long_gap_is_not_counted() -> None:
    clock = SetClock()
    working_time = WorkingTime(clock)
    clock.now += 3
    assert working_time.seconds == 3
    clock.now += 308
    assert working_time.seconds == 3 + TICK_SECONDS
    clock.now += 1
    assert working_time.seconds == 4 + TICK_SECONDS


def test_time_spent_waiting_is_not_counted() -> None:
    clock = SetClock()
    working_time = WorkingTime(clock)
    clock.now += 1
    with working_time.waiting():
        clock.now += 1
        with working_time.waiting():
            clock.now += 1
            assert working_time.seconds == 1
        clock.now += 1
    clock.now += 1
    assert working_time.seconds == 2
