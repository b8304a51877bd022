"""A still picture <-> pixels and what else it holds."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vidx4.diffusion.bicubic import SCALE


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
        """Take a picture of any mode apart; it is turned upright first where its EXIF data says so."""
        picture = ImageOps.exif_transpose(picture)
        is_transparent = picture.has_transparency_data
        alpha = picture.convert("RGBA").getchannel("A") if is_transparent else None
        return cls(
            pixels=_sixteen_bits(picture) if picture.mode.startswith("I") else _eight_bits(picture),
            alpha=alpha,
            is_gray=picture.mode in ("1", "L", "LA", "La") or picture.mode.startswith(("I", "F")),
            icc_profile=picture.info.get("icc_profile"),
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


def _eight_bits(picture: Image.Image) -> Tensor:
    rgb = picture.convert("RGBA").convert("RGB") if picture.mode == "P" else picture.convert("RGB")
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def _sixteen_bits(picture: Image.Image) -> Tensor:
    gray = np.asarray(picture).clip(0, 65535).astype(np.uint16)
    return torch.from_numpy(gray).expand(3, -1, -1)
