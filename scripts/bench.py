"""Measure what things cost: ratios within one run, as JSON and Markdown.

python scripts/bench.py temporal [--clip VIDEO] [--out FOLDER]
python scripts/bench.py compact [--out FOLDER]

`temporal`: what reuse saves (a cartoon on twos, an object that moves over a still, a real clip), and what
holding frames together costs on the topology of sd-x4 with tiny random weights.

`compact`: the bundled model against those that people use today, at three sizes; `methods.py` says where they
come from.
"""

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import methods
from metrics import psnr_y
from vidx4 import FrameBatch, Upscaler, probe
from vidx4.media.decode import read_batches
from vidx4.temporal.motion import Motion, estimate_motion
from vidx4.temporal.particles import MovingNoise
from vidx4.temporal.propagation import Link, Propagation
from vidx4.temporal.state import ShotState
from vidx4.temporal.warp import Warp
from vidx4.video import Box

ROOT = Path(__file__).parent.parent

WIDTH, HEIGHT = 320, 240
UNET_OPERATIONS, VAE_OPERATIONS = 5.312e12, 24.009e12
"""Of sd-x4 for one 320x240 frame, per step and per frame, two per multiply-add, counted on its layers."""

THRESHOLDS = 0.5, 1.0, 2.0
"""Mean differences from the last frame, in 8-bit levels."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    what: str
    seconds: float
    """Per frame."""
    ratio: float
    """To the line that it is compared with, which has 1."""
    share_reused: float | None = None
    psnr: float | None = None
    """PSNR-Y of the pictures, in dB, against those of exact reuse."""
    peak_memory: int | None = None
    """Of the process, in bytes."""


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "seconds": ("seconds a frame", "{:.3f}".format),
    "ratio": ("ratio", "{:.3g}".format),
    "share_reused": ("reused", "{:.0%}".format),
    "psnr": ("PSNR-Y (dB)", "{:.1f}".format),
    "peak_memory": ("peak MiB", lambda size: f"{size / 2**20:.0f}"),
}
"""Field of a row: its heading, and how it is written; a table has those that any of its rows has."""


@dataclass
class Shot:
    """A shot on its way through an upscaler, frame by frame."""

    upscaler: Upscaler
    state: ShotState | None = None
    pictures: list[Tensor] = field(default_factory=list)
    total_seconds: float = 0.0
    num_reused: float = 0.0

    def add(self, frame: Tensor) -> None:
        """Enlarge the next frame, (3, H, W)."""
        start = time.perf_counter()
        upscaled = self.upscaler(FrameBatch(frame[None], pts=(len(self.pictures),)), self.state)
        self.total_seconds += time.perf_counter() - start
        self.state = upscaled.state
        self.num_reused += upscaled.num_reused
        self.pictures.append(upscaled.batch.data)

    @property
    def seconds(self) -> float:
        """Per frame."""
        return self.total_seconds / len(self.pictures)

    @property
    def share_reused(self) -> float:
        """Of the work."""
        return self.num_reused / len(self.pictures)

    def psnr_y(self, exact: "Shot") -> float:
        """Return the PSNR-Y against another result of the same frames, in dB."""
        return psnr_y(*(torch.cat(shot.pictures) / 255 for shot in (self, exact)))


def bench_temporal(arguments: argparse.Namespace) -> None:
    """Measure reuse and the cost of temporal consistency."""
    tables = {
        "Reuse: `compact`, 320x240, one step (times faster than the first line)": reuse(arguments.frames),
        f"Reuse: `compact` on {arguments.clip.name} (times faster than off)": reuse_of_clip(
            arguments.clip, arguments.frames
        ),
        "Cost: the topology of sd-x4, tiny, 320x240, 20 steps (share of the first line)": cost(),
    }
    write(arguments.out, "temporal", tables)


def reuse(num_frames: int) -> list[Row]:
    """Compare drawings that change with every frame, with every second, and an object over a still."""
    drawings = pan(num_frames)
    shots = {
        "every frame another": drawings,
        "a cartoon on twos": drawings[: num_frames // 2].repeat_interleave(2, dim=0),
        "a cartoon on threes": drawings[: num_frames // 3].repeat_interleave(3, dim=0),
        "a 24x24 object moves over a still": object_over_still(num_frames),
        "a freeze frame": drawings[:1].expand(num_frames, -1, -1, -1),
    }
    upscaler = Upscaler.load("compact", device="cpu")
    upscale(upscaler, drawings[:2])  # warms up
    done = {what: upscale(upscaler, frames) for what, frames in shots.items()}
    slowest = done["every frame another"].seconds
    return [Row(what, shot.seconds, slowest / shot.seconds, shot.share_reused) for what, shot in done.items()]


def reuse_of_clip(path: Path, num_frames: int) -> list[Row]:
    """Compare frames each on its own with such that are tied together and reused, exactly and nearly."""
    batches = read_batches(probe(path), 1)
    frames = torch.cat([batch.data for batch in islice(batches, num_frames)])
    batches.close()
    options: dict[str, dict[str, Any]] = {
        "off": {"temporal": "off"},
        "moving": {},
        **{f"moving, reuse threshold {x:g}": {"reuse_threshold": x} for x in THRESHOLDS},
    }
    upscalers = [Upscaler.load("compact", device="cpu", **chosen) for chosen in options.values()]
    upscale(upscalers[0], frames[:1])  # warms up
    shots = dict(zip(options, upscale_alike(upscalers, frames), strict=True))
    off, exact = shots["off"], shots["moving"]
    return [
        Row(
            what,
            shot.seconds,
            off.seconds / shot.seconds,
            shot.share_reused,
            shot.psnr_y(exact) if "reuse_threshold" in options[what] else None,
        )
        for what, shot in shots.items()
    ]


def cost() -> list[Row]:
    """Compare denoising alone with what ties frames together, piece by piece."""
    sys.path.insert(0, str(ROOT))
    from tests import sd_x4  # not above: the processes of `bench_compact` import this file, too

    frames = pan(4)
    with tempfile.TemporaryDirectory() as folder:
        sd_x4.save_model(Path(folder))
        alone = Upscaler.load(folder, device="cpu", temporal="off")
        tied = Upscaler.load(folder, device="cpu", temporal="moving")
        upscale(alone, frames[:1])
        denoising, whole = (shot.seconds for shot in upscale_alike([alone, tied], frames))
        pieces = dict(_pieces(tied, frames))
    rows = [Row("off: denoising and decoding", denoising, 1.0), Row("moving, all", whole, whole / denoising)]
    rows += [Row(f"  {what}", seconds, seconds / denoising) for what, seconds in pieces.items()]
    rate = matrix_rate()
    operations = 20 * UNET_OPERATIONS + VAE_OPERATIONS
    most = sum(pieces.values()) * rate
    rows.append(Row("at real size, by operations: at most", sum(pieces.values()), most / operations))
    return rows


def _pieces(upscaler: Upscaler, frames: Tensor) -> Iterator[tuple[str, float]]:
    last, frame = frames[0], frames[1]
    unchanged = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    motion = estimate_motion(last, frame, unchanged)
    yield "motion, both directions", timed(lambda: estimate_motion(last, frame, unchanged))
    specs = upscaler.components.noise_specs(upscaler.settings.num_inference_steps)
    moving = MovingNoise(0, specs, HEIGHT, WIDTH)
    particles = moving.start()
    yield "noise, moved and counted", timed(lambda: moving.fields(moving.move(particles, motion, 1)))
    latents = torch.randn(1, 4, HEIGHT, WIDTH)
    yield "propagation, per tied step", timed(lambda: _propagate(motion, latents))


def _propagate(motion: Motion, latents: Tensor) -> Tensor:
    link = Link(Box(0, HEIGHT, 0, WIDTH), Warp.of(motion, 1, torch.device("cpu")))
    return Propagation({0: 0.2}, 1, latents, [link])(0, latents)


SIZES = (160, 120), (320, 240), (640, 480)
YARDSTICK = "animevideov3"
FAST = YARDSTICK, "span", "compact", "compact temporal=off", "compact steps=4"
SLOW = "x4plus"
"""It is given one frame only, and no time to warm up, of which it needs little beside its own."""


def bench_compact(arguments: argparse.Namespace) -> None:
    """Measure the bundled model against others, each in a process of its own."""
    tables = {
        f"{width}x{height} (times faster than {YARDSTICK})": against_others(width, height, arguments.frames)
        for width, height in SIZES
    }
    write(arguments.out, "compact", tables)


def against_others(width: int, height: int, num_frames: int) -> list[Row]:
    """Compare what a frame of a pan takes."""
    frames = pan(num_frames, width, height).permute(0, 2, 3, 1).numpy()
    done = {method: methods.run(method, [frames[:2], *REPEATS * [frames]]) for method in FAST}
    seconds = {method: min(each.seconds[1:]) for method, each in done.items()}
    done[SLOW] = methods.run(SLOW, [frames[:1]])
    seconds[SLOW] = done[SLOW].seconds[0]
    return [
        Row(method, seconds[method], seconds[YARDSTICK] / seconds[method], peak_memory=each.peak_memory)
        for method, each in done.items()
    ]


REPEATS = 3


def timed(function: Callable[[], object], repeats: int = 5) -> float:
    """Return the median seconds of a call."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def upscale(upscaler: Upscaler, frames: Tensor) -> Shot:
    """Enlarge a shot frame by frame."""
    return upscale_alike([upscaler], frames)[0]


def upscale_alike(upscalers: Sequence[Upscaler], frames: Tensor) -> list[Shot]:
    """Enlarge a shot frame by frame, each with one upscaler after the other.

    Where the machine is slower for a while, it is so for all of them.
    """
    shots = [Shot(upscaler) for upscaler in upscalers]
    for frame in frames:
        for shot in shots:
            shot.add(frame)
    return shots


def matrix_rate(side: int = 2048) -> float:
    """Return the operations per second of a float32 matrix product."""
    a = torch.rand(side, side)
    return 2 * side**3 / timed(lambda: a @ a)


def photo(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a photograph twice as wide and high as a frame."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as picture:
        return np.array(picture.convert("RGB").resize((2 * width, 2 * height), Image.Resampling.LANCZOS))


def pan(num_frames: int, width: int = WIDTH, height: int = HEIGHT) -> Tensor:
    """Return frames that look at another part of a photograph each, (N, 3, H, W)."""
    picture = photo(width, height)
    places = [(3 * i % height, 5 * i % width) for i in range(num_frames)]
    return to_frames([picture[top : top + height, left : left + width] for top, left in places])


def object_over_still(num_frames: int) -> Tensor:
    """Return frames in which a piece of a photograph moves over another part of it."""
    picture = photo()
    frames = [picture[:HEIGHT, :WIDTH].copy() for _ in range(num_frames)]
    for i, frame in enumerate(frames):
        left = 20 + 5 * i % (WIDTH - 44)
        frame[100:124, left : left + 24] = picture[300:324, 300:324]
    return to_frames(frames)


def to_frames(pictures: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def write(out: Path, part: str, tables: dict[str, list[Row]]) -> None:
    """Write the tables as JSON and Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    machine = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }
    record = machine | {"tables": tables}
    (out / f"bench_{part}.json").write_text(json.dumps(record, default=asdict, indent=2) + "\n")
    text = "\n".join(markdown(heading, rows) for heading, rows in tables.items())
    (out / f"bench_{part}.md").write_text(text)
    print(text, end="")


def markdown(heading: str, rows: list[Row]) -> str:
    columns = {key: how for key, how in COLUMNS.items() if any(getattr(row, key) is not None for row in rows)}
    names = " | ".join(name for name, _ in columns.values())
    lines = [f"{heading}\n", f"| | {names} |", "|---" + "|--:" * len(columns) + "|"]
    for row in rows:
        cells = [_cell(getattr(row, key), write) for key, (_, write) in columns.items()]
        lines.append(f"| {row.what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, write: Callable[[Any], str]) -> str:
    return "" if value is None else write(value)


def main() -> None:
    """Parse the arguments and run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    temporal = commands.add_parser("temporal", help="what reuse saves, and what consistency costs")
    temporal.set_defaults(run=bench_temporal)
    temporal.add_argument("--frames", type=int, default=24)
    temporal.add_argument("--clip", type=Path, default=ROOT / "samples" / "nasa.mp4")
    temporal.add_argument("--out", type=Path, default=Path("evaluation"))
    compact = commands.add_parser("compact", help="the bundled model against others")
    compact.set_defaults(run=bench_compact)
    compact.add_argument("--frames", type=int, default=6)
    compact.add_argument("--out", type=Path, default=Path("evaluation"))
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
