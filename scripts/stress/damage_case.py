"""One case of damage: a damaged copy of a video is probed and enlarged, and the outcome is named."""

import random
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from scripts.stress.mutations import MUTATIONS

NUM_FRAMES = 24
"""Frames that are enlarged at most; fewer if damage has made the picture large."""
MAX_PIXELS = 120_000
"""Pixels of a frame from which on fewer frames are enlarged."""
DONE, DONE_WITH_DAMAGE = "done", "done, damage reported"
REFUSED, REFUSED_LATE = "refused with a sentence", "refused after the work"
GOOD = (DONE, DONE_WITH_DAMAGE, REFUSED, REFUSED_LATE)
BAD = ("TRACEBACK", "HANG", "KILLED", "SOURCE TOUCHED", "STRAY FILE")


@dataclass(frozen=True)
class Case:
    """A clip and the damage to do to a copy of it."""

    clip: str
    kind: str
    """Key of `MUTATIONS`."""
    seed: int


@dataclass(frozen=True)
class Result:
    """The outcome of a case."""

    outcome: str
    """One of `GOOD` or `BAD`."""
    detail: str = ""
    seconds: float = 0.0
    """Elapsed time."""


def attempt(case: Case, folder: Path) -> Result:
    """Damage a copy of the clip in a folder, probe it and enlarge it."""
    clip = Path(case.clip)
    data = bytearray(clip.read_bytes())
    MUTATIONS[case.kind](data, random.Random(case.seed))
    source = folder / f"case{clip.suffix}"
    source.write_bytes(data)
    digest = sha256(data).digest()
    begun = time.monotonic()
    result = _probed(source) or _enlarged(source, folder)
    if not source.exists() or sha256(source.read_bytes()).digest() != digest:
        result = Result("SOURCE TOUCHED", result.outcome)
    elif strays := _strays(folder, source, result):
        result = Result("STRAY FILE", f"{', '.join(strays)} after {result}")
    return replace(result, seconds=time.monotonic() - begun)


def _strays(folder: Path, source: Path, result: Result) -> list[str]:
    """Return files that should not be there.

    A job that ends well leaves its output, any other at most a work folder with parts in it.
    """
    expected = {source.name, "out.mkv" if result.outcome in (DONE, DONE_WITH_DAMAGE) else "out.mkv.vidx4"}
    strays = [path.name for path in folder.iterdir() if path.name not in expected]
    parts = folder / "out.mkv.vidx4"
    return strays if any(parts.glob("0*")) or not parts.exists() else [*strays, parts.name]


def _probed(source: Path) -> Result | None:
    """Run `vidx4 probe`; return its failure, unless it read or refused the file."""
    from typer.testing import CliRunner

    from vidx4.cli.commands import app

    answer = CliRunner().invoke(app, ["probe", str(source)])
    if answer.exit_code in (0, 2):
        return None
    return Result("TRACEBACK", f"probe: exit code {answer.exit_code}, {answer.exception!r}")


def _enlarged(source: Path, folder: Path) -> Result:
    """Enlarge the start of a video; return the outcome."""
    from tests.helpers import upscale_nearest
    from vidx4.errors import OutputError, Vidx4Error
    from vidx4.jobs.job import Job
    from vidx4.jobs.local import LocalExecutor
    from vidx4.jobs.plan import plan_video
    from vidx4.jobs.request import Request
    from vidx4.jobs.run import run
    from vidx4.media.options import EncodeOptions
    from vidx4.media.probe import probe
    from vidx4.video import TimeRange

    encode = EncodeOptions("h264", encoder_preset="ultrafast", crf=40)
    refused = REFUSED
    try:
        known = probe(source)
        num_frames = max(1, min(NUM_FRAMES, NUM_FRAMES * MAX_PIXELS // (known.width * known.height)))
        last = known.seconds_of(known.pts[num_frames]) if known.num_frames > num_frames else None
        plan = plan_video(source, folder / "out.mkv", Request(span=TimeRange(stop=last), encode=encode))
        refused = REFUSED_LATE
        report = run(Job(plan, LocalExecutor(upscale_nearest), 8))  # raises if the output has lost anything
    except Vidx4Error as error:
        return Result(refused if isinstance(error, OutputError) else REFUSED, str(error))
    except Exception as error:
        return Result("TRACEBACK", f"{type(error).__name__}: {error}")
    return Result(DONE_WITH_DAMAGE if report.damage else DONE, " ".join(report.damage))
