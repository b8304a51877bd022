"""Small commands load what they need, and nothing of the libraries that take seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parents[2] / "samples"
HEAVY = ("torch", "diffusers", "transformers", "scipy", "ray", "cv2", "accelerate", "PIL", "spandrel")
CODE = """
import sys
from vidx4.cli.commands import main
try:
    main()
except SystemExit as end:
    print(end.code or 0, *sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "also"),
    [
        (("probe", "nasa.mp4"), ()),
        (("probe", "nasa.mp4", "--json"), ("rich.table",)),
        (("probe", "bear.webm"), ()),
        (("models",), ("av", "numpy")),
        (("--version",), ("av", "numpy", "psutil", "rich.table")),
        (("--help",), ("av", "numpy", "psutil")),
        (("upscale", "-h"), ("av", "numpy", "psutil", "rich.table")),
    ],
    ids=str,
)
def test_heavy_libraries_are_not_imported(arguments: tuple[str, ...], also: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", CODE, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=SAMPLES, check=True, timeout=300)
    code, *modules = ended.stderr.splitlines()[-1].split()
    assert code == "0", ended.stderr
    assert {*HEAVY, *also} & {*modules} == set()


def test_a_job_of_compact_loads_nothing_of_other_models(tmp_path: Path) -> None:
    """Not even to find out that nothing is left to choose, or what takes less time."""
    typed = (
        "upscale",
        "london.mp4",
        str(tmp_path / "out.mp4"),
        "--stop",
        "0.2",
        "--device",
        "cpu",
        "--dry-run",
    )
    command = [sys.executable, "-c", CODE, *typed]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=SAMPLES, check=True, timeout=300)
    code, *modules = ended.stderr.splitlines()[-1].split()
    assert code == "0", ended.stderr
    assert "vidx4.diffusion.models.compact" in modules
    assert not {"spandrel", "vidx4.diffusion.models.community", "vidx4.diffusion.models.sd_x4"} & {*modules}
