"""A work folder that came from anywhere gives the whole film or one sentence, and touches nothing else."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.stress.kills import make_clip
from tests.capabilities import needs_links, needs_pipes
from tests.helpers import check_same, stop_after, upscale_nearest
from vidx4.errors import OutputError
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.part_record import Part
from vidx4.jobs.plan import plan_video, work_folder_of
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.work_folder import PLAN
from vidx4.media.options import EncodeOptions

FIRST = "00000000.json"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path)
    return path


def job_of(clip: Path, output: Path) -> Job:
    request = Request(encode=EncodeOptions(encoder_preset="ultrafast", crf=30))
    return Job(plan_video(clip, output, request), LocalExecutor(upscale_nearest), 8)


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    job = job_of(clip, tmp_path_factory.mktemp("whole") / "film.mp4")
    run(job)
    return job.plan.output.read_bytes()


@pytest.fixture
def stopped(clip: Path, tmp_path: Path) -> Job:
    """Return a job that was stopped after its first part."""
    job = job_of(clip, tmp_path / "out" / "film.mp4")
    stop_after(job, 1)
    return job


@pytest.mark.parametrize(
    "change",
    [
        {"stop": 0},
        {"stop": 10**9},
        {"start": -8},
        {"start": "0"},
        {"num_frames": 10**9},
        {"num_frames": True},
        {"seconds": math.nan},
        {"num_reused": math.inf},
        {"size": None},
        {"digest": ["x"]},
        {"evil": 1},
    ],
    ids=str,
)
def test_a_record_that_can_not_be_true_does_not_count(
    change: dict[str, Any], stopped: Job, whole: bytes
) -> None:
    path = stopped.plan.work_folder / FIRST
    facts = json.loads(path.read_bytes())
    facts["part"] |= change
    path.write_text(json.dumps(facts))
    run(stopped)
    check_same(stopped.plan.output, whole)


def test_parts_that_overlap_do_not_count(stopped: Job, whole: bytes) -> None:
    folder = stopped.plan.work_folder
    facts = json.loads((folder / FIRST).read_bytes())
    stop = facts["part"]["stop"]
    facts["part"] |= {"start": stop - 1, "stop": stop + 20}
    (folder / f"{stop - 1:08}.json").write_text(json.dumps(facts))
    (folder / f"{stop - 1:08}.nut").write_bytes((folder / "00000000.nut").read_bytes())
    run(stopped)
    check_same(stopped.plan.output, whole)


def pipe(path: Path, home: Path) -> None:
    os.mkfifo(path)


def link(path: Path, home: Path) -> None:
    path.symlink_to(home / "thesis.txt")


def hard_link(path: Path, home: Path) -> None:
    path.hardlink_to(home / "thesis.txt")


def terabyte(path: Path, home: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def deep(path: Path, home: Path) -> None:
    path.write_bytes(b'{"part":' * 100_000)


@needs_links
@needs_pipes
@pytest.mark.parametrize("plant", [pipe, link, hard_link, terabyte, deep])
@pytest.mark.parametrize("name", [PLAN, FIRST, "00000000.nut", "00000008.nut"])
def test_what_lies_at_the_name_of_a_file_is_replaced_and_not_followed(
    name: str, plant: Callable[[Path, Path], None], stopped: Job, whole: bytes, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    path = stopped.plan.work_folder / name
    path.unlink(missing_ok=True)
    plant(path, tmp_path)
    run(stopped)
    check_same(stopped.plan.output, whole)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@needs_links
def test_a_work_folder_that_is_a_link_is_refused(stopped: Job, tmp_path: Path) -> None:
    home = tmp_path / "home"
    stopped.plan.work_folder.rename(home)
    stopped.plan.work_folder.symlink_to(home)
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    with pytest.raises(OutputError, match="is not a folder but a link"):
        run(stopped, restart=True)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def test_records_are_read_back_as_they_were_written() -> None:
    part = Part(0, 64, 60, 1.5, True, False, 2.0, 1000, "0" * 64)
    assert Part.of_record(json.loads(json.dumps(vars(part)))) == part


def test_the_work_folder_of_a_long_name_has_a_name_that_file_systems_take(tmp_path: Path) -> None:
    names = [work_folder_of(tmp_path / f"{'x' * 250}{last}.mp4").name for last in "ab"]
    assert len(set(names)) == 2
    assert all(len(name) == 255 and name.endswith(".vidx4") for name in names)
    assert work_folder_of(tmp_path / "film.mp4").name == "film.mp4.vidx4"
