"""Turn the model's output into the finished picture: the source's colours, the blend with bicubic."""

import torch
from torch import Tensor

from vidx4.diffusion.bicubic import enlarge
from vidx4.diffusion.color_fix import COLOR_REACH, keep_colors
from vidx4.diffusion.options import ColorFix
from vidx4.diffusion.sampler import to_signal
from vidx4.diffusion.settings import Settings

BICUBIC_REACH = 2
"""Distance in low-resolution pixels at which a pixel affects its bicubic enlargement."""
FINISH_REACH = COLOR_REACH + BICUBIC_REACH
"""Distance in low-resolution pixels over which finishing spreads a change."""


@torch.inference_mode()
def finish(pixels: Tensor, low_res: Tensor, settings: Settings) -> Tensor:
    """Finish one frame, or a box of it.

    Args:
        pixels: the model's output, about [-1, 1], float32, (3, 4H, 4W).
        low_res: the source, uint8 or uint16 over the full range, (3, H, W).
        settings: the settings of the run; of these, `strength` and `color_fix` matter here.

    Returns:
        The finished picture, of the type and range of `low_res`, on the device of `pixels`, (3, 4H, 4W).
    """
    upscaled, is_fixed = pixels[None], settings.color_fix == ColorFix.WAVELET
    if is_fixed or settings.strength < 1:
        enlarged = enlarge(to_signal(low_res, pixels.device)[None])
        upscaled = keep_colors(upscaled, enlarged) if is_fixed else upscaled
        if settings.strength < 1:
            upscaled = torch.lerp(enlarged, upscaled, settings.strength)
    highest = torch.iinfo(low_res.dtype).max
    return ((upscaled[0] / 2 + 0.5).clamp(0, 1) * highest).round().to(low_res.dtype)
