"""A source or an output that goes away is waited for; a source that changes is never mixed with another."""

import errno
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from av.error import OSError as AvOSError

from scripts.stress.kills import make_clip
from tests.helpers import check_same, upscale_nearest
from vidx4.errors import OutputError, SourceChangedError, StoppedError
from vidx4.files.own_folder import LOCK
from vidx4.frames import FrameBatch
from vidx4.jobs import storage
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.stop import Stop
from vidx4.media import container, decode
from vidx4.media.options import EncodeOptions
from vidx4.temporal.state import ShotState, Upscaled

FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_POLL_SECONDS", 0.05)
    monkeypatch.setattr(storage, "_PAUSES", (0.01, 0.01, 0.01))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "clip.mp4")
    return plan_video(tmp_path / "in" / "clip.mp4", tmp_path / "out" / "clip.mp4", Request(encode=FAST))


@pytest.fixture
def undisturbed(plan: Plan) -> bytes:
    run(Job(plan, LocalExecutor(upscale_nearest), 4))
    content = plan.output.read_bytes()
    plan.output.unlink()
    return content


def job_that(act: Callable[[], Any], plan: Plan, at_pts: int) -> Job:
    """Return a job during which something is done once, when it has come to a frame."""
    is_done = False

    def enlarge(batch: FrameBatch, state: ShotState | None) -> Upscaled:
        nonlocal is_done
        if batch.pts[0] >= at_pts and not is_done:
            is_done = True
            act()
        return upscale_nearest(batch, state)

    return Job(plan, LocalExecutor(enlarge), 4)


@pytest.fixture
def come_back(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Return a function that is given what ends the first wait for a place."""

    def set_action(act: Callable[[], Any]) -> None:
        wait, is_done = Stop.wait, False

        def wait_then_act(stop: Stop, seconds: float | None = None) -> bool:
            nonlocal is_done
            if not is_done:
                is_done = True
                act()
            return wait(stop, seconds)

        monkeypatch.setattr(Stop, "wait", wait_then_act)

    return set_action


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return the mount point of a disk, whose content is in `content` beside it."""
    path, content = tmp_path / "disk", tmp_path / "content"
    path.mkdir()
    content.mkdir()
    if subprocess.run(["mount", "--bind", content, path], capture_output=True, check=False).returncode:
        pytest.skip("a disk can't be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)


def test_nothing_is_written_in_the_place_of_a_disk_that_is_away(
    plan: Plan, disk: Path, undisturbed: bytes, come_back: Any
) -> None:
    on_disk = plan_video(plan.source.path, disk / "clip.mp4", Request(encode=FAST))
    in_its_place: list[Path] = []

    def unmount() -> None:
        subprocess.run(["umount", "--lazy", disk], check=True)

    def mount() -> None:
        in_its_place.extend(disk.iterdir())
        subprocess.run(["mount", "--bind", disk.with_name("content"), disk], check=True)

    come_back(mount)
    run(job_that(unmount, on_disk, plan.source.pts[90]))
    assert not in_its_place
    check_same(on_disk.output, undisturbed)


@pytest.mark.parametrize("which", ["in", "out"])
def test_a_share_that_comes_back_costs_nothing(
    which: str, plan: Plan, undisturbed: bytes, come_back: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The share is simulated by a folder that is renamed, and renamed back."""
    share = plan.source.path.parents[1] / which
    away = share.with_name("away")
    come_back(lambda: away.rename(share))
    job = job_that(lambda: share.rename(away), plan, plan.source.pts[100])
    assert run(job).damage == ()
    check_same(plan.output, undisturbed)
    messages = [record.getMessage() for record in caplog.records]
    if which == "out":  # the open source could still be read
        assert [str(share) in message for message in messages] == [True, True]


def test_the_wait_can_be_stopped(plan: Plan, come_back: Any) -> None:
    share, stop = plan.output.parent, Stop()
    come_back(stop.set)
    job = job_that(lambda: share.rename(share.with_name("away")), plan, plan.source.pts[100])
    with pytest.raises(StoppedError) as caught:
        run(job, Control(stop=stop))
    (note,) = caught.value.__notes__
    assert str(plan.work_folder) in note
    assert not plan.output.parent.exists()


def test_the_wait_ends(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_WAIT_SECONDS", 0.2)
    share = plan.output.parent
    job = job_that(lambda: share.rename(share.with_name("away")), plan, plan.source.pts[100])
    with pytest.raises(OutputError, match=re.escape(str(share))):
        run(job)


def test_a_work_folder_that_was_removed_is_not_waited_for(plan: Plan) -> None:
    trash = plan.source.path.parent / "trash"
    job = job_that(lambda: plan.work_folder.rename(trash), plan, plan.source.pts[100])
    with pytest.raises(OutputError, match=re.escape(str(plan.work_folder))) as caught:
        run(job)
    assert not getattr(caught.value, "__notes__", [])


def test_a_part_that_is_cleaned_away_is_made_again(plan: Plan, undisturbed: bytes) -> None:
    def clean() -> None:
        (plan.work_folder / "00000000.nut").unlink()
        (plan.work_folder / LOCK).unlink()

    run(job_that(clean, plan, plan.source.pts[100]))
    check_same(plan.output, undisturbed)


@pytest.fixture
def failing_reads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that has the next reads of a source end at the packet with number 80."""

    def set_failures(num_failures: int, *, silent: bool = False) -> None:
        read = container.read_frame_packets
        left = num_failures

        def read_some(file: Any, stream: Any, on_error: Any = None, **rest: Any) -> Iterator[Any]:
            nonlocal left
            for number, packet in enumerate(read(file, stream, on_error, **rest)):
                if number == 80 and left and on_error:
                    left -= 1
                    if not silent:
                        on_error(AvOSError(errno.EIO, os.strerror(errno.EIO)))
                    return
                yield packet

        monkeypatch.setattr(decode, "read_frame_packets", read_some)

    return set_failures


@pytest.mark.parametrize("silent", [False, True])
def test_a_read_that_fails_for_a_moment_loses_no_frame(
    silent: bool, plan: Plan, undisturbed: bytes, failing_reads: Any
) -> None:
    """Many demuxers tell nobody of an error, and end as if the file did."""
    failing_reads(2, silent=silent)
    assert run(Job(plan, LocalExecutor(upscale_nearest), 4)).damage == ()
    check_same(plan.output, undisturbed)


def test_a_place_that_can_never_be_read_is_damage(plan: Plan, failing_reads: Any) -> None:
    failing_reads(99)
    report = run(Job(plan, LocalExecutor(upscale_nearest), 4), accept_loss=True)
    assert 0 < report.num_frames < 129
    assert report.damage


def replaced(plan: Plan) -> None:
    """Put another film of the same length in the place of the source."""
    other = plan.source.path.with_name("other.mp4")
    other.write_bytes(plan.source.path.read_bytes() + b"\0\0\0\x08free")
    other.replace(plan.source.path)


def appended(plan: Plan) -> None:
    with plan.source.path.open("ab") as file:
        file.write(b"\0\0\0\x08free")


@pytest.mark.parametrize("change", [replaced, appended])
@pytest.mark.parametrize("at", [0, 100])
def test_a_source_that_changes_during_the_job(change: Callable[[Plan], None], at: int, plan: Plan) -> None:
    job = job_that(lambda: change(plan), plan, plan.source.pts[at])
    with pytest.raises(SourceChangedError, match="--restart"):
        run(job)
    assert not plan.output.exists()
    assert [path.name for path in plan.output.parent.iterdir()] == [plan.work_folder.name]


def test_a_source_that_changes_between_plan_and_job(plan: Plan) -> None:
    appended(plan)
    with pytest.raises(SourceChangedError):
        run(Job(plan, LocalExecutor(upscale_nearest), 4))


def test_a_source_with_another_date_is_the_same(plan: Plan) -> None:
    from vidx4.jobs.identity import source_digest

    identity = {"source": source_digest(plan.source.path)}
    job = job_that(lambda: os.utime(plan.source.path), plan, plan.source.pts[100])
    run(Job(plan, job.executor, 4, identity))
    assert plan.output.exists()


@pytest.mark.parametrize(("number", "is_away"), [(64, True), (1231, True), (5, False), (None, False)])
def test_windows_says_by_its_own_numbers_that_a_share_is_away(number: int | None, is_away: bool) -> None:
    error = OSError(errno.EINVAL, "The specified network name is no longer available")
    error.winerror = number  # type: ignore[attr-defined]
    assert storage._is_away(OutputError("film.mp4 can't be written")) is False
    assert storage._is_away(error) is is_away
