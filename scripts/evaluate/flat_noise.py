"""Noise on flat areas: walls and skies, where every eye sees it, and perceptual metrics hardly do."""

import cv2
import numpy as np

SIGMA = 3.0
"""Standard deviation of the blur that leaves no noise, in output pixels.

Grain of the source is four output pixels wide: a blur of 1.5 pixels would keep half of it.
"""
WINDOW = 17
"""Width of the window around a flat pixel: edges are far enough for their ringing not to count."""
FLAT_LEVELS = 1.5
"""Most standard deviation of the truth's high band within the window, in 8-bit levels."""
FLOOR = 0.3
"""Least deviation of the truth that results are compared with: about that of rounding, 1 / sqrt(12)."""
LEAST_SHARE = 0.01
"""Least share of flat pixels; with fewer there is nothing to measure."""


def flat_noise(planes: np.ndarray, truth: np.ndarray) -> float:
    """Return the noise of a result on flat areas over the truth's own; 1 is like the truth.

    The high band is luma minus luma blurred by a Gaussian of `SIGMA`. A pixel is flat if the standard
    deviation of the truth's high band in a window around it is below `FLAT_LEVELS`. Noise is the standard
    deviation of the high band over the flat pixels of all frames; the truth's counts as at least `FLOOR`, so
    that drawings, of which it may be 0, can be compared with.

    Args:
        planes: luma of the result, float32, (T, H, W).
        truth: luma of the truth, likewise.

    Returns:
        The ratio; NaN if less than `LEAST_SHARE` of the pixels are flat.
    """
    flat = flat_areas(truth)
    if flat.mean() < LEAST_SHARE:
        return float("nan")
    noise, true_noise = (float(_high_bands(each)[flat].std()) for each in (planes, truth))
    return noise / max(true_noise, FLOOR)


def flat_areas(truth: np.ndarray) -> np.ndarray:
    """Return which pixels are flat in the truth, luma, float32, (T, H, W) -> bool."""
    return np.stack([_local_deviation(band) < FLAT_LEVELS for band in _high_bands(truth)])


def _high_bands(planes: np.ndarray) -> np.ndarray:
    return np.stack([plane - cv2.GaussianBlur(plane, (0, 0), SIGMA) for plane in planes])


def _local_deviation(band: np.ndarray) -> np.ndarray:
    mean, square = (cv2.blur(each, (WINDOW, WINDOW)) for each in (band, band * band))
    deviation: np.ndarray = np.sqrt(np.maximum(square - mean * mean, 0))
    return deviation
