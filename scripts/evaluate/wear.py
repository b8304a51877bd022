"""What old material has over all its shots: grain, tape noise, coding, mixed fields, bars, marks, fading."""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np

from scripts.evaluate.codecs import bits_per_pixel, quantizer, transcode
from scripts.evaluate.shots import HEIGHT, WIDTH, Frames

Style = Callable[[Frames, np.random.Generator], Frames]
"""Frames, RGB, uint8, (HEIGHT, WIDTH, 3) each -> as many of that size."""


def _clean(frames: Frames, rng: np.random.Generator) -> Frames:
    return frames


def _black_and_white(frames: Frames, rng: np.random.Generator) -> Frames:
    tint = rng.uniform(0.92, 1.0, 3)
    gain = 1 + np.cumsum(rng.normal(0, 0.01, len(frames))).clip(-0.1, 0.1) + rng.normal(0, 0.02, len(frames))
    grays = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    return _grained(
        [_pixels(gray[..., None] * tint * each) for gray, each in zip(grays, gain, strict=True)], rng, 5.0
    )


def _night(frames: Frames, rng: np.random.Generator) -> Frames:
    gain, power = rng.uniform(0.12, 0.45), rng.uniform(1.0, 1.6)
    return _grained([_pixels(gain * 255 * (frame / 255) ** power + 4) for frame in frames], rng, 2.5)


def _grain(frames: Frames, rng: np.random.Generator) -> Frames:
    return _grained(frames, rng, rng.uniform(5, 14))


def _grained(frames: Frames, rng: np.random.Generator, deviation: float) -> Frames:
    grained = []
    for frame in frames:
        grain = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH), np.float32), (0, 0), 0.7)
        grained.append(_pixels(frame + grain[..., None] * (deviation / grain.std())))
    return grained


def _tape(frames: Frames, rng: np.random.Generator) -> Frames:
    """Blur along lines, most of all colours, displace lines, and add noise, dropouts and a tracking error."""
    worn = []
    for frame in frames:
        yuv = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).astype(np.float32)
        yuv[..., 0] = cv2.GaussianBlur(yuv[..., 0], (5, 1), 1.0)
        yuv[..., 1:] = cv2.GaussianBlur(yuv[..., 1:], (15, 3), 4.0)
        yuv[..., 0] += cv2.GaussianBlur(rng.normal(0, 12, (HEIGHT, WIDTH)).astype(np.float32), (7, 1), 1.5)
        yuv[..., 1:] += cv2.GaussianBlur(rng.normal(0, 20, (HEIGHT, WIDTH, 2)).astype(np.float32), (0, 0), 2)
        picture = cv2.cvtColor(_pixels(yuv), cv2.COLOR_YCrCb2RGB)
        shifts = np.cumsum(rng.normal(0, 0.2, HEIGHT))
        shifts = (shifts - np.median(shifts)).round().clip(-4, 4).astype(int)
        columns = (np.arange(WIDTH)[None] + shifts[:, None]).clip(0, WIDTH - 1)
        picture = np.take_along_axis(picture, columns[..., None].repeat(3, -1), 1)
        picture[-6:] = np.roll(picture[-6:], int(rng.integers(10, 60)), 1)
        for _ in range(rng.poisson(1.0)):
            y, x = int(rng.integers(HEIGHT)), int(rng.integers(WIDTH - 30))
            picture[y, x : x + int(rng.integers(10, 80))] = 230
        if rng.uniform() < 0.03:
            y = int(rng.integers(HEIGHT - 30))
            picture[y : y + 24] = rng.integers(60, 255, (24, WIDTH, 1))
        worn.append(picture)
    return worn


def _coded(frames: Frames, rng: np.random.Generator) -> Frames:
    codec = str(rng.choice(["mpeg2video", "flv", "mpeg4"]))
    options = bits_per_pixel(0.35) if codec == "mpeg2video" else quantizer(int(rng.integers(14, 30)))
    return list(transcode(np.stack(frames), codec, options, num_b_frames=2 if codec == "mpeg2video" else 0))


def _fields(frames: Frames, rng: np.random.Generator) -> Frames:
    """Deinterlace frames whose second field is that of the frame after, as converters of fields do."""
    mixed = [frames[0]]
    for last, frame in pairwise(frames):
        woven = frame.copy()
        woven[1::2] = last[1::2]
        mixed.append(cv2.blur(woven, (1, 3)) if len(mixed) % 2 else woven)
    return mixed


def _telecined(frames: Frames, rng: np.random.Generator) -> Frames:
    """Mix two of five frames with those before, as 3:2 pulldown does once its fields are blended."""
    return [
        cv2.addWeighted(frame, 0.5, frames[i - 1], 0.5, 0) if i % 5 in (2, 3) else frame
        for i, frame in enumerate(frames)
    ]


def _letterboxed(frames: Frames, rng: np.random.Generator) -> Frames:
    bar = int(rng.integers(12, 34))
    boxed = []
    for frame in frames:
        inside = cv2.resize(frame, (WIDTH, HEIGHT - 2 * bar), interpolation=cv2.INTER_AREA)
        boxed.append(np.pad(inside, ((bar, bar), (0, 0), (0, 0))))
    return boxed


def _pillarboxed(frames: Frames, rng: np.random.Generator) -> Frames:
    bar = WIDTH // 6
    insides = [cv2.resize(frame, (WIDTH - 2 * bar, HEIGHT), interpolation=cv2.INTER_AREA) for frame in frames]
    return [np.pad(inside, ((0, 0), (bar, bar), (0, 0))) for inside in insides]


WORDS = ["WELL", "never", "SAID", "THE TRAIN", "left", "nine", "nobody", "KNEW", "WHERE", "it had", "GONE"]


def _marked(frames: Frames, rng: np.random.Generator) -> Frames:
    """Put a logo that stays and subtitles that change at times of their own over all shots."""
    text, until = "", 0
    marked = []
    for i, frame in enumerate(frames):
        if i >= until:
            text = " ".join(rng.choice(WORDS, 5)) if rng.uniform() < 0.8 else ""
            until = i + int(rng.integers(15, 60))
        drawn = frame.copy()
        cv2.rectangle(drawn, (210, 10), (244, 30), (250, 250, 250), -1)
        cv2.putText(drawn, "TV4", (212, 25), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (200, 20, 20), 2)
        for color, thickness in (((0, 0, 0), 4), ((255, 255, 230), 1)):
            cv2.putText(drawn, text[:26], (12, 178), cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, thickness)
        marked.append(drawn)
    return marked


def _faded(frames: Frames, rng: np.random.Generator) -> Frames:
    """Fade colours and contrast as an old print, and let its brightness flicker."""
    gains = rng.normal(1, 0.06, len(frames))
    return [
        _pixels((frame * (0.45, 0.35, 0.3) + (70, 60, 55)) * gain)
        for frame, gain in zip(frames, gains, strict=True)
    ]


def _pixels(values: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = values.round().clip(0, 255).astype(np.uint8)
    return pixels


STYLES: dict[str, Style] = {
    "clean": _clean,
    "grain": _grain,
    "tape": _tape,
    "coded": _coded,
    "night": _night,
    "black and white": _black_and_white,
    "fields": _fields,
    "telecined": _telecined,
    "letterboxed": _letterboxed,
    "pillarboxed": _pillarboxed,
    "subtitles and logo": _marked,
    "faded print": _faded,
}
