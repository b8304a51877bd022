"""The pixels of a still picture as channels, (H, W, C): from Pillow and back, upright, and their alpha."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidx4.frames import SCALE
from vidx4.jobs.job import Pixels

_GRAY_MODES = {"1", "L", "LA"}


def channels_of(picture: Image.Image) -> Pixels:
    """Return the channels of a picture as it is stored: gray or RGB, without or with alpha.

    Raises:
        ValueError: it holds floating-point numbers, whose range is unknown.
    """
    if picture.mode == "F":
        raise ValueError("it holds floating-point numbers, so convert it to 16 bits per colour")
    if picture.mode.startswith("I"):
        return np.asarray(picture).clip(0, 65535).astype(np.uint16)[..., None]
    colors = "L" if picture.mode in _GRAY_MODES else "RGB"
    mode = colors + "A" if picture.has_transparency_data else colors
    channels = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return channels if channels.ndim == 3 else channels[..., None]


def to_picture(channels: Pixels) -> Image.Image:
    """Return a picture of Pillow's, in 8 bits."""
    if channels.dtype == np.uint16:
        channels = (channels / 257).round().astype(np.uint8)
    return Image.fromarray(channels if channels.shape[2] > 1 else channels[..., 0])


def num_colors(channels: Pixels) -> int:
    """Return the number of channels without alpha."""
    return 3 if channels.shape[2] > 2 else 1


def upright(channels: Pixels, orientation: int) -> Pixels:
    """Turn a picture as its EXIF data says (Exif 2.32, 4.6.4, "Orientation")."""
    if orientation in (5, 6, 7, 8):
        channels = channels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        channels = channels[::-1]
    if orientation in (2, 3, 6, 7):
        channels = channels[:, ::-1]
    return channels


def straight(channels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return a picture with alpha whose colours are no longer multiplied by it."""
    colors, alpha = channels[..., :-1].astype(np.float64), channels[..., -1:]
    plain = np.divide(colors * 65535, alpha, out=np.zeros_like(colors), where=alpha > 0)
    return np.concatenate((plain.round().clip(0, 65535).astype(np.uint16), alpha), axis=-1)


def enlarged_alpha(alpha: Pixels) -> Pixels:
    """Enlarge alpha, (H, W), four times by bicubic interpolation: no model was trained on it."""
    height, width = alpha.shape
    exact = alpha if alpha.dtype == np.uint8 else alpha.astype(np.float32)  # Pillow resizes no 16 bits
    larger = Image.fromarray(exact).resize((SCALE * width, SCALE * height), Image.Resampling.BICUBIC)
    return np.asarray(larger).round().clip(0, np.iinfo(alpha.dtype).max).astype(alpha.dtype)
