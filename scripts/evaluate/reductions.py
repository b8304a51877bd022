"""Ways from the truth to the input: a clean reduction, and several kinds of old material.

The kinds of damage have fixed parameters of moderate severity. They share no code with the degradations of
training, so that results on them show what a model does with material that it was not made for. Everything is
deterministic: random fields have fixed seeds, and encoders run in one thread.
"""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from scripts.evaluate.clips import reduce_clean
from scripts.evaluate.codecs import bits_per_pixel, constant_rate, quantizer, transcode

Reduce = Callable[[np.ndarray], np.ndarray]
"""Frames of the truth, uint8, (T, H, W, 3) -> the input of the methods, (T, H / 4, W / 4, 3)."""

VHS_LUMA_SIGMA, VHS_CHROMA_SIGMA = 0.8, 2.5
"""Horizontal blurs, in low-resolution pixels: a tape keeps 240 lines of luma and 40 of chroma."""
VHS_CHROMA_SHIFT = 1.0, 0.5
"""Shift of chroma to the right and down, in low-resolution pixels."""
VHS_DROPOUTS_PER_FRAME = 0.4


def reduce_old(frames: np.ndarray) -> np.ndarray:
    """Reduce frames as a soft lens, grainy film and MPEG-2 at a low rate would; for older results."""
    low_res = _soft(frames, 1.5)
    grain = np.random.default_rng(0).normal(0, 3.0, (*low_res.shape[:3], 1))
    return transcode(_to_pixels(low_res + grain), "mpeg2video", bits_per_pixel(1.5))


def reduce_dvd(frames: np.ndarray) -> np.ndarray:
    """Reduce frames like a DVD: a sharpened transfer with mild grain, less chroma, MPEG-2 with B-frames."""
    low_res = _soft(frames, 1.2)
    low_res = low_res + np.random.default_rng(1).normal(0, 2.0, (*low_res.shape[:3], 1))
    low_res += 0.6 * (low_res - _blurred(low_res, 1.0, 1.0))
    luma, chroma = _split(low_res)
    height, width = chroma.shape[1:3]
    fields = np.stack(
        [cv2.resize(each, (width, height // 2), interpolation=cv2.INTER_AREA) for each in chroma]
    )
    chroma = np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_LINEAR) for each in fields])
    return transcode(_to_pixels(_joined(luma, chroma)), "mpeg2video", bits_per_pixel(1.2), num_b_frames=2)


def reduce_vhs(frames: np.ndarray) -> np.ndarray:
    """Reduce frames like a tape: little bandwidth, sharpened, noise along lines, dropouts, then MPEG-4."""
    rng = np.random.default_rng(2)
    luma, chroma = _split(_soft(frames, 0.8))
    luma = _blurred(luma, VHS_LUMA_SIGMA, 0)
    luma += 0.5 * (luma - _blurred(luma, 1.5, 0))
    luma += _noise(rng, luma.shape, 3.0, 1.5, 0) + rng.normal(0, 0.8, luma.shape[:2])[..., None]
    chroma = np.stack([_shifted(each, *VHS_CHROMA_SHIFT) for each in _blurred(chroma, VHS_CHROMA_SIGMA, 0.7)])
    chroma += np.stack([_noise(rng, luma.shape, 2.5, 4.0, 0.7) for _ in range(2)], axis=-1)
    _drop_out(luma, rng)
    return transcode(_to_pixels(_joined(luma, chroma)), "mpeg4", quantizer(5))


def reduce_web(frames: np.ndarray) -> np.ndarray:
    """Reduce frames like an early web video: too small and enlarged, Sorenson's H.263, encoded once more."""
    low_res = reduce_clean(frames)
    height, width = low_res.shape[1:3]
    small = width // 3 * 2, height // 3 * 2
    resized = [
        Image.fromarray(frame)
        .resize(small, Image.Resampling.BICUBIC)
        .resize((width, height), Image.Resampling.BILINEAR)
        for frame in low_res
    ]
    first = transcode(np.stack([np.asarray(frame) for frame in resized]), "flv", quantizer(5))
    return transcode(first, "libx264", constant_rate(26))


def reduce_film(frames: np.ndarray) -> np.ndarray:
    """Reduce frames like a scanned film: soft, with coarse grain, most of it in the middle tones; H.264."""
    rng = np.random.default_rng(3)
    low_res = _soft(frames, 1.8)
    luma, _ = _split(low_res)
    shade = (luma / 255).clip(0, 1)
    strength = 0.35 + 0.65 * 4 * shade * (1 - shade)
    common = _noise(rng, luma.shape, 4.0, 0.8, 0.8)
    of_layers = [_noise(rng, luma.shape, 2.0, 0.8, 0.8) for _ in range(3)]
    grain = np.stack([strength * (common + each) for each in of_layers], axis=-1)
    return transcode(_to_pixels(low_res + grain), "libx264", constant_rate(20))


REDUCTIONS: dict[str, Reduce] = {
    "clean": reduce_clean,
    "old": reduce_old,
    "dvd": reduce_dvd,
    "vhs": reduce_vhs,
    "web": reduce_web,
    "film": reduce_film,
}
KINDS_OF_OLD = ("dvd", "vhs", "web", "film")
"""Reductions whose mean stands for old material; `old` remains to be compared with older results."""


def _soft(frames: np.ndarray, sigma: float) -> np.ndarray:
    """Blur frames as a lens does, by so many pixels of the truth, and reduce them; float32."""
    blurred = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])
    return reduce_clean(blurred).astype(np.float32)


def _blurred(planes: np.ndarray, sigma_x: float, sigma_y: float) -> np.ndarray:
    """Blur each frame, (T, H, W, ...); a sigma of 0 leaves that direction alone."""
    kernels = [cv2.getGaussianKernel(1 + 2 * round(4 * sigma), sigma or 1) for sigma in (sigma_x, sigma_y)]
    return np.stack([cv2.sepFilter2D(plane, -1, kernels[0], kernels[1]) for plane in planes])


def _noise(
    rng: np.random.Generator, shape: tuple[int, ...], deviation: float, sigma_x: float, sigma_y: float
) -> np.ndarray:
    """Draw noise of a standard deviation in 8-bit levels that is correlated in space, (T, H, W)."""
    noise = _blurred(rng.standard_normal(shape, np.float32), sigma_x, sigma_y)
    noise *= deviation / noise.std()
    return noise


def _split(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split RGB, float32, (T, H, W, 3), into full-range luma and two channels of chroma around 0."""
    luma = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    return luma, np.stack([rgb[..., 2] - luma, rgb[..., 0] - luma], axis=-1)


def _joined(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    blue, red = luma + chroma[..., 0], luma + chroma[..., 1]
    return np.stack([red, (luma - 0.299 * red - 0.114 * blue) / 0.587, blue], axis=-1)


def _shifted(plane: np.ndarray, right: float, down: float) -> np.ndarray:
    """Shift a frame, (H, W, C), by parts of pixels."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    moved: np.ndarray = cv2.warpAffine(plane, matrix, plane.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return moved


def _drop_out(luma: np.ndarray, rng: np.random.Generator) -> None:
    """Overwrite short pieces of lines with near-white, as where a tape has lost its coating."""
    height, width = luma.shape[1:]
    for frame in luma:
        for _ in range(rng.poisson(VHS_DROPOUTS_PER_FRAME)):
            row, left = rng.integers(height), rng.integers(width)
            frame[row, left : left + rng.integers(6, width // 5)] = rng.uniform(170, 235)


def _to_pixels(frames: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = frames.round().clip(0, 255).astype(np.uint8)
    return pixels
