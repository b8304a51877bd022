"""Degrade pictures as old video is: by camera, DVD, VHS tape, web codecs or film, and by severity.

Strengths are such that in every kind the luma's median PSNR, against a clean reduction, is about
36 dB at a severity of 0.1, 32 at 0.25, 28.5 at 0.5, 26 at 0.75 and 24.5 at 1.
"""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from scripts.evaluate.clips import reduce_clean
from scripts.training.defects import (
    FROM_YUV,
    TO_YUV,
    blurred,
    flickering,
    moved,
    noise,
    resampled,
    rounded,
    sharpened,
    with_dropouts,
    with_dust,
    with_field_chroma,
    with_fields,
    with_film_grain,
)
from scripts.training.transcode import coded
from vidx4.frames import SCALE

KERNELS = [
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BILINEAR,
    Image.Resampling.BOX,
]
CAPTURE_CODECS = ["mpeg2video", "mpeg4", "libx264"]
WEB_CODECS = ["flv1", "mpeg4", "wmv1", "wmv2", "msmpeg4v2", "msmpeg4", "mpeg1video", "libvpx", "libx264"]


def degrade(frames: np.ndarray, kind: str, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Reduce frames four times as old video of a kind shows them.

    Args:
        frames: uint8, (T, H, W, 3); sides are multiples of 8.
        kind: one of `KINDS`.
        severity: strength of the damage, above 0, up to 1, in all kinds about alike; each defect is up to
            that strong, or absent, whatever the others are.
        rng: the generator whose state decides what is done.

    Returns:
        uint8, (T, H / 4, W / 4, 3); frame t shows frame t of the truth.
    """
    return _DEGRADATIONS[kind](frames, severity, rng)


def _camera(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Blur, grain, sharpening and a codec, in no special mix."""
    low_res = _reduced(frames, 0.7 * severity, 0.7, rng)
    if rng.random() < 0.08:
        low_res = with_fields(low_res, float(rng.choice([0.5, 1.0])))
    if rng.random() < 0.7:
        low_res = _grainy(low_res, 17 * _strength(severity, rng), rng)
    if rng.random() < 0.1:
        low_res = sharpened(low_res, 1.5 * _strength(severity, rng), 1, 1)
    if rng.random() < 0.85:
        codec = str(rng.choice(["mpeg2video", "mpeg4", "mjpeg", "libx264"], p=[0.35, 0.15, 0.15, 0.35]))
        low_res = coded(low_res, codec, _strength(severity, rng), rng)
    return low_res


def _dvd(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """A soft analogue source, sharpened at its edges, in MPEG-2; fields and their chroma badly joined."""
    low_res = _reduced(frames, 0.6 * severity, 0.7, rng)
    if rng.random() < 0.5:
        low_res = _grainy(low_res, 6 * _strength(severity, rng), rng)
    if rng.random() < 0.4:
        width, height = rng.uniform(0.8, 1.5), rng.uniform(0.1, 1)
        low_res = sharpened(low_res, 1.2 * _strength(severity, rng), width, height)
    low_res = coded(low_res, "mpeg2video", _strength(severity, rng), rng)
    if rng.random() < 0.25:
        low_res = with_field_chroma(low_res)
    if rng.random() < 0.3 * severity:
        share = float(rng.uniform(0.2, 0.4))
        odd, even = (share, share) if rng.random() < 0.5 else (2 * share, 0.0)
        low_res = with_fields(low_res, odd, even)
    return low_res


def _vhs(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """A narrow band for luma and a far narrower one for chroma, noise along lines; then captured."""
    low_res = _reduced(frames, 0.3 * severity, 0.5, rng)
    low_res = _taped(low_res, severity, rng)
    if rng.random() < 0.4:
        low_res = with_dropouts(low_res, 0.3 * _strength(severity, rng), rng)
    if rng.random() < 0.5:
        low_res = sharpened(low_res, 1.2 * _strength(severity, rng), rng.uniform(1, 2), 0)
    if rng.random() < 0.5:
        low_res = flickering(low_res, 0.04 * _strength(severity, rng), 0.9, rng)
    if rng.random() < 0.8:
        low_res = coded(low_res, str(rng.choice(CAPTURE_CODECS)), 0.7 * _strength(severity, rng), rng)
    return low_res


def _taped(low_res: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Pass frames through the two bands of a tape, with their noise, and lines that start unevenly."""
    yuv = low_res @ TO_YUV.T
    luma, chroma = yuv[..., :1], yuv[..., 1:]
    luma = blurred(luma, 1.3 * _strength(severity, rng), 0.3 * _strength(severity, rng))
    luma += 13 * _strength(severity, rng) ** 0.8 * noise(luma.shape, rng, rng.uniform(0.5, 1.5))
    chroma = blurred(chroma, 0.5 + 3.5 * _strength(severity, rng), 0.8 * _strength(severity, rng))
    chroma += 6 * _strength(severity, rng) * noise(chroma.shape, rng, rng.uniform(2, 5), rng.uniform(0.5, 2))
    lines = low_res.shape[:2]
    if rng.random() < 0.7:
        late = np.full(lines, rng.choice([-1, 1, 1]) * 3 * _strength(severity, rng))
        chroma = moved(chroma, late, float(rng.random() < 0.3 * severity))
    yuv = np.concatenate([luma, chroma], axis=-1)
    if rng.random() < 0.6:
        yuv = moved(yuv, 0.5 * _strength(severity, rng) * rng.standard_normal(lines))
    return rounded(yuv @ FROM_YUV.T)


def _web(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Codecs at low rates, now and then two in turn, or a size that was enlarged before."""
    low_res = _reduced(frames, 0.4 * severity, 0.5, rng)
    if rng.random() < 0.4 * severity:
        kernel = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
        low_res = resampled(low_res, 1.2 + 0.8 * _strength(severity, rng), kernel)
    codecs = rng.choice(WEB_CODECS, 1 if rng.random() < 0.75 else 2, replace=False)
    for codec in codecs:
        low_res = coded(low_res, str(codec), _strength(severity, rng), rng)
    return low_res


def _film(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Grain, softness, a flickering lamp and dust; then a light encoding."""
    low_res = _reduced(frames, 0.6 * severity, 0.7, rng)
    low_res = with_film_grain(low_res, 22 * _strength(severity, rng) ** 0.7, rng.uniform(0.4, 1), rng)
    if rng.random() < 0.5:
        low_res = flickering(low_res, 0.04 * _strength(severity, rng), 0, rng)
    if rng.random() < 0.3:
        low_res = with_dust(low_res, 0.3 * _strength(severity, rng), rng)
    if rng.random() < 0.6:
        low_res = coded(low_res, str(rng.choice(CAPTURE_CODECS)), 0.5 * _strength(severity, rng), rng)
    return low_res


_DEGRADATIONS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "camera": _camera,
    "dvd": _dvd,
    "vhs": _vhs,
    "web": _web,
    "film": _film,
}
KINDS: tuple[str, ...] = tuple(_DEGRADATIONS)
"""What old video is on; `camera` is a mix of what they have in common."""


def _strength(severity: float, rng: np.random.Generator) -> float:
    """Draw the strength of one defect: up to the severity, and most often near it."""
    return severity * (1 - 0.75 * float(rng.random()) ** 2)


def _reduced(frames: np.ndarray, sigma: float, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Reduce frames, blurred before by up to `sigma` pixels of low resolution with a probability."""
    if rng.random() < probability:
        strongest = SCALE * _strength(sigma, rng)
        across = strongest * (float(rng.uniform(0.4, 1)) if rng.random() < 0.3 else 1.0)
        frames = blurred(frames, *((strongest, across) if rng.random() < 0.5 else (across, strongest)))
    return reduce_clean(frames, KERNELS[rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])])


def _grainy(low_res: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    channels = 1 if rng.random() < 0.7 else 3
    size = float(rng.uniform(0, 0.8))
    return rounded(low_res + sigma * noise((*low_res.shape[:3], channels), rng, size, size))
