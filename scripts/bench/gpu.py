"""The tests and benchmarks that need a GPU, one after another, as `scripts/gpu` runs them.

The record is written after each part, so that nothing is lost if the machine is taken away. The next call, on
the same card with the same program, runs what is left: parts that were not reached first, then those that
failed or took too long, which get more time at each try.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from scripts.bench.architecture import REAL, SMALL, save_random_model
from scripts.bench.gpu_parts import Part, Setting, parts
from scripts.bench.gpu_report import markdown
from scripts.bench.measure import in_child
from scripts.bench.tables import machine
from tests.video_files import write_video
from vidx4 import __version__
from vidx4.files.write import write_whole

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "gpu"
"""Where weights and unfinished results are kept; a record needs nothing of it."""
CLIP = ROOT / "samples" / "london.mp4"
SHOWN = 3000
"""Characters of a part's output that are kept if it fails."""
DONE, FAILED, CUT = "done", "failed", "cut"
"""States of a part: finished, ended with an error, or ended because it took too long."""


def run(arguments: argparse.Namespace) -> None:
    """Run what is left of the parts; exit with 1 if one has failed."""
    deadline = time.monotonic() + 60 * arguments.minutes
    setting = new_setting(arguments)
    record = Record(arguments.out, setting)
    for part in record.left(list(parts(setting))):
        seconds = record.seconds_for(part, deadline)
        if seconds is None:
            print(f"{part.name}: left for the next call", flush=True)
            continue
        record.add(part, attempt(part, setting, seconds))
    sys.exit(any(each["state"] == FAILED for each in record.results.values()))


def new_setting(arguments: argparse.Namespace) -> Setting:
    """Return the setting that the arguments ask for; `auto` means a GPU here.

    Raises:
        SystemExit: there is no GPU.
    """
    device = "cuda" if arguments.device == "auto" else arguments.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit(
            "There is no CUDA GPU here; `scripts/gpu --device cpu --small` tries this out on a CPU."
        )
    model = FOLDER / ("sd-x4-small" if arguments.small else "sd-x4")
    clip = FOLDER / "clip.mp4" if arguments.small else CLIP
    return Setting(device, arguments.dtype, arguments.small, model, clip)


class Record:
    """What earlier calls and this one have found, as JSON and Markdown.

    Args:
        out: the folder of both files.
        setting: where and at what size everything runs; results of another one, of another machine, or of
            another program are dropped.
    """

    def __init__(self, out: Path, setting: Setting) -> None:
        self._out, self._is_small = out, setting.is_small
        self._facts = in_child(machine, torch.device(setting.device))
        identity = {key: value for key, value in self._facts.items() if key != "date"}
        self._facts["identity"] = identity | {
            "program": program(),
            "setting": [setting.device, setting.dtype, setting.is_small],
        }
        self._path = out / "gpu.json"
        self.results: dict[str, Any] = self._earlier()

    def _earlier(self) -> dict[str, Any]:
        if not self._path.exists():
            return {}
        earlier = json.loads(self._path.read_text())
        is_same = earlier["identity"] == json.loads(json.dumps(self._facts["identity"]))
        return dict(earlier["parts"]) if is_same else {}

    def left(self, wanted: list[Part]) -> list[Part]:
        """Return the parts that are not done: those that were never tried first."""
        left = [part for part in wanted if self.results.get(part.name, {}).get("state") != DONE]
        return sorted(left, key=lambda part: part.name in self.results)

    def seconds_for(self, part: Part, deadline: float) -> float | None:
        """Return the most seconds that a part may take now; None if it would hardly get through."""
        left = deadline - time.monotonic()
        if self._is_small:
            return max(left, 1)
        num_tries = self.results.get(part.name, {}).get("num_tries", 0)
        wanted = (1 + num_tries) * part.seconds
        return None if left < wanted / 2 and left < part.seconds else min(left, wanted)

    def add(self, part: Part, result: dict[str, Any]) -> None:
        """Add a result, and write both files."""
        num_tries = self.results.get(part.name, {}).get("num_tries", 0)
        self.results[part.name] = {**result, "num_tries": num_tries + 1}
        print(f"{part.name}: {result['state']} after {result['seconds']:.0f} s", flush=True)
        record = {**self._facts, "version": __version__, "parts": self.results}
        self._out.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (self._path, json.dumps(record, indent=2) + "\n"),
            (self._path.with_suffix(".md"), markdown(record)),
        ):
            with write_whole(path) as unfinished:
                unfinished.write_text(text)


def program() -> str:
    """Return a digest of the program and its benchmarks."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "vidx4").rglob("*.py"), *(ROOT / "scripts" / "bench").rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def attempt(part: Part, setting: Setting, seconds: float) -> dict[str, Any]:
    """Run a part for so many seconds at most; return its result, or its error."""
    start = time.monotonic()
    prepare(part, setting)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", *part.command, *(["--out", folder] if part.result else [])]
        status = run_for(command, log, seconds - (time.monotonic() - start), setting)
        output, result = log.read_text(errors="replace"), Path(folder) / part.result
        found: dict[str, Any] = {"state": CUT if status is None else FAILED if status else DONE}
        if found["state"] == DONE and part.result:
            found |= {key: value for key, value in json.loads(result.read_text()).items() if key in KEPT}
        elif not part.result:
            found["summary"] = (output.strip().splitlines() or [""])[-1].strip("= ")
        if found["state"] != DONE:
            print(output[-SHOWN:])
            found["output"] = output[-SHOWN:]
    return {**found, "date": time.strftime("%Y-%m-%d"), "seconds": time.monotonic() - start}


KEPT = ("tables", "operations_per_second")
"""What is kept of the results of a benchmark."""


def prepare(part: Part, setting: Setting) -> None:
    """Make the model and the clip that a part needs, unless they are there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if part.uses_sd_x4 and not setting.model.exists():
        in_child(save_random_model, setting.model, SMALL if setting.is_small else REAL)
    if setting.is_small and not setting.clip.exists():
        write_video(setting.clip, num_frames=4)


def run_for(command: list[str], log: Path, seconds: float, setting: Setting) -> int | None:
    """Run a command with its output in a file; return its exit code, or None if it took too long."""
    requires_gpu = str(int(setting.device != "cpu"))
    environment = {**os.environ, "VIDX4_REQUIRE_GPU": requires_gpu, "PYTHONUNBUFFERED": "1"}
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            return process.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            return None
        finally:
            end(process.pid)


def end(pid: int) -> None:
    """End a process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
