"""A still picture <-> pixels and what else it holds."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from vidx4.errors import SourceError
from vidx4.frames import SCALE


@dataclass(frozen=True)
class Picture:
    """A still picture taken apart: colours that a model can enlarge, and the rest."""

    pixels: Tensor
    """RGB, uint8 or uint16, (3, H, W)."""
    alpha: NDArray[Any] | None
    """Transparency over the full range of its type, uint8 or uint16, (H, W)."""
    is_gray: bool
    icc_profile: bytes | None = None

    @classmethod
    def open(cls, picture: Image.Image) -> Self:
        """Take a picture apart; it is turned upright first where its EXIF data says so.

        Raises:
            SourceError: it holds floating-point numbers, of which nobody knows the range.
        """
        if picture.mode == "F":
            raise SourceError("A picture of floating-point numbers can't be enlarged: convert it to 16 bits.")
        picture = ImageOps.exif_transpose(picture)
        has_alpha = picture.has_transparency_data
        alpha = np.asarray(picture.convert("RGBA").getchannel("A")) if has_alpha else None
        is_deep = picture.mode.startswith("I")
        if is_deep and alpha is not None:
            picture = in_eight_bits(
                np.asarray(picture)[..., None]
            )  # Pillow has no 16-bit gray with transparency
        return cls(
            pixels=_sixteen_bits(picture) if is_deep and alpha is None else _eight_bits(picture),
            alpha=alpha,
            is_gray=is_deep or picture.mode in ("1", "L", "LA", "La"),
            # That of another colour space would be wrong for the result, which is RGB.
            icc_profile=picture.info.get("icc_profile") if picture.mode not in ("CMYK", "LAB") else None,
        )

    @classmethod
    def of_channels(cls, channels: NDArray[Any]) -> Self:
        """Take pixels apart, uint8 or uint16, (H, W, C): gray or RGB, without or with alpha."""
        num_colors = 3 if channels.shape[2] > 2 else 1
        colors = torch.from_numpy(np.ascontiguousarray(channels[..., :num_colors])).permute(2, 0, 1)
        alpha = channels[..., -1] if channels.shape[2] > num_colors else None
        return cls(colors.expand(3, -1, -1), alpha, is_gray=num_colors == 1)

    def enlarged(self, pixels: Tensor) -> NDArray[Any]:
        """Return the channels of the picture, (4H, 4W, C), from its enlarged pixels, (3, 4H, 4W)."""
        colors = pixels.permute(1, 2, 0).numpy()
        if self.is_gray:
            colors = _gray(colors)
        if self.alpha is not None:
            colors = np.dstack((colors, _enlarged(self.alpha)))
        return np.ascontiguousarray(colors)

    def with_pixels(self, pixels: Tensor) -> Image.Image:
        """Put a picture that Pillow has a mode for together again from enlarged pixels, (3, 4H, 4W)."""
        channels = self.enlarged(pixels)
        picture = Image.fromarray(channels if channels.shape[2] > 1 else channels[..., 0])
        if self.icc_profile:
            picture.info["icc_profile"] = self.icc_profile
        return picture


def in_eight_bits(channels: NDArray[Any]) -> Image.Image:
    """Return a picture of 16 bits, (H, W, C), in 8."""
    rounded = (channels.clip(0, 65535) / 257).round().astype(np.uint8)
    return Image.fromarray(rounded if rounded.shape[2] > 1 else rounded[..., 0])


def upright(channels: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Turn a picture, (H, W, C), as EXIF data says (Exif 2.32, 4.6.4, "Orientation")."""
    if orientation in (5, 6, 7, 8):
        channels = channels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        channels = channels[::-1]
    if orientation in (2, 3, 6, 7):
        channels = channels[:, ::-1]
    return channels


def straight(channels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return a picture, (H, W, C), whose colours are no longer multiplied by their alpha."""
    colors, alpha = channels[..., :-1].astype(np.float64), channels[..., -1:]
    plain = np.divide(colors * 65535, alpha, out=np.zeros_like(colors), where=alpha > 0)
    return np.concatenate((plain.round().clip(0, 65535).astype(np.uint16), alpha), axis=-1)


def _eight_bits(picture: Image.Image) -> Tensor:
    rgb = picture.convert("RGBA").convert("RGB") if picture.mode == "P" else picture.convert("RGB")
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def _sixteen_bits(picture: Image.Image) -> Tensor:
    gray = np.asarray(picture).clip(0, 65535).astype(np.uint16)
    return torch.from_numpy(gray).expand(3, -1, -1)


def _gray(colors: NDArray[Any]) -> NDArray[Any]:
    """Return gray from RGB, (H, W, 1): in 16 bits, the green that is most of it."""
    if colors.dtype == np.uint16:
        return colors[..., 1:2]
    return np.asarray(Image.fromarray(np.ascontiguousarray(colors)).convert("L"))[..., None]


def _enlarged(alpha: NDArray[Any]) -> NDArray[Any]:
    height, width = alpha.shape
    exact = alpha if alpha.dtype == np.uint8 else alpha.astype(np.float32)  # Pillow resizes no 16 bits
    larger = Image.fromarray(exact).resize((SCALE * width, SCALE * height), Image.Resampling.BICUBIC)
    return np.asarray(larger).round().clip(0, np.iinfo(alpha.dtype).max).astype(alpha.dtype)
