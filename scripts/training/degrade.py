"""Degrade pictures as lenses, film, interlacing and codecs do, by severity."""

from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from PIL import Image

SCALE = 4
MAX_BLUR = 2.8
"""Standard deviation at the highest severity, in pixels of the truth."""
MAX_GRAIN = 10.0
"""Standard deviation at the highest severity, in 8-bit levels."""
QUANTIZERS = {"mpeg2video": (2, 20), "mpeg4": (2, 20), "mjpeg": (2, 20), "libx264": (16, 40)}
"""Quantiser scale at the lowest and the highest severity; for x264 the rate factor."""
KERNELS = [
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BILINEAR,
    Image.Resampling.BOX,
]


def reduce(frames: np.ndarray, kernel: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    """Reduce frames four times by antialiased interpolation, uint8, (T, H, W, 3)."""
    size = frames.shape[2] // SCALE, frames.shape[1] // SCALE
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, kernel)) for frame in frames])


def degrade(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Reduce frames four times as an old camera and its codec would.

    Args:
        frames: uint8, (T, H, W, 3); sides are multiples of 64.
        severity: strength of the damage, above 0, up to 1; each kind is about that strong, or absent.
        rng: the generator whose state decides what is done.

    Returns:
        uint8, (T, H / 4, W / 4, 3).
    """
    if rng.random() < 0.7:
        frames = _blurred(frames, MAX_BLUR * _strength(severity, rng), rng)
    low_res = reduce(frames, KERNELS[rng.choice(4, p=[0.7, 0.1, 0.1, 0.1])])
    if rng.random() < 0.08:
        low_res = _combed(low_res, rng)
    if rng.random() < 0.7:
        low_res = _grainy(low_res, MAX_GRAIN * _strength(severity, rng), rng)
    if rng.random() < 0.1:
        low_res = _sharpened(low_res, 1.5 * _strength(severity, rng))
    if rng.random() < 0.85:
        low_res = _coded(low_res, _strength(severity, rng), rng)
    return low_res


def _strength(severity: float, rng: np.random.Generator) -> float:
    return severity * float(rng.uniform(0.3, 1))


def _blurred(frames: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    across = sigma * (float(rng.uniform(0.4, 1)) if rng.random() < 0.3 else 1.0)
    sigmas = (sigma, across) if rng.random() < 0.5 else (across, sigma)
    return np.stack([cv2.GaussianBlur(frame, (0, 0), *np.maximum(sigmas, 0.05)) for frame in frames])


def _grainy(low_res: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    channels = 1 if rng.random() < 0.7 else 3
    grain = rng.standard_normal((*low_res.shape[:3], channels), np.float32)
    size = float(rng.uniform(0, 0.8))
    if size > 0.3:
        soft = [cv2.GaussianBlur(plane, (0, 0), size).reshape(plane.shape) for plane in grain]
        grain = np.stack(soft) / np.std(soft)
    return _rounded(low_res + sigma * grain)


def _combed(low_res: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace every second line by that of the next frame, or by the mean of both, as interlacing does."""
    combed = low_res.astype(np.float32)
    later = np.roll(combed, -1, axis=0)
    later[-1] = combed[-1]
    share = float(rng.choice([0.5, 1.0]))
    combed[:, 1::2] += share * (later[:, 1::2] - combed[:, 1::2])
    return _rounded(combed)


def _sharpened(low_res: np.ndarray, amount: float) -> np.ndarray:
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in low_res]).astype(np.float32)
    return _rounded(low_res + amount * (low_res - soft))


def _coded(low_res: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Encode and decode frames, of which the first is seldom the codec's first."""
    codec = str(rng.choice(list(QUANTIZERS), p=[0.35, 0.15, 0.15, 0.35]))
    best, worst = QUANTIZERS[codec]
    quantizer = round(best + strength * (worst - best))
    lead = int(rng.integers(4))
    # The frames before the first are the ones after it, in reverse, so that motion continues smoothly.
    frames = np.concatenate([low_res[1 : 1 + lead][::-1], low_res])
    return transcode(frames, codec, quantizer)[-len(low_res) :]


def transcode(frames: np.ndarray, codec: str, quantizer: int) -> np.ndarray:
    """Encode frames in 4:2:0 and decode them, uint8, (T, H, W, 3)."""
    height, width = frames.shape[1:3]
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.time_base = width, height, Fraction(1, 25)
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.thread_count = 1
    if codec == "libx264":
        encoder.options = {"crf": str(quantizer), "preset": "veryfast", "bf": "0"}
    else:
        encoder.options = {"qmin": str(quantizer), "qmax": str(quantizer)}
    encoder.framerate = Fraction(25)
    decoder = av.CodecContext.create({"libx264": "h264"}.get(codec, codec), "r")
    assert isinstance(decoder, VideoCodecContext)
    packets = []
    for pts, frame in enumerate(frames):
        picture = VideoFrame.from_ndarray(frame, format="rgb24")
        picture = _TO_CODEC.reformat(picture, format=encoder.pix_fmt, threads=1)
        picture.pts, picture.time_base = pts, encoder.time_base
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    decoder.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
    assert len(decoded) == len(frames)
    pictures = (_FROM_CODEC.reformat(frame, format="rgb24", threads=1) for frame in decoded)
    return np.stack([picture.to_ndarray() for picture in pictures])


# Reformatters cache the conversion for one size: setting it up takes longer than converting a frame.
_TO_CODEC, _FROM_CODEC = VideoReformatter(), VideoReformatter()


def _rounded(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = values.round().clip(0, 255).astype(np.uint8)
    return rounded
