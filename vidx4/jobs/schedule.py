"""Until when work may last, and what is run at its end."""

import logging
import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from threading import Event, Thread
from typing import Annotated, Self

from vidx4.errors import OptionError, TimeUpError
from vidx4.jobs.stop import Stop
from vidx4.option import Option, Panel
from vidx4.syntax import Syntax

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_ANY_DAY = date(2000, 1, 1)
_DURATION = re.compile(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m(?:in)?)?(?:(\d{1,7})s)?")


@dataclass(frozen=True)
class Moment:
    """A time of a day, as clocks show it here; of any day if none is named."""

    time: time_of_day
    day: date | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse 07:00 or 2026-12-24 07:00.

        Raises:
            ValueError: the text is not a moment.
        """
        has_day = "-" in text
        moment = datetime.fromisoformat(text if has_day else f"{_ANY_DAY} {text.zfill(len('07:00'))}")
        if moment.tzinfo is not None or ":" not in text:
            raise ValueError(text)
        return cls(moment.time(), moment.date() if has_day else None)

    def __str__(self) -> str:
        return " ".join([*([str(self.day)] if self.day else []), self.time.isoformat("auto")])

    def after(self, begun: float) -> float:
        """Return when it is, or when it comes next, after a time; both in seconds since 1970."""
        start = datetime.fromtimestamp(begun)
        day = self.day or start.date()
        # Of two days, since the time may be past today; `timestamp` knows when clocks change in the night.
        moments = [datetime.combine(day + timedelta(days), self.time).timestamp() for days in (0, 1)]
        return moments[0] if self.day or moments[0] > begun else moments[1]


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as 8h, 90m or 1h30m.

    Raises:
        ValueError: the text is not a duration.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise ValueError(text)
    days, hours, minutes, seconds = (int(each or 0) for each in match.groups())
    return timedelta(days, seconds, hours=hours, minutes=minutes).total_seconds()


def format_duration(seconds: float) -> str:
    """Return a duration as it is typed."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if n) or "0s"


MOMENT = Syntax("TIME", "a time such as 07:00 or 2026-12-24T07:00", Moment.parse)
DURATION = Syntax("DURATION", "a duration such as 8h, 90m or 1h30m", parse_duration, format_duration)


@dataclass(frozen=True)
class ScheduleOptions:
    """How long work may last, and what is run at its end."""

    until: Annotated[
        Moment | None,
        Option("Stop at this time; run it again to resume.", Panel.JOB, syntax=MOMENT, is_common=True),
    ] = None
    duration: Annotated[
        float | None,
        Option(
            "Stop after this time; run it again to resume.",
            Panel.JOB,
            flag="for",
            syntax=DURATION,
            is_common=True,
        ),
    ] = None
    notify: Annotated[
        str | None,
        Option("Run a command at the end, with what became of it in VIDX4_*.", Panel.JOB, metavar="COMMAND"),
    ] = None

    def check(self) -> None:
        """Make sure that there is time left.

        Raises:
            OptionError: there is none.
        """
        _Deadline.of(self, time.time())

    def seconds(self, begun: float | None = None) -> float | None:
        """Return how long work may last that begins at a time, in seconds since 1970; None for now.

        Returns:
            Seconds; None if there is no limit.
        """
        begun = time.time() if begun is None else begun
        until = None if self.until is None else self.until.after(begun) - begun
        return min((each for each in (until, self.duration) if each is not None), default=None)

    @contextmanager
    def limiting(self, stop: Stop, begun: float | None = None) -> Iterator[None]:
        """Stop work that is done in a block when its time is up.

        Args:
            stop: stops it, with a `TimeUpError`.
            begun: when it began, in seconds since 1970; None for now.

        Raises:
            OptionError: the time was up before it began.
        """
        if self.until is None and self.duration is None:
            yield
            return
        deadline, is_closed = _Deadline.of(self, time.time() if begun is None else begun), Event()
        _logger.info("The work stops at %s.", deadline)
        deadline.end(stop)
        Thread(target=deadline.watch, args=(stop, is_closed), daemon=True).start()
        try:
            yield
        finally:
            is_closed.set()


@dataclass(frozen=True)
class _Deadline:
    """When time is up."""

    on_clock: float
    """In seconds since 1970, by a clock that may be set; infinite for never."""
    on_timer: float
    """In seconds of `time.monotonic`."""

    @classmethod
    def of(cls, schedule: ScheduleOptions, begun: float) -> Self:
        until, duration = schedule.until, schedule.duration
        on_clock = math.inf if until is None else until.after(begun)
        if on_clock <= begun:
            raise OptionError(f"--until {until} is past: name a time to come.")
        left = math.inf if duration is None else begun + duration - time.time()
        return cls(on_clock, time.monotonic() + left)

    def __str__(self) -> str:
        end = min(self.on_clock, time.time() + self.on_timer - time.monotonic())
        return time.strftime("%H:%M %Z on %Y-%m-%d", time.localtime(end))

    def watch(self, stop: Stop, is_closed: Event) -> None:
        """Stop work when time is up, unless an event is set before."""
        while not is_closed.wait(_POLL_SECONDS):
            if self.end(stop):
                _logger.info("The time is up: stopping after the current frames.")
                return

    def end(self, stop: Stop) -> bool:
        """Stop work if time is up, and return whether it is."""
        is_up = time.time() >= self.on_clock or time.monotonic() >= self.on_timer
        if is_up:
            stop.set_because(TimeUpError("The time is up."))
        return is_up
