"""What is installed from a wheel holds all that the program needs, and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vidx4.media.probe import probe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    options = ["--no-build-isolation", "--wheel-dir", str(folder)]  # isolation would need a network
    subprocess.run([*command, *options, str(ROOT)], check=True, timeout=300)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_a_wheel_holds_the_package_alone(wheel: Path) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vidx4").rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files


@pytest.mark.slow
def test_a_wheel_upscales_a_clip(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    command = [sys.executable, "-m", "vidx4", "upscale", str(ROOT / "samples" / "london.mp4"), "out.mp4"]
    subprocess.run(
        [*command, "--stop", "0.2", "--device", "cpu"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        timeout=300,
    )
    assert probe(tmp_path / "out.mp4").width == 4 * probe(ROOT / "samples" / "london.mp4").width
