"""The whole command on a real clip, stage by stage; each stage alone; and all of it without a model."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

from scripts.bench.measure import timed
from scripts.bench.tables import Row, write
from tests.helpers import upscale_nearest
from vidx4 import Upscaler
from vidx4.diffusion.options import Speed, UpscaleOptions
from vidx4.frames import FrameBatch
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.pipeline import Enlarge
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run as run_job
from vidx4.jobs.shots import ShotBatch, by_shot
from vidx4.media.decode import read_frames
from vidx4.media.encode import encode_part
from vidx4.video import TimeRange

ROOT = Path(__file__).parents[2]
THREADED_STAGES = ("decode", "follow", "model")
"""Stages of a report that overlap the others."""


def run(arguments: argparse.Namespace) -> None:
    """Measure the whole command, its stages alone, and everything but the model."""
    options = UpscaleOptions(
        model=arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        speed=Speed(arguments.speed),
    )
    span = TimeRange(stop=None if arguments.stop is None else Fraction(str(arguments.stop)))
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_video(arguments.clip, Path(folder) / "out.mkv", Request(span=span, overwrite=True))
        clip = f"{plan.source.width}x{plan.source.height}, {plan.num_frames} frames"
        upscaler = Upscaler.from_options(options)
        batch_size = upscaler.fitted(plan.source.width, plan.source.height).fit.batch_size
        tables = {
            f"The command on {arguments.clip.name}, {clip} (share of the slowest stage)": command(
                plan, options
            ),
            "Its stages, one after another (share of the slowest)": stages_alone(plan, upscaler, batch_size),
            "Without a model: pixels are repeated (share of the slowest stage)": io_ceiling(plan, batch_size),
        }
    write(arguments.out, "pipeline", tables, upscaler.components.device)


def command(plan: Plan, options: UpscaleOptions) -> list[Row]:
    """Run the program as a user does."""
    program = [sys.executable, "-m", "vidx4"]
    choices = ["--model", options.model, "--device", options.device, "--dtype", options.dtype]
    choices += ["--speed", str(options.speed)]
    if (stop := plan.request.span.stop) is not None:
        choices += ["--stop", str(float(stop))]
    paths = [str(plan.source.path.resolve()), str(plan.output)]
    events, whole = _spawn([*program, "upscale", *paths, "--json", "--overwrite", *choices])
    _, asking = _spawn([*program, "--help"])
    shown = next(seconds for seconds, line in events if json.loads(line)["event"] == "progress")
    report = json.loads(events[-1][1])
    slowest = _slowest(report["stages"])

    def row(what: str, total: float) -> Row:
        return Row(what, total / plan.num_frames, total / slowest, total=total)

    return [
        replace(row("whole", whole), peak_memory=report["peak_memory"]),
        row("before the work begins, and after it", whole - report["seconds"]),
        *(row(what, total) for what, total in _by_stage(report["stages"]).items()),
        Row("until the first frames are done", total=shown),
        Row("`vidx4 --help`", total=asking),
    ]


def _spawn(command: list[str]) -> tuple[list[tuple[float, str]], float]:
    """Run a program; return its lines of output with the seconds until each, and until it had ended."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [(time.perf_counter() - start, line) for line in process.stdout]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return lines, time.perf_counter() - start


def _by_stage(stages: dict[str, float]) -> dict[str, float]:
    """Return seconds by the names of stages, those that overlap the others first."""
    ordered = sorted(stages, key=lambda stage: stage not in THREADED_STAGES)
    return {
        f"{each}, in its own thread" if each in THREADED_STAGES else each: stages[each] for each in ordered
    }


def _slowest(stages: dict[str, float]) -> float:
    return max(stages[stage] for stage in (*THREADED_STAGES, "encode"))


def stages_alone(plan: Plan, upscaler: Upscaler, batch_size: int) -> list[Row]:
    """Decode all frames, then enlarge, then encode as many: the time of stages that wait for no other."""
    shots: list[ShotBatch[FrameBatch]] = []
    seconds = {"decode": timed(lambda: shots.extend(_decoded(plan, batch_size)), 1)}
    _enlarge(upscaler, shots[:1])  # warms up
    seconds["model"] = timed(lambda: _enlarge(upscaler, shots), 1)
    large = [upscale_nearest(shot.batch, None).batch for shot in shots]
    path = plan.output.with_name("part.nut")
    seconds["encode"] = timed(lambda: encode_part(path, large, plan.source, plan.written.target), 1)
    slowest = max(seconds.values())
    return [
        Row(what, total / plan.num_frames, total / slowest, total=total) for what, total in seconds.items()
    ]


def _decoded(plan: Plan, batch_size: int) -> Iterator[ShotBatch[FrameBatch]]:
    return by_shot(read_frames(plan.source, plan.request.span), batch_size)


def _enlarge(enlarge: Enlarge, shots: Sequence[ShotBatch[FrameBatch]]) -> None:
    state = None
    for shot in shots:
        state = enlarge(shot.batch, None if shot.starts_shot else state).state


def io_ceiling(plan: Plan, batch_size: int) -> list[Row]:
    """Enlarge a video without a model: no model can make the program faster."""
    report = run_job(Job(plan, LocalExecutor(upscale_nearest), batch_size), restart=True)
    stages = asdict(report.stages)
    seconds = {"whole": report.seconds, **_by_stage(stages)}
    return [
        Row(what, total / plan.num_frames, total / _slowest(stages), total=total)
        for what, total in seconds.items()
    ]
