"""Single defects of old pictures: softness, noise, halos, fields, bleeding colours, dropouts, dust.

Frames are uint8, (T, H, W, 3). `sigma` of blur is in pixels; `sigma` of noise is in 8-bit levels.
"""

import cv2
import numpy as np

TO_YUV = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)
"""Luma and colour differences of BT.601, from RGB; columns of the inverse are what they add to RGB."""
FROM_YUV = np.linalg.inv(TO_YUV)


def blurred(frames: np.ndarray, sigma_x: float, sigma_y: float) -> np.ndarray:
    """Blur frames of any type and number of channels, (T, H, W, C)."""
    x, y = max(sigma_x, 0.05), max(sigma_y, 0.05)
    soft = (cv2.GaussianBlur(frame, (0, 0), sigmaX=x, sigmaY=y) for frame in frames)
    # OpenCV drops the axis of a single channel.
    return np.stack(list(soft)).reshape(frames.shape)


def resampled(frames: np.ndarray, factor: float, kernel: int) -> np.ndarray:
    """Reduce frames by a factor and enlarge them again."""
    height, width = frames.shape[1:3]
    small = (round(width / factor), round(height / factor))
    reduced = (cv2.resize(frame, small, interpolation=cv2.INTER_AREA) for frame in frames)
    return np.stack([cv2.resize(frame, (width, height), interpolation=kernel) for frame in reduced])


def noise(
    shape: tuple[int, ...], rng: np.random.Generator, sigma_x: float = 0, sigma_y: float = 0
) -> np.ndarray:
    """Return noise of unit variance, new in every frame, blurred to grains; float32, (T, H, W, C)."""
    grain = rng.standard_normal(shape, np.float32)
    if max(sigma_x, sigma_y) <= 0.3:
        return grain
    grain = blurred(grain, sigma_x, sigma_y)
    unit: np.ndarray = grain / grain.std()
    return unit


def with_film_grain(frames: np.ndarray, sigma: float, size: float, rng: np.random.Generator) -> np.ndarray:
    """Add grain that is strongest in mid-tones; of its colour there is little."""
    luma = (frames @ TO_YUV[0])[..., None] / 255
    grain = noise((*frames.shape[:3], 1), rng, size, size) + 0.3 * noise(frames.shape, rng, size, size)
    return rounded(frames + sigma * (0.35 + 2.6 * luma * (1 - luma)) * grain)


def with_fields(frames: np.ndarray, odd: float, even: float = 0) -> np.ndarray:
    """Mix lines with those of the next frame, as fields are: combs, or ghosts if both are.

    Args:
        frames: uint8, (T, H, W, 3).
        odd: share of the next frame in every second line; 1 replaces it.
        even: its share in the other lines.
    """
    mixed = frames.astype(np.float32)
    change = np.concatenate([mixed[1:], mixed[-1:]]) - mixed
    mixed[:, ::2] += even * change[:, ::2]
    mixed[:, 1::2] += odd * change[:, 1::2]
    return rounded(mixed)


def sharpened(frames: np.ndarray, amount: float, sigma_x: float, sigma_y: float) -> np.ndarray:
    """Sharpen frames, which leaves halos along edges."""
    values = frames.astype(np.float32)
    return rounded(values + amount * (values - blurred(values, sigma_x, sigma_y)))


def with_field_chroma(frames: np.ndarray) -> np.ndarray:
    """Enlarge chroma of 4:2:0 as if its lines were two fields': diagonal edges of colours get teeth."""
    yuv = frames @ TO_YUV.T
    chroma = (yuv[:, ::2, :, 1:] + yuv[:, 1::2, :, 1:]) / 2
    line = np.arange(yuv.shape[1])
    yuv[..., 1:] = chroma[:, np.minimum(line // 4 * 2 + line % 2, chroma.shape[1] - 1)]
    return rounded(yuv @ FROM_YUV.T)


def moved(lines: np.ndarray, x: np.ndarray, y: float = 0) -> np.ndarray:
    """Move the lines of frames sideways, float32, (T, H, W, C); `x` is in pixels, (T, H)."""
    height, width = lines.shape[1:3]
    places_x, places_y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack(
        [
            cv2.remap(
                frame,
                places_x - shift[:, None].astype(np.float32),
                places_y - np.float32(y),
                cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            ).reshape(frame.shape)
            for frame, shift in zip(lines, x, strict=True)
        ]
    )


def with_dropouts(frames: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Draw streaks along lines where the tape lost its signal; `rate` is their number per 1000 pixels."""
    damaged = frames.copy()
    num_frames, height, width = frames.shape[:3]
    for _ in range(rng.poisson(rate * frames[..., 0].size / 1000)):
        time, y, x = (int(rng.integers(side)) for side in (num_frames, height, width))
        streak = damaged[time, y, x : x + 3 + int(rng.exponential(7))].astype(np.float32)
        level = 235 if rng.random() < 0.7 else 20
        fading = np.linspace(0.9, float(rng.uniform(0.1, 0.9)), len(streak))[:, None]
        damaged[time, y, x : x + len(streak)] = rounded(streak + fading * (level - streak))
    return damaged


def with_dust(frames: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Draw specks, each in one frame; `rate` is their number per 1000 pixels."""
    damaged = frames.astype(np.float32)
    num_frames, height, width = frames.shape[:3]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(rng.poisson(rate * frames[..., 0].size / 1000)):
        frame = damaged[int(rng.integers(num_frames))]
        angle, radii = (
            rng.uniform(0, np.pi),
            rng.uniform(0.5, 1.4, 2) * (1, rng.choice([1, 2.5], p=[0.8, 0.2])),
        )
        dx, dy = x - np.float32(rng.uniform(0, width)), y - np.float32(rng.uniform(0, height))
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        cover = np.clip(1.5 - np.hypot(along / radii[1], across / radii[0]), 0, 0.9)[..., None]
        frame += cover * ((245.0 if rng.random() < 0.6 else 15.0) - frame)
    return rounded(damaged)


def flickering(frames: np.ndarray, amount: float, inertia: float, rng: np.random.Generator) -> np.ndarray:
    """Change the gain from frame to frame.

    Args:
        frames: uint8, (T, H, W, 3).
        amount: standard deviation of the gain.
        inertia: 0 if the gain is new in every frame, near 1 if it drifts.
        rng: the generator whose state decides the gains.
    """
    gains = rng.standard_normal(len(frames))
    for time in range(1, len(gains)):
        gains[time] = inertia * gains[time - 1] + np.sqrt(1 - inertia**2) * gains[time]
    return rounded(frames * (1 + amount * gains.astype(np.float32)[:, None, None, None]))


def rounded(values: np.ndarray) -> np.ndarray:
    """Return values as pixels, uint8."""
    pixels: np.ndarray = values.round().clip(0, 255).astype(np.uint8)
    return pixels
