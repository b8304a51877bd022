"""The tests and benchmarks that need a GPU, one after another, as `scripts/gpu` runs them.

The record is written after each part, so that nothing is lost if the machine is taken away. The next call, on
the same card with the same program, runs what is left: parts that were not reached first, then those that
failed or took too long, which get more time at each try. The exit code is 0 if all parts are done, 1 if one
has failed, 75 if some are left for lack of time, and 130 after Ctrl-C.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from scripts.bench.gpu_parts import Part, Setting, parts
from scripts.bench.gpu_report import markdown
from scripts.bench.tables import machine
from vidx4 import __version__
from vidx4.cli.progress_bar import INTERRUPTED, heeded_signals
from vidx4.cli.terminal import TIME_UP
from vidx4.files.write import write_whole

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "gpu"
"""Where weights and unfinished results are kept; a record needs nothing of it."""
CLIP = ROOT / "samples" / "london.mp4"
SHOWN = 3000
"""Characters of a part's output that are kept if it fails."""
SLACK_ON_CPU = 4
"""Times as long as on a GPU that a small part may take: a busy machine takes long to import PyTorch."""
DONE, FAILED, CUT, STOPPED = "done", "failed", "cut", "stopped"
"""States of a part: finished, ended with an error, ended because it took too long, or by Ctrl-C."""
RESUME = "call it again with the same arguments to resume."


def run(arguments: argparse.Namespace) -> None:
    """Run what is left of the parts; the exit code tells whether that was all.

    Raises:
        SystemExit: always; with 0, 1, 75 or 130, or since there is no GPU.
    """
    deadline = time.monotonic() + 60 * arguments.minutes
    setting = new_setting(arguments)
    try:
        with stoppable():
            sys.exit(run_parts(Record(arguments.out, setting), list(parts(setting)), deadline))
    except KeyboardInterrupt:
        print(f"Stopped; what is done is kept in {arguments.out}: {RESUME}", file=sys.stderr)
        sys.exit(INTERRUPTED)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let the first signal that ends a program raise KeyboardInterrupt, and ignore further ones meanwhile."""
    before = {each: signal.getsignal(each) for each in heeded_signals()}

    def stop(*_: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in before:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def run_parts(record: "Record", wanted: list[Part], deadline: float) -> int:
    """Run what is left of the parts until the time is up; return the exit code.

    Raises:
        KeyboardInterrupt: it was stopped; the part that ran is in the record too.
    """
    is_first = True
    for part in record.left(wanted):
        left = deadline - time.monotonic()
        if not part.is_ready():
            print(f"{part.name}: left, as what it needs is not made yet", flush=True)
        elif left < (least := record.least_seconds(part, is_first=is_first)):
            print(f"{part.name}: left for the next call, as it may need {least:.0f} s", flush=True)
        else:
            is_first = False
            record.add(part, attempt(part, record.setting, min(left, record.most_seconds(part))))
            if record.results[part.name]["state"] == STOPPED:
                raise KeyboardInterrupt
    return conclude(record, wanted)


def conclude(record: "Record", wanted: list[Part]) -> int:
    """Print which parts are missing; return the exit code."""
    missing = [part.name for part in record.left(wanted)]
    if not missing:
        print(f"All {len(wanted)} parts are done.")
        return 0
    print(f"{len(missing)} of {len(wanted)} parts are missing ({'; '.join(missing)}): {RESUME}", flush=True)
    return 1 if any(record.state(part) == FAILED for part in wanted) else TIME_UP


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
        self._out, self.setting = out, setting
        self._facts = facts(setting.device)
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

    def state(self, part: Part) -> str | None:
        """Return the state of a part; None if it was never tried, or what it made is gone."""
        state: str | None = self._result(part).get("state")
        is_gone = state == DONE and not all(path.exists() for path in part.makes)
        return None if is_gone else state

    def left(self, wanted: list[Part]) -> list[Part]:
        """Return the parts that are not done: first those that were tried least, or that others wait for."""
        left = [part for part in wanted if self.state(part) != DONE]
        return sorted(left, key=lambda part: 0 if part.makes else self._num_tries(part))

    def least_seconds(self, part: Part, *, is_first: bool) -> float:
        """Return the time below which a part is not worth starting.

        What has run out of time needs more than it had, unless the call has no more than that to give.
        """
        result = self._result(part)
        was_short = result.get("state") in (CUT, STOPPED)
        return max(part.least_seconds, result["seconds"] if was_short and not is_first else 0)

    def most_seconds(self, part: Part) -> float:
        """Return the time after which a part is ended; more at each try."""
        slack = SLACK_ON_CPU if self.setting.is_small else 1
        return slack * (1 + self._num_tries(part)) * part.seconds

    def _result(self, part: Part) -> dict[str, Any]:
        return dict(self.results.get(part.name, {}))

    def _num_tries(self, part: Part) -> int:
        return int(self._result(part).get("num_tries", 0))

    def add(self, part: Part, result: dict[str, Any]) -> None:
        """Add a result, and write both files."""
        self.results[part.name] = {**result, "num_tries": self._num_tries(part) + 1}
        print(f"{part.name}: {result['state']} after {result['seconds']:.0f} s", flush=True)
        record = {**self._facts, "version": __version__, "parts": self.results}
        self._out.mkdir(parents=True, exist_ok=True)
        for path, text in (
            (self._path, json.dumps(record, indent=2) + "\n"),
            (self._path.with_suffix(".md"), markdown(record)),
        ):
            with write_whole(path) as unfinished:
                unfinished.write_text(text)


def facts(device: str) -> dict[str, Any]:
    """Return what the machine is; a GPU is asked in a process of its own, since asking takes its memory."""
    if not device.startswith("cuda"):
        return machine(torch.device(device))
    command = [sys.executable, "-m", "scripts.bench.tables", device]
    asked = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, start_new_session=True)
    return dict(json.loads(asked.stdout))


def program() -> str:
    """Return a digest of the program and its benchmarks."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "vidx4").rglob("*.py"), *(ROOT / "scripts" / "bench").rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def attempt(part: Part, setting: Setting, seconds: float) -> dict[str, Any]:
    """Run a part for so many seconds at most; return its result, or its error."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", *part.command, *(["--out", folder] if part.result else [])]
        state = run_for(command, log, seconds, setting)
        output, result = log.read_text(errors="replace"), Path(folder) / part.result
        found: dict[str, Any] = {"state": state}
        if state == DONE and part.result:
            found |= {key: value for key, value in json.loads(result.read_text()).items() if key in KEPT}
        elif state in (DONE, FAILED) and not part.result:
            found["summary"] = (output.strip().splitlines() or [""])[-1].strip("= ")
        if state != DONE:
            found["output"] = output[-SHOWN:]
            print(found["output"], end="")
    return {**found, "date": time.strftime("%Y-%m-%d"), "seconds": time.monotonic() - start}


KEPT = ("tables", "operations_per_second")
"""What is kept of the results of a benchmark."""


def run_for(command: list[str], log: Path, seconds: float, setting: Setting) -> str:
    """Run a command with its output in a file; return the state that it ended in.

    It has a session of its own, so that Ctrl-C in the terminal reaches only this process, which ends it with
    all that it has started.
    """
    requires_gpu = str(int(setting.device != "cpu"))
    environment = {**os.environ, "VIDX4_REQUIRE_GPU": requires_gpu, "PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            return FAILED if process.wait(seconds) else DONE
        except subprocess.TimeoutExpired:
            return CUT
        except KeyboardInterrupt:
            return STOPPED
        finally:
            end(process.pid)
            process.wait()


def end(pid: int) -> None:
    """End a process and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
