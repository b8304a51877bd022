"""Work ends when its time is up, and can be paused."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from threading import Thread

import pytest

from scripts.stress.kills import make_clip
from tests.helpers import upscale_nearest
from vidx4.errors import OptionError, StoppedError, TimeUpError
from vidx4.jobs import schedule
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.progress import Control
from vidx4.jobs.run import run
from vidx4.jobs.schedule import Moment, ScheduleOptions, format_duration, parse_duration
from vidx4.jobs.stop import Stop
from vidx4.option import options_of


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_POLL_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("90m", 5400), ("1h30m", 5400), ("45min", 2700), ("1d2h", 93600)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "8 hours", "-1h", "1h-2m", "1.5h", "m30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(OptionError, match="--for"):
        options_of(ScheduleOptions)["for"].parse(text)


@pytest.mark.parametrize("text", ["", "7", "25:00", "07:00Z", "2026-13-01 07:00", "2026-12-01T07:00+01:00"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(OptionError, match="--until"):
        options_of(ScheduleOptions)["until"].parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("07:00", "2026-12-02 07:00"),
        ("7:00", "2026-12-02 07:00"),
        ("23:30", "2026-12-01 23:30"),
        ("2026-12-24T07:00", "2026-12-24 07:00"),
        ("2026-11-01 07:00", "2026-11-01 07:00"),
    ],
)
def test_when_a_moment_comes(text: str, expected: str) -> None:
    evening = datetime(2026, 12, 1, 23).timestamp()
    assert Moment.parse(text).after(evening) == datetime.fromisoformat(expected).timestamp()


@pytest.fixture
def new_york() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
        time.tzset()
        yield
    time.tzset()


def test_a_night_in_which_clocks_change_is_longer(new_york: None) -> None:
    evening = datetime(2026, 10, 31, 23).timestamp()  # at 2:00 it becomes 1:00
    assert Moment.parse("07:00").after(evening) - evening == 9 * 3600


def test_a_job_ends_when_its_time_is_up_and_resumes(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    plan = plan_video(tmp_path / "clip.mp4", tmp_path / "out.mp4")
    job, control = Job(plan, LocalExecutor(upscale_nearest), 4), Control()
    with ScheduleOptions(duration=0.0).limiting(control.stop):
        assert control.stop.wait(10)
    with pytest.raises(TimeUpError):
        run(job, control)
    assert run(job).num_frames == 129


def test_the_time_before_a_restart_counts() -> None:
    stop = Stop()
    with ScheduleOptions(duration=3600).limiting(stop, begun=time.time() - 3601):
        assert stop.wait(10)


def test_a_moment_that_comes_by_the_clock() -> None:
    stop, now = Stop(), time.time()
    moment = datetime.fromtimestamp(now - 60)
    with ScheduleOptions(until=Moment(moment.time(), moment.date())).limiting(stop, begun=now - 120):
        assert stop.wait(10)


def test_a_moment_that_is_past() -> None:
    with (
        pytest.raises(OptionError, match="--until"),
        ScheduleOptions(until=Moment.parse("2020-01-01 07:00")).limiting(Stop()),
    ):
        pass


def test_without_a_schedule_nothing_ends() -> None:
    stop = Stop()
    with ScheduleOptions().limiting(stop):
        assert not stop.wait(0.1)


def test_work_waits_while_it_is_paused() -> None:
    stop, done = Stop(), list[bool]()
    stop.is_paused = True

    def work() -> None:
        stop.check()
        done.append(True)

    thread = Thread(target=work)
    thread.start()
    thread.join(0.5)
    assert not done
    stop.is_paused = False
    thread.join(10)
    assert done


def test_paused_work_can_be_stopped() -> None:
    stop = Stop()
    stop.is_paused = True
    stop.set()
    with pytest.raises(StoppedError):
        stop.check()
