"""What a job leaves open is chosen once, by its length, and stays; the GPU's rate is made up."""

import json
import os
import re
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.conftest import MakeVideo
from tests.helpers import stop_after
from tests.jobs.conftest import SimulatedCard
from vidx4.cli.commands import app
from vidx4.diffusion.card import Card
from vidx4.diffusion.choice import NIGHT_SECONDS
from vidx4.diffusion.options import UpscaleOptions
from vidx4.jobs.choice import chosen_for_job
from vidx4.jobs.cluster.backend import ClusterLoader
from vidx4.jobs.cluster.model_files import Models
from vidx4.jobs.cluster.task_queue import WorkSize
from vidx4.jobs.cluster.worker import Worker
from vidx4.jobs.cluster.worker_pool import WorkerHandle, WorkerPool
from vidx4.jobs.local import LOCAL, LocalLoader
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import upscale_video
from vidx4.jobs.schedule import Moment, ScheduleOptions
from vidx4.media.options import EncodeOptions
from vidx4.video import TimeRange

SIZE = (32, 24)
FRAMES = 8
ENCODE = EncodeOptions(encoder_preset="ultrafast")
FAST = ("--encoder-preset", "ultrafast")


@pytest.fixture
def film(make_video: MakeVideo) -> Path:
    return make_video("film.mp4", num_frames=FRAMES, num_audio=0, width=SIZE[0], height=SIZE[1])


def vidx4(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def events(result: Result, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    return [line for line in lines if line["event"] == kind]


def identity(output: Path) -> dict[str, Any]:
    return dict(json.loads((output.with_name(f"{output.name}.vidx4") / "plan.json").read_text())["identity"])


def planned(film: Path, output: Path, **request: Any) -> Plan:
    return plan_video(film, output, Request(encode=ENCODE, **request))


def named(options: UpscaleOptions) -> tuple[str, str]:
    return options.model, str(options.speed)


def test_a_film_is_made_at_the_best_speed_that_ends_within_a_night(
    card: SimulatedCard, film: Path, tmp_path: Path
) -> None:
    for speed in ("quality", "balanced", "fast"):
        card.ends_within_a_night(speed, *SIZE, FRAMES)
        plan = planned(film, tmp_path / f"{speed}.mp4")
        assert named(chosen_for_job(UpscaleOptions(), plan, LOCAL)) == ("sd-x4", speed)
    result = vidx4("upscale", film, tmp_path / "out.mp4", *FAST, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    facts = identity(tmp_path / "out.mp4")
    assert (facts["model"], facts["steps"]) == ("sd-x4", 4)
    notes = [event["message"] for event in events(result, "note")]
    (note,) = (note for note in notes if "Simulated Card" in note)
    assert "model sd-x4, speed fast: about" in note


def test_a_film_that_no_speed_ends_in_time_is_left_to_compact(
    card: SimulatedCard, film: Path, tmp_path: Path
) -> None:
    card.rate = 1.0
    result = vidx4("upscale", film, tmp_path / "out.mp4", *FAST)
    assert result.exit_code == 0
    assert "model compact, speed quality: at speed fast, sd-x4 would take about" in result.stderr
    named_by_user = vidx4("upscale", film, tmp_path / "same.mp4", *FAST, "--model", "compact")
    assert named_by_user.exit_code == 0
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "same.mp4").read_bytes()


def test_a_run_keeps_what_its_dry_run_chose(card: SimulatedCard, film: Path, tmp_path: Path) -> None:
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    typed = ("upscale", film, tmp_path / "out.mp4", *FAST)
    assert vidx4(*typed, "--dry-run").exit_code == 0
    card.rate = 1e30
    result = vidx4(*typed, "--json")
    assert (result.exit_code, card.num_measured) == (0, 1)
    (done,) = events(result, "done")
    assert done["num_new"] < FRAMES  # it continues with the frames that were measured
    assert any("speed fast: as before" in event["message"] for event in events(result, "note"))


@pytest.mark.parametrize("rate", [1.0, 1e30])
def test_a_job_that_resumes_keeps_what_was_chosen(
    rate: float, card: SimulatedCard, film: Path, tmp_path: Path
) -> None:
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    plan = planned(film, tmp_path / "out.mp4")
    first = chosen_for_job(UpscaleOptions(), plan, LOCAL)
    stop_after(LOCAL.load(first).job(plan, 1), 1)
    card.rate = rate
    assert named(chosen_for_job(UpscaleOptions(), plan, LOCAL)) == named(first) == ("sd-x4", "fast")
    report = upscale_video(film, plan.output, request=plan.request, batch_size=1)
    assert 0 < report.num_new < FRAMES
    assert card.num_measured == 1


def test_only_a_restart_chooses_anew(card: SimulatedCard, film: Path, tmp_path: Path) -> None:
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    typed = ("upscale", film, tmp_path / "out.mp4", *FAST, "--dry-run")
    assert vidx4(*typed).exit_code == 0
    card.rate = 1e30
    assert vidx4(*typed).exit_code == 0
    assert identity(tmp_path / "out.mp4")["steps"] == 4
    assert vidx4(*typed, "--restart").exit_code == 0
    assert identity(tmp_path / "out.mp4")["steps"] == 20


def test_another_range_is_another_job(card: SimulatedCard, film: Path, tmp_path: Path) -> None:
    """What suits a dry run of a few frames doesn't suit all."""
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    typed = ("upscale", film, tmp_path / "out.mp4", *FAST, "--dry-run")
    assert vidx4(*typed, "--stop", "0.08").exit_code == 0
    assert identity(tmp_path / "out.mp4")["steps"] == 20
    assert vidx4(*typed).exit_code == 0
    assert identity(tmp_path / "out.mp4")["steps"] == 4
    part = planned(film, tmp_path / "part.mp4", span=TimeRange(stop=Fraction(2)))
    assert named(chosen_for_job(UpscaleOptions(), part, LOCAL)) == ("sd-x4", "fast")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "sd-x4"}, ("sd-x4", "fast")),
        ({"model": "sd-x4", "speed": "quality"}, ("sd-x4", "quality")),
        ({"model": "compact"}, ("compact", "quality")),
        ({"speed": "balanced"}, ("compact", "balanced")),
        ({"prompt": "a b"}, ("sd-x4", "fast")),
    ],
)
def test_a_user_who_names_a_model_or_a_speed_gets_just_that(
    options: dict[str, Any], expected: tuple[str, str], card: SimulatedCard, film: Path, tmp_path: Path
) -> None:
    card.rate = 1.0
    plan = planned(film, tmp_path / "out.mp4")
    assert named(chosen_for_job(UpscaleOptions(**options), plan, LOCAL)) == expected


def test_nothing_is_measured_on_a_cpu(card: SimulatedCard, film: Path, tmp_path: Path) -> None:
    plan = planned(film, tmp_path / "out.mp4")
    for options in (UpscaleOptions(device="cpu"), UpscaleOptions(device="cpu", model="sd-x4")):
        assert chosen_for_job(options, plan, LOCAL) is options
    result = vidx4("upscale", film, plan.output, *FAST, "--dry-run", "--device", "cpu")
    assert "model compact (no CUDA GPU; sd-x4 would take minutes per frame) on cpu" in result.stderr
    assert (card.num_measured, identity(plan.output)["model"]) == (0, "compact")


def test_this_machine_says_that_a_cpu_is_no_card() -> None:
    assert LocalLoader().card(UpscaleOptions(device="cpu")) is None


def test_a_still_picture_is_made_at_the_best_speed(card: SimulatedCard, tmp_path: Path) -> None:
    card.rate = 1.0
    Image.new("RGB", (16, 12), "red").save(tmp_path / "photo.png")
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    assert vidx4("upscale", tmp_path / "photo.png", one, "--model", "sd-x4").exit_code == 0
    typed = ("--model", "sd-x4", "--speed", "quality")
    assert vidx4("upscale", tmp_path / "photo.png", other, *typed).exit_code == 0
    assert one.read_bytes() == other.read_bytes()
    assert card.num_measured == 0


def test_the_time_that_the_user_gives_is_the_night(card: SimulatedCard, film: Path, tmp_path: Path) -> None:
    card.ends_within_a_night("quality", *SIZE, FRAMES)
    plan = planned(film, tmp_path / "out.mp4")
    for hours, speed in ((20, "quality"), (8, "quality"), (5, "balanced")):
        chosen = chosen_for_job(UpscaleOptions(), plan, LOCAL, hours * 3600)
        assert named(chosen) == ("sd-x4", speed)
    assert vidx4("upscale", film, plan.output, "--dry-run", *FAST, "--for", "5h").exit_code == 0
    assert identity(plan.output)["steps"] == 12


def test_the_end_of_the_night_is_the_earlier_of_two() -> None:
    begun = 1_700_000_000.0
    hour = Moment.parse("07:00").after(begun) - begun
    assert ScheduleOptions().seconds(begun) is None
    assert ScheduleOptions(until=Moment.parse("07:00")).seconds(begun) == hour
    assert ScheduleOptions(until=Moment.parse("07:00"), duration=60.0).seconds(begun) == 60
    assert ScheduleOptions(until=Moment.parse("07:00"), duration=1e6).seconds(begun) == hour
    assert NIGHT_SECONDS == 8 * 3600


@pytest.fixture
def folder(tmp_path: Path, make_video: MakeVideo) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, num_frames in (("short.mp4", 2), ("long.mp4", FRAMES)):
        made = make_video(name, num_frames=num_frames, num_audio=0, width=SIZE[0], height=SIZE[1])
        made.rename(folder / name)
    Image.new("RGB", (16, 12), "red").save(folder / "photo.png")
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    return folder


def records(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / ".vidx4-batch.jsonl").read_text().splitlines()
    return {each["source_name"]: each["identity"] for each in map(json.loads, lines)}


def test_each_file_of_a_batch_is_judged_by_its_own_length(
    card: SimulatedCard, folder: Path, tmp_path: Path
) -> None:
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    typed = ("batch", folder, tmp_path / "out", *FAST, "--settled-after", 0, "--json")
    result = vidx4(*typed)
    assert result.exit_code == 0, result.output
    steps = {name: (made["model"], made["steps"]) for name, made in records(tmp_path / "out").items()}
    assert steps == {"short.mp4": ("sd-x4", 20), "long.mp4": ("sd-x4", 4), "photo.png": ("sd-x4", 20)}


def test_a_batch_that_is_run_again_finds_that_all_is_done(
    card: SimulatedCard, folder: Path, tmp_path: Path
) -> None:
    """Whatever the card seems to reach now; and without a look into any file."""
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    typed = ("batch", folder, tmp_path / "out", *FAST, "--settled-after", 0, "--json")
    assert vidx4(*typed).exit_code == 0
    lines = (tmp_path / "out" / ".vidx4-batch.jsonl").read_text()
    card.rate, before = 1.0, card.num_measured
    result = vidx4(*typed)
    assert result.exit_code == 0, result.output
    assert [event["skipped"] for event in events(result, "done")] == [3]
    assert (tmp_path / "out" / ".vidx4-batch.jsonl").read_text() == lines
    assert card.num_measured == before


def test_files_get_the_same_in_parts_of_a_batch(card: SimulatedCard, folder: Path, tmp_path: Path) -> None:
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    for pattern in ("l*", "s*"):
        typed = ("batch", folder, tmp_path / "out", *FAST, "--settled-after", 0, "--include", pattern)
        assert vidx4(*typed).exit_code == 0
    steps = {name: made["steps"] for name, made in records(tmp_path / "out").items()}
    assert steps == {"short.mp4": 20, "long.mp4": 4}


def test_a_folder_may_name_a_speed(card: SimulatedCard, folder: Path, tmp_path: Path) -> None:
    card.rate = 1e30
    (folder / "vidx4.toml").write_text('speed = "fast"\n[files."short*"]\nspeed = "auto"\n')
    typed = ("batch", folder, tmp_path / "out", *FAST, "--settled-after", 0, "--exclude", "*.png")
    assert vidx4(*typed).exit_code == 0
    steps = {name: made["steps"] for name, made in records(tmp_path / "out").items()}
    assert steps == {"short.mp4": 20, "long.mp4": 4}


def test_a_preview_shows_what_is_chosen_for_the_whole(
    card: SimulatedCard, film: Path, tmp_path: Path
) -> None:
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    typed = ("preview", film, tmp_path / "shown.mp4", *FAST, "--samples", 1, "--duration", "0.08")
    result = vidx4(*typed)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "shown.html").read_text()
    assert "sd-x4 on cpu" in page
    assert re.search(r"vidx4 upscale \S+film\.mp4 .*--model=sd-x4 --speed=fast", page)


class _Remote:
    """A worker of a cluster, in this process, with a made-up GPU."""

    def __init__(self, number: int, rate: float, killed: list[int]) -> None:
        self.name, self._number, self._rate, self._killed = f"Worker {number}", number, rate, killed

    def call(self, on_wait: object, method: object, *arguments: object) -> Any:
        assert method is Worker.card
        assert arguments == ("auto",)
        return Card("Remote Card", self._rate)

    def kill(self) -> None:
        self._killed.append(self._number)


def test_the_cards_of_a_cluster_share_the_night(card: SimulatedCard, film: Path, tmp_path: Path) -> None:
    """One worker is measured, once, before any loads a model, and ends then."""
    card.ends_within_a_night("fast", *SIZE, FRAMES)
    plan, killed = planned(film, tmp_path / "out.mp4"), list[int]()
    for num_workers, expected in ((1, ("sd-x4", "fast")), (8, ("sd-x4", "quality"))):
        pool = WorkerPool(
            lambda n: cast(WorkerHandle, _Remote(n, card.rate, killed)), num_workers, WorkSize(1, 1)
        )
        with closing(pool):
            loader = ClusterLoader(pool, Models("cuda", None, sends=False))  # type: ignore[arg-type]
            for _ in range(2):
                assert named(chosen_for_job(UpscaleOptions(), plan, loader)) == expected
    assert (killed, card.num_measured) == ([1, 1], 0)
    loader = ClusterLoader(pool, Models("cpu", None, sends=False))  # type: ignore[arg-type]
    assert named(chosen_for_job(UpscaleOptions(), plan, loader)) == ("auto", "auto")
