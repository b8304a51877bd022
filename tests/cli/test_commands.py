"""The command line: one sentence and an exit code for whatever goes wrong, and files for what goes well."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.capabilities import needs_any_name, needs_clusters
from tests.conftest import MakeVideo
from tests.video_files import gradient, write_video
from vidx4.cli.commands import app
from vidx4.errors import DiskFullError
from vidx4.jobs import estimate
from vidx4.jobs.cluster import model_loader
from vidx4.media.probe import probe
from vidx4.printing import quoted

SAMPLES = Path(__file__).parents[2] / "samples"
LONDON, PHOTO = SAMPLES / "london.mp4", SAMPLES / "photo.png"
FAST = ("--encoder-preset", "ultrafast", "--device", "cpu")
AT_ONCE = ("--settled-after", "0")


def vidx4(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@needs_any_name
def test_upscale_writes_a_video(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video('a film\'s "cut".mp4', num_frames=5)
    result = vidx4("upscale", source, *FAST)
    assert result.exit_code == 0, result.output
    output = tmp_path / 'a film\'s "cut"_x4.mp4'
    assert result.stdout.strip() == str(output)
    assert "model compact" in result.stderr
    assert probe(output).num_frames == 5


def test_quiet_says_nothing(make_video: MakeVideo) -> None:
    result = vidx4("upscale", make_video(num_frames=2), *FAST, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_verbose_shows_settings_streams_and_stages(make_video: MakeVideo) -> None:
    source = make_video(num_frames=2)
    plain, verbose = vidx4("upscale", source, *FAST), vidx4("upscale", source, *FAST, "-y", "-v")
    names = {line.split(" ")[0] for line in verbose.stderr.splitlines()}
    names -= {line.split(" ")[0] for line in plain.stderr.splitlines()}
    assert names >= {"settings", "decode", "encode", "join"}
    assert "preset ultrafast" in verbose.stderr


def test_options_have_short_forms(make_video: MakeVideo, tmp_path: Path) -> None:
    source, output = make_video(num_frames=2), tmp_path / "big.mkv"
    dry = vidx4("upscale", source, "-o", output, "-m", "compact", *FAST, "-n")
    assert (dry.exit_code, output.exists()) == (0, False)
    assert vidx4("upscale", source, "-o", output, *FAST, "-q").exit_code == 0
    assert vidx4("upscale", source, output, *FAST).exit_code == 1
    assert vidx4("upscale", source, "-o", output, *FAST, "-y").stdout.strip() == str(output)


def test_what_resumes_a_job_is_what_was_typed(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskFullError("full")

    monkeypatch.setattr(estimate, "check_disk", full)
    typed = ("upscale", str(make_video("a film.mp4", num_frames=9)), *FAST)
    result = vidx4(*typed, "--restart", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout.splitlines()[-1])["command"] == " ".join(
        map(quoted, ["vidx4", *typed, "--json"])
    )
    assert vidx4(*typed, "--ignore-disk-space").exit_code == 0


def test_json_prints_one_event_a_line(make_video: MakeVideo, tmp_path: Path) -> None:
    result = vidx4(
        "upscale", make_video(num_frames=5), tmp_path / "out.mp4", *FAST, "--json", "--batch-size", 2
    )
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    progress = ["progress", "progress", "part", "estimate", "progress", "part"]
    assert kinds == ["plan", "note", *progress, "done"]
    assert [e["num_done"] for e in events if e["event"] == "progress"] == [2, 4, 5]
    assert events[-1]["output"] == str(tmp_path / "out.mp4")
    assert result.stderr == ""


def test_says_what_was_reused(tmp_path: Path) -> None:
    source = tmp_path / "still.mkv"
    frames = gradient(64, 48, 1) * 4
    write_video(source, num_frames=4, frames=frames, codec="ffv1", pix_fmt="yuv444p", num_b_frames=0)
    plain = vidx4("upscale", source, *FAST)
    assert "75% reused)" in plain.stderr
    events = vidx4("upscale", source, *FAST, "--overwrite", "--json").stdout.splitlines()
    done = json.loads(events[-1])
    assert (done["share_reused"], done["num_shots"]) == (0.75, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--temporal", "sideways"), "off, fixed, moving"),
        (("--temporal", "off", "--consistency", "0.5"), "--consistency"),
        (("--tile-size", "5"), "32"),
    ],
)
def test_temporal_options_that_do_not_fit_are_refused(
    options: tuple[str, ...], message: str, make_video: MakeVideo
) -> None:
    result = vidx4("upscale", make_video(num_frames=2), *FAST, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_upscale_writes_a_picture(tmp_path: Path) -> None:
    output = tmp_path / "big.jpg"
    result = vidx4("upscale", PHOTO, output, "--device", "cpu", "--strength", "0")
    assert result.exit_code == 0, result.output
    assert re.search(r"noise level \d+, estimated; --noise-level auto\+20 restores more", result.stderr)
    with Image.open(output) as picture:
        assert picture.size == (768, 512)


def test_the_default_picture_lies_beside_its_source_and_is_not_overwritten(tmp_path: Path) -> None:
    source = Path(shutil.copy(PHOTO, tmp_path))
    assert vidx4("upscale", source, "--device", "cpu").exit_code == 0
    again = vidx4("upscale", source, "--device", "cpu")
    assert again.exit_code == 1
    assert "photo_x4.png already exists" in again.stderr
    assert vidx4("upscale", source, "--device", "cpu", "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("upscale", "missing.mp4"), 2, "missing.mp4"),
        (("upscale", SAMPLES), 2, "folder"),
        (("upscale", SAMPLES / "README.md"), 2, "README.md"),
        (("upscale", LONDON, "out.xyz"), 1, ".xyz"),
        (("upscale", LONDON, LONDON, "--overwrite"), 1, "the source itself"),
        (("upscale", LONDON, "out.mp4", "--codec", "cinepak"), 2, "cinepak"),
        (("upscale", LONDON, "out.mp4", "--crf", "99"), 2, "crf"),
        (("upscale", LONDON, "out.mp4", "--encoder-preset", "warp"), 2, "warp"),
        (("upscale", LONDON, "out.mp4", "--start", "1:00:00"), 2, "no frame"),
        (("upscale", LONDON, "out.mp4", "--start", "soon"), 2, "soon"),
        (("upscale", LONDON, "out.mp4", "--start", "-1"), 2, "-1"),
        (("upscale", LONDON, "out.mp4", "--strength", "2"), 2, "strength"),
        (("upscale", LONDON, "out.mp4", "--model", "none"), 2, "no model"),
        (("upscale", LONDON, "out.mp4", "--model", "none.safetensors"), 2, "no file none"),
        (("upscale", LONDON, "out.mp4", "--model", "compact", "--prompt", "a"), 2, "no prompt"),
        (("upscale", LONDON, "out.mp4", "--device", "warp"), 2, "warp"),
        (("upscale", LONDON, "out.mp4", "--batch-size", "0"), 2, "batch-size"),
        (("upscale", PHOTO, "out.png", "--stop", "1", "--codec", "auto"), 2, "--stop."),
        (("upscale", PHOTO, "out.png", "--batch-size", "2", "--crf", "9"), 2, "--batch-size, --crf"),
        (("upscale", LONDON, "out.mp4", "--start", "1:-5"), 2, "1:-5"),
        (("upscale", PHOTO, "out.mp4"), 1, ".mp4"),
        (("preview", LONDON, "out.mp4", "--at", "99"), 2, "no frame"),
        (("preview", LONDON, "out.mp4", "--start", "99"), 2, "no frame"),
        (("preview", LONDON, "out.mp4", "--at", "1", "--stop", "0.5"), 2, "--at"),
        (("preview", LONDON, "out.mp4", "--at", "1", "--samples", "2"), 2, "--samples"),
        (("preview", LONDON, "out.mp4", "--layout", "up"), 2, "split, side, alternate"),
        (("upscale", LONDON, "out.mp4", "--output", "other.mp4"), 2, "other.mp4"),
        (("upscale", LONDON, "out.mp4", "-q", "-v"), 2, "--verbose"),
        (("upscale", LONDON, "out.mp4", "--crf", "low"), 2, "--crf"),
        (("upscale", LONDON, "out.mp4", "--steadiness", "1"), 2, "--steadiness"),
        (("upscale",), 2, "INPUT"),
        (("batch", SAMPLES), 2, "OUTPUT"),
        (("compare", LONDON, LONDON, "crops.png"), 2, "london.mp4"),
        (("probe", SAMPLES / "README.md"), 2, "README.md"),
        (("batch", SAMPLES, SAMPLES / "out"), 1, "inside"),
        (("batch", "nowhere", "out"), 2, "nowhere"),
        (("teleport",), 2, "teleport"),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: tuple[object, ...], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = vidx4(*arguments)
    assert result.exit_code == code
    assert message in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_errors_are_events_too() -> None:
    result = vidx4("probe", "missing.mp4", "--json")
    (event,) = (json.loads(line) for line in result.stdout.splitlines())
    assert event["event"] == "error"
    assert "missing.mp4" in event["message"]


def test_preview_tells_the_cost_of_the_whole(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("clip.mp4", num_frames=30)
    result = vidx4("preview", source, "--at", "0:00.4", "--duration", "0.2", *FAST, "--no-html")
    assert result.exit_code == 0, result.output
    assert probe(tmp_path / "clip_x4_preview.mp4").num_frames == 5
    assert (tmp_path / "clip_x4_preview_crops.png").is_file()
    assert " s a frame" in result.stderr
    assert not (tmp_path / "clip_x4_preview.html").exists()


def test_preview_of_a_part_shows_and_counts_that_part_only(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("clip.mp4", num_frames=30)  # 1.2 s
    part = ("--start", "0.4", "--stop", "0.8")
    result = vidx4("preview", source, *part, "--samples", 2, "--duration", "0.1", *FAST, "--json")
    assert result.exit_code == 0, result.output
    events = [json.loads(line) for line in result.stdout.splitlines()]
    plan, done = (next(e for e in events if e["event"] == kind) for kind in ("plan", "done"))
    assert len(plan["moments"]) == 2
    assert all(0.4 <= moment <= 0.7 for moment in plan["moments"])
    (cost,) = done["costs"]
    assert cost["seconds_for_whole"] == pytest.approx(10 * cost["seconds_per_frame"])
    assert "--start=0.4 --stop=0.8" in (tmp_path / "clip_x4_preview.html").read_text()
    cut = vidx4("preview", source, "--at", "0.7", "--stop", "0.8", *FAST, "--no-html", "--json", "-y")
    assert json.loads(cut.stdout.splitlines()[0])["num_frames"] == 3  # 0.7 s is in the middle of one


def test_preview_compares_settings_on_a_page(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("a clip.mp4", num_frames=30)
    sweeps = ("--sweep", "steps=1,2", "--sweep", "noise-level=0,20")
    result = vidx4("preview", source, "--samples", 1, "--duration", "0.1", *FAST, *sweeps, "--json")
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout.splitlines()[-1])
    labels = [f"steps {steps}, noise-level {level}" for steps in (1, 2) for level in (0, 20)]
    assert [cost["label"] for cost in done["costs"]] == labels
    page = (tmp_path / "a clip_x4_preview.html").read_text()
    assert (
        f"vidx4 upscale '{source}' --device=cpu --encoder-preset=ultrafast --steps=2 --noise-level=20" in page
    )


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("steps", "--sweep"),
        ("steps=", "--sweep"),
        ("steps=1,,2", "--sweep"),
        ("texture=1,1.0", "texture"),
        ("steps=2,2", "steps"),
        ("mood=1", "--mood"),
        ("steps=many", "'many'"),
        ("steps=0", "--steps"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(sweep: str, message: str) -> None:
    result = vidx4("preview", LONDON, "--sweep", sweep)
    assert result.exit_code == 2
    assert message in result.output


def test_batch_tells_of_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "good.mp4", num_frames=2)
    assert vidx4("batch", folder, tmp_path / "out", *FAST, *AT_ONCE).exit_code == 0
    (folder / "bad.mp4").write_text("no film")
    result = vidx4("batch", folder, tmp_path / "out", *FAST, *AT_ONCE, "--json")
    assert result.exit_code == 1
    events = [json.loads(line) for line in result.stdout.splitlines()]
    outcomes = {Path(e["path"]).name: e["outcome"] for e in events if e["event"] == "file"}
    assert outcomes == {"bad.mp4": "failed", "good.mp4": "skipped"}


def test_compare_writes_crops(make_video: MakeVideo, tmp_path: Path) -> None:
    source = make_video("clip.mp4", num_frames=3)
    assert vidx4("upscale", source, *FAST).exit_code == 0
    result = vidx4("compare", source, tmp_path / "clip_x4.mp4")
    assert result.stdout.strip() == str(tmp_path / "clip_x4_crops.png")


def test_probe_shows_every_stream() -> None:
    result = vidx4("probe", SAMPLES / "nasa.mp4")
    assert result.exit_code == 0
    assert result.stdout.count("aac") == 2


def test_models_and_doctor_speak_of_compact(tmp_path: Path) -> None:
    assert "compact" in vidx4("models").stdout
    assert vidx4("models", tmp_path).stdout.strip() == "No models here."
    assert "compact" in vidx4("doctor").stdout


def test_help_and_version() -> None:
    assert "upscale" in vidx4("--help").stdout
    assert vidx4("--version").stdout.startswith("vidx4 ")
    assert vidx4().exit_code == 2


def test_verify_tells_what_is_kept_and_what_is_lost(make_video: MakeVideo, tmp_path: Path) -> None:
    source, output = make_video(num_frames=5), tmp_path / "big.mp4"
    assert vidx4("upscale", source, output, *FAST).exit_code == 0
    kept = vidx4("verify", source, output)
    assert kept.exit_code == 0
    assert "number of frames" in kept.stdout
    other = vidx4("verify", make_video("other.mp4", num_frames=6), output, "--json")
    assert other.exit_code == 1
    events = [json.loads(line) for line in other.stdout.splitlines()]
    lost = [event["subject"] for event in events if event["event"] == "check" and not event["is_kept"]]
    assert lost[0] == "number of frames"
    assert (events[-1]["event"], events[-1]["exit_code"]) == ("done", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--deinterlace", "maybe"], "--deinterlace"),
        (["--audio", "9"], "Stream 9"),
        (["--video-stream", "7"], "Stream 7"),
        (["--frame-rate", "24"], "numbered pictures"),
        (["--quality", "50", "--crf", "20"], "not both"),
        (["--codec", "prores"], "prores"),
        (["--height", "33"], "even"),
        (["--inverse-telecine", "on"], "29.97"),
    ],
)
def test_options_that_do_not_fit_end_with_a_sentence(
    make_video: MakeVideo, tmp_path: Path, options: list[str], message: str
) -> None:
    result = vidx4("upscale", make_video(num_frames=5), tmp_path / "big.mp4", *options)
    assert result.exit_code in (1, 2)
    assert message in result.stderr.replace("\n", " ")
    assert not (tmp_path / "big.mp4").exists()


def test_numbered_pictures_out_and_in(make_video: MakeVideo, tmp_path: Path) -> None:
    source, pictures = make_video(num_frames=4), tmp_path / "pictures"
    assert vidx4("upscale", source, pictures / "%06d.png", *FAST[2:]).exit_code == 0
    assert len(list(pictures.iterdir())) == 4
    assert vidx4("verify", source, pictures).exit_code == 0


@needs_clusters
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--workers", "2"), "--cluster"),
        (("--send-model",), "--cluster"),
        (("--cluster", "mars"), "'mars'"),
        (("--cluster", "local", "--send-model"), "--send-model"),
    ],
)
def test_a_cluster_that_makes_no_sense_is_refused(
    flags: tuple[str, ...], message: str, make_video: MakeVideo
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[client]'")
    result = vidx4("upscale", make_video(num_frames=2), *FAST, *flags)
    assert result.exit_code == 2
    assert message in result.stderr


@needs_clusters
def test_without_ray_a_cluster_is_refused(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_loader, "find_spec", lambda name: None)
    (tmp_path / "in").mkdir()
    for command in (("upscale", make_video(num_frames=2)), ("batch", tmp_path / "in", tmp_path / "out")):
        result = vidx4(*command, "--cluster", "local")
        assert result.exit_code == 2
        assert "pip install 'ray[client]'" in result.stderr
