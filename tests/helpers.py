"""Helpers of several tests: an upscaler without a model, comparisons, and jobs that are stopped."""

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from torch import Tensor

from vidx4.diffusion.models.networks.compact_denoiser import HIDDEN_CHANNELS
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import StoppedError
from vidx4.frames import FrameBatch
from vidx4.jobs.job import Job
from vidx4.jobs.part_record import Part
from vidx4.jobs.progress import Control
from vidx4.jobs.run import run
from vidx4.jobs.stop import Stop
from vidx4.media.decode import read_frames
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.video import WHOLE, Source, TimeRange

Load = Callable[..., Upscaler]
"""Loads one of the models with options; by default two steps, in float32, on the CPU."""


def load_with_hidden_state(**options: Any) -> Upscaler:
    """Load the bundled model with random weights for its hidden state, so that it shows in the picture."""
    upscaler = Upscaler.load("compact", device="cpu", **options)
    unet = upscaler.components.unet
    weights = (unet.conv_in.weight[:, -HIDDEN_CHANNELS:], 0.02), (unet.conv_hidden.weight, 1.0)
    generator = torch.Generator().manual_seed(6)
    for weight, std in weights:
        weight.copy_(std * torch.randn(weight.shape, generator=generator))
    return upscaler


def read_all(source: Source, span: TimeRange = WHOLE) -> FrameBatch:
    """Return all frames of a span as one batch."""
    return FrameBatch.of(list(read_frames(source, span)))


def nearest(batch: FrameBatch) -> FrameBatch:
    """Enlarge frames four times by repeating pixels."""
    pixels = batch.data.numpy().repeat(4, axis=2).repeat(4, axis=3)
    return FrameBatch(torch.from_numpy(pixels), batch.pts)


def upscale_nearest(batch: FrameBatch, state: ShotState | None) -> Upscaled:
    """Enlarge frames as a job expects of an upscaler, without a model."""
    return Upscaled(nearest(batch), state)


def psnr(a: Tensor, b: Tensor) -> float:
    """Return the peak signal-to-noise ratio of two tensors of one type, in decibels."""
    peak = torch.iinfo(a.dtype).max
    error = ((a.double() - b.double()) / peak).square().mean()
    return float(-10 * error.log10())


def packets(path: Path, index: int) -> list[tuple[Fraction, Fraction, bytes]]:
    """Return the seconds of pts and dts, and the payload, of each packet of a stream."""
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, packet.dts * packet.time_base, bytes(packet))
            for packet in container.demux(container.streams[index])
            if packet.pts is not None and packet.dts is not None
        ]


def check_same(path: Path, expected: bytes) -> None:
    """Check that a video has given bytes; if not, tell which frames differ, in place of the bytes."""
    content = path.read_bytes()
    if content == expected:
        return
    frames, others = _decoded(content), _decoded(expected)
    differing = {
        number: int(np.abs(frame.astype(int) - other).max())
        for number, (frame, other) in enumerate(zip(frames, others, strict=False))
        if not np.array_equal(frame, other)
    }
    raise AssertionError(
        f"{path.name}: {len(content)} bytes and {len(frames)} frames, not {len(expected)} and {len(others)}; "
        f"greatest difference by frame: {differing}"
    )


def _decoded(content: bytes) -> list[np.ndarray]:
    with av.open(BytesIO(content), "r") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def as_frames(pixels: Tensor) -> list[VideoFrame]:
    """Return RGB pictures, (N, 3, H, W), as frames for an encoder."""
    return [VideoFrame.from_ndarray(frame.permute(1, 2, 0).numpy(), format="rgb24") for frame in pixels]


def stop_after(job: Job, num_parts: int) -> list[Part]:
    """Run a job until it has made so many parts, then stop it; return the parts."""
    parts: list[Part] = []
    stop = Stop()

    def on_part(part: Part) -> None:
        parts.append(part)
        if len(parts) == num_parts:
            stop.set()

    try:
        run(job, Control(on_part=on_part, stop=stop))
    except StoppedError:
        return parts
    raise AssertionError("The job ended before it was stopped.")
