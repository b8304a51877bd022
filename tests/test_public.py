"""The package's face: lazy names, and examples that run."""

import doctest
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import vidx4
from vidx4.diffusion import upscaler

ROOT = Path(__file__).parents[1]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, vidx4; print(*(name for name in ('torch', 'av', 'diffusers') if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("arguments", [["--help"], ["upscale", "-h"], ["batch", "--help"]], ids=" ".join)
def test_the_command_line_starts_without_anything_heavy(arguments: list[str]) -> None:
    heavy = ("torch", "av", "diffusers", "transformers", "PIL", "cv2", "numpy", "ray", "huggingface_hub")
    code = f"""
import sys
from vidx4.cli.commands import main
sys.argv = ["vidx4", *{arguments}]
try:
    main()
finally:
    print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in result.stdout
    assert result.stderr.strip() == ""


def test_modules_that_the_command_line_must_not_load_exist() -> None:
    """A module that was renamed would no longer be banned."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    banned = lint["flake8-tidy-imports"]["banned-module-level-imports"]
    assert all(find_spec(name) is not None for name in banned if name.startswith("vidx4"))


def test_every_public_name_can_be_had() -> None:
    assert sorted(vidx4.__all__) == dir(vidx4)
    assert all(getattr(vidx4, name) is not None for name in vidx4.__all__)


def test_the_examples_run() -> None:
    failed, tried = doctest.testmod(upscaler)
    assert tried > 0
    assert failed == 0
