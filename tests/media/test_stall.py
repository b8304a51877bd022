import threading
import time
from pathlib import Path

import pytest

from vidx4.errors import SourceError
from vidx4.media.probe import probe
from vidx4.media.stall import Pulse, watched
from vidx4.media.timing import frame_times

LONDON = Path(__file__).parents[2] / "samples" / "london.mp4"


def test_patience_with_work_that_makes_progress() -> None:
    def work(pulse: Pulse) -> str:
        for _ in range(30):  # half as long again as the patience
            time.sleep(0.1)
            pulse.beat()
        return "done"

    assert watched(work, "Work", patience=2.0) == "done"


def test_stuck_work_is_given_up() -> None:
    release = threading.Event()
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"^Reading a\.mp4 .*\b0 s"):
        watched(lambda pulse: release.wait(), "Reading a.mp4", patience=0.2)
    assert time.monotonic() - begun < 5
    release.set()


def test_errors_of_the_work_are_raised() -> None:
    def work(pulse: Pulse) -> None:
        raise KeyError("of the work")

    with pytest.raises(KeyError, match="of the work"):
        watched(work, "Work")


def test_a_decoder_that_hangs_in_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(frame_times.Sample, "_decode", lambda sample, packet, number: release.wait())
    monkeypatch.setattr("vidx4.media.stall.watched.__defaults__", (0.2,))
    with pytest.raises(SourceError, match=r"london\.mp4"):
        probe(LONDON)
    release.set()
