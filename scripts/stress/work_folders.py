"""Resume jobs from hostile work folders: each must give a whole film or one clear sentence, and nothing else.

    python -m scripts.stress.work_folders [--cases 300] [--seed 0]

A job is stopped after its second part. Each case copies its work folder, does one to three hostile things to
the copy (links, pipes, other types and ranges, truncations, foreign and forged files), and resumes. Files
outside of the output's folder are the victims: they must stay as they are.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from scripts.stress.kills import make_clip
from tests.helpers import stop_after, upscale_nearest
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import Vidx4Error
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalBackend, LocalExecutor
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe

NUM_PARTS = 2
"""Parts that are made before the job is stopped."""
LIMIT = 60
"""Seconds for a case."""
OTHER_NAMES = ("00000072.nut", "00000072.json", "00000090.state", "sample.nut", "output.mkv")
"""Names that vidx4 will use, beside those in the folder."""
NUMBERS: tuple[Any, ...] = (
    -1,
    0,
    1,
    63,
    64,
    65,
    127,
    128,
    1 << 31,
    1 << 64,
    1e308,
    float("nan"),
    float("inf"),
    -0.5,
)
VALUES: tuple[Any, ...] = (*NUMBERS, None, True, "", "64", "\x1b[31m", "x" * 100_000, [], [64], {}, {"a": {}})
DEEP = b'{"part":' * 100_000
BAD = ("TRACEBACK", "HANG", "VICTIM TOUCHED", "STRAY FILE", "FRAMES LOST")


@dataclass(frozen=True)
class Template:
    """A stopped job, and what it would have made."""

    job: Job
    work: Path
    """A copy of its work folder."""
    num_frames: int
    """Frames of the undisturbed output."""


def make_template(folder: Path, plan: Plan, job: Job) -> Template:
    """Run a job to its end, and again to its second part, in the middle of a shot."""
    run(job)
    num_frames = probe(plan.output).num_frames
    plan.output.unlink()
    stop_after(job, NUM_PARTS)
    work = folder / "template"
    shutil.move(plan.work_folder, work)
    return Template(job, work, num_frames)


def _is_small(path: Path) -> bool:
    """Return whether a path is a regular file that can be read whole."""
    return path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 26


def _content(path: Path) -> bytes:
    return path.read_bytes() if _is_small(path) else b""


class Hostility:
    """Hostile things to do to a work folder.

    Args:
        work: the folder.
        home: a folder of victims.
        rng: draws what is done.
    """

    def __init__(self, work: Path, home: Path, rng: random.Random) -> None:
        self._work, self._home, self._rng = work, home, rng

    @property
    def kinds(self) -> list[Callable[[], None]]:
        """All hostile things."""
        return [
            self.link_file, self.link_folder, self.pipe, self.folder, self.value, self.number, self.record,
            self.cut, self.flip, self.replace, self.forge, self.state, self.sparse, self.deep, self.others,
        ]  # fmt: skip

    def _any(self) -> Path:
        """Return a path at a name that vidx4 uses, with nothing there."""
        names = (each.name for each in self._work.iterdir())
        path = self._work / self._rng.choice(sorted({*names, *OTHER_NAMES}))
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        return path

    def _file(self, *suffixes: str) -> Path | None:
        files = [each for each in sorted(self._work.iterdir()) if _is_small(each)]
        return (
            next(iter(self._rng.sample(fitting, 1)), None)
            if (fitting := [each for each in files if not suffixes or each.suffix in suffixes])
            else None
        )

    def _record(self) -> Path:
        """Return the path of a record, or one where it was."""
        records = sorted(self._work.glob("0*.json"))
        return self._rng.choice(records) if records else self._work / "00000000.json"

    def link_file(self) -> None:
        """Replace a file by a link, symbolic or hard."""
        target = self._home / self._rng.choice(["thesis.txt", "missing.txt", "20240101.json", "letters"])
        if self._rng.random() < 0.3 and target.is_file():
            self._any().hardlink_to(target)
        else:
            self._any().symlink_to(target)

    def link_folder(self) -> None:
        """Replace the folder by a link."""
        shutil.rmtree(self._work)
        self._work.symlink_to(self._home)

    def pipe(self) -> None:
        """Replace a file by a pipe."""
        os.mkfifo(self._any())

    def folder(self) -> None:
        """Replace a file by a folder."""
        (self._any() / "inside").mkdir(parents=True)

    def _edit(self, edit: Callable[[dict[str, Any]], None]) -> None:
        path = self._file(".json")
        if path is None:
            return
        try:
            facts = json.loads(_content(path))
            edit(facts)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return
        path.write_text(json.dumps(facts))

    def value(self) -> None:
        """Replace a value by one of another kind."""

        def edit(facts: dict[str, Any]) -> None:
            inner = [facts, *(each for each in facts.values() if isinstance(each, dict))]
            place = self._rng.choice(inner)
            place[self._rng.choice([*place, "new"])] = self._rng.choice(VALUES)

        self._edit(edit)

    def number(self) -> None:
        """Replace a number of a record by another."""

        def edit(facts: dict[str, Any]) -> None:
            key = self._rng.choice(["start", "stop", "num_frames", "num_reused", "seconds", "size"])
            facts["part"][key] = self._rng.choice(NUMBERS)

        self._edit(edit)

    def record(self) -> None:
        """Add a record of other frames, made of one that is there."""
        path = self._record()
        try:
            facts = json.loads(_content(path))
            start = self._rng.choice([0, 1, 8, 40, 72, 96, 128, 99_999_999])
            facts["part"] |= {"start": start, "stop": self._rng.choice([start, start + 1, 129, 10**9])}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        (self._work / f"{start:08}.json").write_text(json.dumps(facts))
        packets = path.with_suffix(".nut")
        if start and _is_small(packets):
            shutil.copy(packets, self._work / f"{start:08}.nut")

    def cut(self) -> None:
        """Cut a file off."""
        if path := self._file():
            os.truncate(path, self._rng.randrange(path.stat().st_size + 1))

    def flip(self) -> None:
        """Change bytes of a file."""
        if (path := self._file()) and (data := bytearray(path.read_bytes()[: 1 << 22])):
            for _ in range(self._rng.randrange(1, 20)):
                data[self._rng.randrange(len(data))] = self._rng.randrange(256)
            path.write_bytes(data)

    def replace(self) -> None:
        """Replace the content of a file."""
        contents = (
            b"",
            b"#EXTM3U\n/etc/passwd\n",
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"[]",
            b"\0" * 999,
        )
        self._any().write_bytes(self._rng.choice(contents))

    def forge(self) -> None:
        """Change a part, and its record to match."""
        path = self._record()
        packets = path.with_suffix(".nut")
        try:
            data, facts = bytearray(_content(packets)), json.loads(_content(path))
            part = facts["part"]
            if self._rng.random() < 0.5:
                del data[self._rng.randrange(len(data)) :]
            else:
                data = bytearray(
                    self._rng.choice([b"", b"#EXTM3U\nhttp://127.0.0.1:9/\n", bytes(data[:200]) * 50])
                )
            part |= {"size": len(data), "digest": sha256(data).hexdigest()}
            part["num_frames"] = self._rng.choice([part["num_frames"], 0, 1, 5])
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        packets.write_bytes(data)
        path.write_text(json.dumps(facts))

    def state(self) -> None:
        """Replace a state by other tensors, and its record to match."""
        record = self._record()
        names = ["low_res", "upscaled", "hidden", "noise.latents", "particles.places", "evil"]
        chosen = self._rng.sample(names, self._rng.randrange(1, 6))
        sides = [0, 1, 3, 16, 24, 64, 96]
        tensors = {
            name: torch.zeros([self._rng.choice(sides) for _ in range(self._rng.randrange(1, 5))]).to(
                self._rng.choice([torch.uint8, torch.float32, torch.int64])
            )
            for name in chosen
        }
        try:
            facts = json.loads(_content(record))
            path = self._work / f"{facts['part']['stop']:08}.state"
            path.unlink(missing_ok=True)
            save_file(tensors, path)
            facts["state"] = sha256(path.read_bytes()).hexdigest()
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        record.write_text(json.dumps(facts))

    def sparse(self) -> None:
        """Replace a file by one of a terabyte without content."""
        path = self._any()
        path.touch()
        os.truncate(path, self._rng.choice([1 << 30, 1 << 40]))

    def deep(self) -> None:
        """Replace a JSON file by one that is nested deeply."""
        (self._work / self._rng.choice(["plan.json", "00000000.json"])).write_bytes(DEEP)

    def others(self) -> None:
        """Add files that look like those of vidx4."""
        for name in (".x.unfinished", "99999999.json", "00000001.state", "output.mkv", "mine.txt"):
            if self._rng.random() < 0.5 and not os.path.lexists(self._work / name):
                (self._work / name).write_text("{}")


def attempt(template: Template, folder: Path, seed: int) -> tuple[str, str]:
    """Do one case; return its outcome and a detail."""
    rng = random.Random(seed)
    plan = template.job.plan
    out, home = plan.output.parent, folder / "home"
    for each in (out, home):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir()
    for name in ("thesis.txt", "20240101.json", "00000000.json", "output.mkv", "plan.json", "lock"):
        (home / name).write_text(f"precious {name}")
    (home / "letters").mkdir()
    shutil.copytree(template.work, plan.work_folder)
    done = []
    for _ in range(rng.randrange(1, 4)):
        kind = rng.choice(Hostility(plan.work_folder, home, rng).kinds)
        done.append(kind.__name__)
        try:
            kind()
        except (OSError, ValueError, RecursionError):
            continue
        if plan.work_folder.is_symlink():
            break
    before = _digests(folder, out)
    outcome, detail = _resumed(template, restart=rng.random() < 0.3)
    if _digests(folder, out) != before:
        outcome, detail = "VICTIM TOUCHED", f"{outcome}: {detail}"
    elif strays := [each.name for each in out.iterdir() if each not in (plan.output, plan.work_folder)]:
        outcome, detail = "STRAY FILE", f"{strays} {outcome}: {detail}"
    return outcome, f"{'+'.join(done)}: {detail}"


def _digests(folder: Path, out: Path) -> dict[str, bytes]:
    """Return the content of all files but those of the output's folder."""
    files = (each for each in folder.rglob("*") if not each.is_relative_to(out))
    return {str(each): each.read_bytes() if each.is_file() else b"" for each in files}


def _resumed(template: Template, *, restart: bool) -> tuple[str, str]:
    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    try:
        report = run(template.job, restart=restart, ignore_disk_space=True)
    except Vidx4Error as error:
        return "refused with a sentence", str(error)[:100]
    except TimeoutError:
        return "HANG", traceback.format_exc()
    except Exception:
        return "TRACEBACK", traceback.format_exc()
    finally:
        signal.alarm(0)
    num_frames = probe(report.output).num_frames
    if num_frames != template.num_frames and not report.damage:
        return "FRAMES LOST", f"{num_frames} of {template.num_frames}"
    return ("done" if num_frames == template.num_frames else "done, damage reported"), " ".join(report.damage)


def main() -> None:
    """Parse the arguments and do all cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clip(folder / "clip.mp4")
        (folder / "out").mkdir()
        request = Request(encode=EncodeOptions(encoder_preset="ultrafast", crf=30))
        plan = plan_video(folder / "clip.mp4", folder / "out" / "film.mkv", request)
        jobs = [
            Job(plan, LocalExecutor(upscale_nearest), 8),
            LocalBackend(Upscaler.load("compact")).job(plan, 8),
        ]
        templates = []
        for number, job in enumerate(jobs):
            (folder / f"{number}").mkdir()
            templates.append(make_template(folder / f"{number}", plan, job))
        for case in range(arguments.cases):
            seed = arguments.seed * 1_000_000 + case
            outcome, detail = attempt(templates[case % len(templates)], folder, seed)
            counts[outcome] += 1
            if outcome in BAD:
                print(f"{outcome} in case {seed}: {detail}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    sys.exit(any(counts[outcome] for outcome in BAD))


if __name__ == "__main__":
    main()
