"""A still picture <-> pixels and what else it holds."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vidx4.errors import SourceError
from vidx4.video import SCALE


@dataclass(frozen=True)
class Picture:
    """A still picture taken apart: colours that a model can enlarge, and the rest."""

    pixels: Tensor
    """RGB, uint8 or uint16, (3, H, W)."""
    alpha: Image.Image | None
    """Transparency, mode L."""
    is_gray: bool
    icc_profile: bytes | None

    @classmethod
    def open(cls, picture: Image.Image) -> Self:
        """Take a picture apart; it is turned upright first where its EXIF data says so.

        Raises:
            SourceError: it holds floating-point numbers, of which nobody knows the range.
        """
        if picture.mode == "F":
            raise SourceError("A picture of floating-point numbers can't be enlarged: convert it to 16 bits.")
        picture = ImageOps.exif_transpose(picture)
        alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
        is_deep = picture.mode.startswith("I")
        if is_deep and alpha is not None:
            picture = in_eight_bits(picture)  # Pillow has no 16-bit gray with transparency
        return cls(
            pixels=_sixteen_bits(picture) if is_deep and alpha is None else _eight_bits(picture),
            alpha=alpha,
            is_gray=is_deep or picture.mode in ("1", "L", "LA", "La"),
            # That of another colour space would be wrong for the result, which is RGB.
            icc_profile=picture.info.get("icc_profile") if picture.mode not in ("CMYK", "LAB") else None,
        )

    def with_pixels(self, pixels: Tensor) -> Image.Image:
        """Put the picture together again from enlarged pixels, (3, 4H, 4W)."""
        array = pixels.permute(1, 2, 0).numpy()
        if array.dtype == np.uint16:
            picture = Image.fromarray(np.ascontiguousarray(array[..., 1]))
        else:
            picture = Image.fromarray(np.ascontiguousarray(array))
            picture = picture.convert("L") if self.is_gray else picture
        if self.alpha is not None:
            size = (SCALE * self.alpha.width, SCALE * self.alpha.height)
            picture.putalpha(self.alpha.resize(size, Image.Resampling.BICUBIC))
        if self.icc_profile:
            picture.info["icc_profile"] = self.icc_profile
        return picture


def in_eight_bits(picture: Image.Image) -> Image.Image:
    """Return a gray picture of 16 bits in 8."""
    return Image.fromarray((np.asarray(picture).clip(0, 65535) / 257).round().astype(np.uint8))


def _eight_bits(picture: Image.Image) -> Tensor:
    rgb = picture.convert("RGBA").convert("RGB") if picture.mode == "P" else picture.convert("RGB")
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def _sixteen_bits(picture: Image.Image) -> Tensor:
    gray = np.asarray(picture).clip(0, 65535).astype(np.uint16)
    return torch.from_numpy(gray).expand(3, -1, -1)
