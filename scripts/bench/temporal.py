"""What reuse saves, and what keeping a shot consistent costs.

Reuse is measured on a cartoon on twos, on an object that moves over a still, and on a real clip; the cost of
consistency on the topology of sd-x4 with tiny random weights.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.bench.architecture import tiny_sd_x4, unet_operations, vae_operations
from scripts.bench.measure import matrix_rate, timed
from scripts.bench.pictures import HEIGHT, WIDTH, object_over_still, pan
from scripts.bench.tables import Row, write
from scripts.evaluate.metrics import psnr_y
from vidx4 import FrameBatch, Upscaler, probe
from vidx4.frames import Box
from vidx4.media.decode import read_frames
from vidx4.temporal.motion import Motion, estimate_motion
from vidx4.temporal.particles import MovingNoise
from vidx4.temporal.propagation import Link, Propagation
from vidx4.temporal.state import ShotState
from vidx4.temporal.warp import Warp

THRESHOLDS = 0.5, 1.0, 2.0
"""Values of `reuse_threshold`: mean differences from the last frame, in 8-bit levels."""
NUM_STEPS = 20
"""Steps that sd-x4 takes by default."""


@dataclass
class TimedShot:
    """A shot that an upscaler enlarges frame by frame, against the clock."""

    upscaler: Upscaler
    state: ShotState | None = None
    pictures: list[Tensor] = field(default_factory=list)
    total_seconds: float = 0.0
    num_reused: float = 0.0
    """Frames' worth of work that was reused."""

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
        """Seconds per frame."""
        return self.total_seconds / len(self.pictures)

    @property
    def share_reused(self) -> float:
        """Share of the work that was reused."""
        return self.num_reused / len(self.pictures)

    def psnr_y(self, exact: "TimedShot") -> float:
        """Return the PSNR-Y against another result of the same frames, in dB."""
        return psnr_y(*(torch.cat(shot.pictures) / 255 for shot in (self, exact)))


def run(arguments: argparse.Namespace) -> None:
    """Measure reuse and the cost of temporal consistency."""
    clip, num_frames = arguments.clip, arguments.frames
    tables = {
        "Reuse: `compact`, 320x240, one step (times faster than the first line)": reuse(num_frames),
        f"Reuse: `compact` on {clip.name} (times faster than off)": reuse_of_clip(clip, num_frames),
        "Cost: the topology of sd-x4, tiny, 320x240, 20 steps (share of the first line)": cost(),
    }
    write(arguments.out, "temporal", tables)


def reuse(num_frames: int) -> list[Row]:
    """Compare shots that change with every frame, every second or third one, in part, and not at all."""
    drawings = pan(num_frames)
    shots = {
        "every frame different": drawings,
        "a cartoon on twos": drawings[: num_frames // 2].repeat_interleave(2, dim=0),
        "a cartoon on threes": drawings[: num_frames // 3].repeat_interleave(3, dim=0),
        "a 24x24 object moves over a still": object_over_still(num_frames),
        "a freeze frame": drawings[:1].expand(num_frames, -1, -1, -1),
    }
    upscaler = Upscaler.load("compact", device="cpu")
    upscale(upscaler, drawings[:2])  # warms up
    timed_shots = {name: upscale(upscaler, frames) for name, frames in shots.items()}
    slowest = timed_shots["every frame different"].seconds
    return [
        Row(name, shot.seconds, slowest / shot.seconds, share_reused=shot.share_reused)
        for name, shot in timed_shots.items()
    ]


def reuse_of_clip(path: Path, num_frames: int) -> list[Row]:
    """Compare frames enlarged alone with frames that are tied together and reused, exactly and nearly."""
    with closing(read_frames(probe(path))) as decoded:
        frames = torch.stack([frame.data for frame in islice(decoded, num_frames)])
    options: dict[str, dict[str, Any]] = {
        "off": {"temporal": "off"},
        "moving": {},
        **{f"moving, reuse threshold {x:g}": {"reuse_threshold": x} for x in THRESHOLDS},
    }
    upscalers = [Upscaler.load("compact", device="cpu", **chosen) for chosen in options.values()]
    upscale(upscalers[0], frames[:1])  # warms up
    shots = dict(zip(options, upscale_interleaved(upscalers, frames), strict=True))
    off, exact = shots["off"], shots["moving"]
    return [
        Row(
            name,
            shot.seconds,
            off.seconds / shot.seconds,
            share_reused=shot.share_reused,
            psnr=shot.psnr_y(exact) if "reuse_threshold" in options[name] else None,
        )
        for name, shot in shots.items()
    ]


def cost() -> list[Row]:
    """Compare denoising alone with what ties frames together, piece by piece."""
    frames = pan(4)
    with tempfile.TemporaryDirectory() as folder:
        tiny_sd_x4().save_model(Path(folder))
        alone = Upscaler.load(folder, device="cpu", temporal="off")
        tied = Upscaler.load(folder, device="cpu", temporal="moving")
        upscale(alone, frames[:1])  # warms up
        denoising, whole = (shot.seconds for shot in upscale_interleaved([alone, tied], frames))
        pieces = dict(_pieces(tied, frames))
    rows = [Row("off: denoising and decoding", denoising, 1.0), Row("moving, all", whole, whole / denoising)]
    rows += [Row(f"  {name}", seconds, seconds / denoising) for name, seconds in pieces.items()]
    operations = NUM_STEPS * unet_operations(WIDTH, HEIGHT) + vae_operations(WIDTH, HEIGHT)
    # What ties frames together costs the same at real size, where the networks take far longer.
    share = sum(pieces.values()) * matrix_rate() / operations
    rows.append(Row("at real size, by operations: at most", sum(pieces.values()), share))
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


def upscale(upscaler: Upscaler, frames: Tensor) -> TimedShot:
    """Enlarge a shot frame by frame."""
    return upscale_interleaved([upscaler], frames)[0]


def upscale_interleaved(upscalers: Sequence[Upscaler], frames: Tensor) -> list[TimedShot]:
    """Enlarge each frame of a shot with one upscaler after the other.

    So a machine that is slow for a while is slow for all of them.
    """
    shots = [TimedShot(upscaler) for upscaler in upscalers]
    for frame in frames:
        for shot in shots:
            shot.add(frame)
    return shots
