"""Estimate the noise level of a film or a picture before it is enlarged."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from vidx4.diffusion.models.noise_level import estimate_noise_level
from vidx4.diffusion.options import ESTIMATE, AutoLevel, UpscaleOptions
from vidx4.jobs.identity import Identity
from vidx4.jobs.moments import choose_moments, read_moments
from vidx4.video import Source

NUM_MOMENTS = 8
"""Frames that a film is judged by."""


def with_estimate(options: UpscaleOptions, source: Source, frames: range, known: Identity) -> UpscaleOptions:
    """Return options whose noise level is known.

    Args:
        options: options whose noise level may be left to an estimate.
        source: the film.
        frames: the frames that will be enlarged.
        known: the identity of an earlier job with the same source, whose estimate holds.

    Raises:
        SourceError: no frame can be decoded.
    """

    def estimate() -> int:
        earlier = known.get(ESTIMATE)
        return earlier if isinstance(earlier, int) else estimate_film(source, frames)

    return estimated(options, estimate)


def with_estimate_of_picture(
    options: UpscaleOptions, pixels: NDArray[np.uint8 | np.uint16]
) -> UpscaleOptions:
    """Return options whose noise level is known for a still picture, (H, W, 1 or 3)."""
    picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1).expand(3, -1, -1)
    return estimated(options, lambda: estimate_noise_level([picture]))


def estimated(options: UpscaleOptions, estimate: Callable[[], int]) -> UpscaleOptions:
    """Return options with an estimate of the noise level, if they leave it to one."""
    level = options.noise_level
    if not isinstance(level, AutoLevel) or level.estimate is not None:
        return options
    return replace(options, noise_level=replace(level, estimate=estimate()))


def estimate_film(source: Source, frames: range | None = None) -> int:
    """Estimate the noise level of a film by its sharpest frames.

    Args:
        source: the film.
        frames: the frames to judge it by; None for all.

    Raises:
        SourceError: no frame can be decoded.
    """
    moments = choose_moments(source, NUM_MOMENTS, frames)
    return estimate_noise_level(frame.data for frame in read_moments(source, moments))
