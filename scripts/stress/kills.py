"""Kill vidx4 again and again, resume it, and compare the output with that of an undisturbed run.

python -m scripts.stress.kills [--kills 200] [--seed 0] [--clip VIDEO] [-- FLAGS OF vidx4 upscale]

By default the clip is made: three shots, a variable rate and sound. Each run is the real program in a process
of its own, ended by SIGKILL: at a random moment, at a random frame inside the encoder, or just before or
after a random rename. When a run ends well, its output must be equal, byte for byte, to that of an
undisturbed run; then a new job begins, until there were enough kills.
"""

import argparse
import itertools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

PRELOADED = ["vidx4.cli.commands", "vidx4.diffusion.upscaler", "vidx4.jobs.run"]
"""Modules that are imported once: each process is forked from one that has them."""
MOMENTS = ("time", "encode", "before rename", "after rename")
SHOT_LENGTHS = (90, 9, 30)
FLAGS = ("--device", "cpu", "--encoder-preset", "ultrafast", "--quiet")


@dataclass(frozen=True)
class Kill:
    """The moment at which a process is killed."""

    moment: str
    count: float
    """Seconds, frames or renames before it."""


@dataclass
class Outcome:
    """Counts of all runs."""

    kills: Counter[str]
    """Kills by moment."""
    num_finished: int = 0
    """Runs that ended well."""
    num_equal: int = 0
    """Runs whose output was equal to the undisturbed one."""


def disturb(source: Path, folder: Path, num_kills: int, seed: int, flags: Sequence[str] = FLAGS) -> Outcome:
    """Kill runs on a video until there were enough kills; compare the output of each run that ends well.

    Args:
        source: the video.
        folder: an empty folder for outputs.
        num_kills: the number of kills.
        seed: the seed of their moments.
        flags: flags of `vidx4 upscale`.

    Raises:
        RuntimeError: a run failed without being killed.
    """
    rng = random.Random(seed)
    suffix = source.suffix
    undisturbed, output = folder / f"undisturbed{suffix}", folder / f"output{suffix}"
    start = time.monotonic()
    _run(source, undisturbed, flags)
    seconds = time.monotonic() - start
    outcome = Outcome(Counter())
    while outcome.kills.total() < num_kills or not output.exists():
        kill = _draw(rng, seconds) if outcome.kills.total() < num_kills else None
        if _run(source, output, flags, kill):
            outcome.num_finished += 1
            outcome.num_equal += output.read_bytes() == undisturbed.read_bytes()
            if outcome.kills.total() < num_kills:
                output.unlink()
        elif kill is not None:
            outcome.kills[kill.moment] += 1
    return outcome


def _draw(rng: random.Random, seconds: float) -> Kill:
    moment = rng.choice(MOMENTS)
    limit = {"time": seconds, "encode": 100, "before rename": 12, "after rename": 12}[moment]
    return Kill(moment, rng.uniform(0, limit) if moment == "time" else rng.randrange(int(limit)))


def _run(source: Path, output: Path, flags: Sequence[str], kill: Kill | None = None) -> bool:
    """Run the program until it ends or is killed; return whether it ended well."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    arguments = ["upscale", str(source), str(output), *flags]
    process = context.Process(target=_program, args=(arguments, kill))
    process.start()
    process.join(kill.count if kill is not None and kill.moment == "time" else None)
    process.kill()
    process.join()
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"vidx4 ended with {process.exitcode}.")
    return process.exitcode == 0


def _program(arguments: list[str], kill: Kill | None) -> None:
    """Run the program in this process, prepared to kill it."""
    import torch

    from vidx4.cli.commands import main

    torch.set_num_threads(1)
    if kill is not None:
        _arm(kill)
    sys.argv = ["vidx4", *arguments]
    main()


def _arm(kill: Kill) -> None:
    """Have this process kill itself at a frame or a rename."""
    from vidx4.media.display.color import Converter

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    match kill.moment:
        case "encode":
            deadly = _fatal(Converter.to_yuv, int(kill.count), itertools.count(1), before=die)
            Converter.to_yuv = deadly  # type: ignore[method-assign]
        case "before rename":
            _arm_renames(int(kill.count), before=die)
        case "after rename":
            _arm_renames(int(kill.count), after=die)


def _arm_renames(count: int, **deaths: Callable[[], None]) -> None:
    """Change both functions that give a file its final name; their calls are counted together."""
    calls = itertools.count(1)
    for function in (Path.replace, Path.hardlink_to):
        setattr(Path, function.__name__, _fatal(function, count, calls, **deaths))


def _fatal(
    function: Callable[..., Any],
    count: int,
    calls: Iterator[int],
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> Callable[..., Any]:
    """Wrap a function so that calls after the first `count` do something else before and after."""

    def fatal(*args: Any, **kwargs: Any) -> Any:
        is_late = next(calls) > count
        if is_late:
            before()
        result = function(*args, **kwargs)
        if is_late:
            after()
        return result

    return fatal


def make_clip(path: Path) -> None:
    """Write a clip of three shots that pan, 24x16, with a variable rate and sound."""
    from av.video.frame import VideoFrame

    from tests.video_files import write_video

    rng = np.random.default_rng(5)
    frames, steps = [], rng.choice([384, 512, 1024], size=sum(SHOT_LENGTHS))
    for length, color in zip(SHOT_LENGTHS, ((1, 0.5, 0.1), (0.1, 0.4, 1), (0.3, 1, 0.2)), strict=True):
        coarse = (rng.integers(0, 255, (30, 20, 1)) * color).astype(np.uint8)
        wide = coarse.repeat(4, axis=0).repeat(4, axis=1)
        for i in range(length):
            picture = np.ascontiguousarray(wide[i : i + 16, i // 2 : i // 2 + 24])
            frames.append(VideoFrame.from_ndarray(picture, format="rgb24"))
    pts = [0, *np.cumsum(steps).tolist()[:-1]]
    write_video(path, frames=frames, pts=pts, width=24, height=16, time_base=Fraction(1, 12800))


def main() -> None:
    """Parse the arguments and kill runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clip", type=Path, help="a video (default: one is made)")
    parser.add_argument("flags", nargs="*", help="more flags of vidx4 upscale, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = arguments.clip or folder / "clip.mp4"
        if arguments.clip is None:
            make_clip(clip)
        (folder / "out").mkdir()
        outcome = disturb(clip, folder / "out", arguments.kills, arguments.seed, [*FLAGS, *arguments.flags])
    kills = ", ".join(f"{count} at {moment}" for moment, count in sorted(outcome.kills.items()))
    print(f"{outcome.kills.total()} kills ({kills})")
    print(f"{outcome.num_finished} runs ended well, {outcome.num_equal} of them with an identical file")
    sys.exit(outcome.num_finished != outcome.num_equal)


if __name__ == "__main__":
    main()
