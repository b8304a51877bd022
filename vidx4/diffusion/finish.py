"""What comes out of the model -> the finished picture: the source's colours, the blend with bicubic."""

import torch
from torch import Tensor

from vidx4.diffusion.bicubic import enlarge
from vidx4.diffusion.color_fix import COLOR_REACH, keep_colors
from vidx4.diffusion.sampler import to_signal
from vidx4.diffusion.settings import Settings

BICUBIC_REACH = 2
FINISH_REACH = COLOR_REACH + BICUBIC_REACH
"""How many low-resolution pixels away something changes the finished picture, beyond the model's reach."""


@torch.inference_mode()
def finish(pixels: Tensor, low_res: Tensor, settings: Settings) -> Tensor:
    """Finish one frame, or a box of it.

    Args:
        pixels: from the model, about [-1, 1], float32, (3, 4H, 4W).
        low_res: the source, uint8 or uint16, (3, H, W).
        settings: what the user chose; of these, `strength` matters here.

    Returns:
        In the type of `low_res`, on the CPU, (3, 4H, 4W).
    """
    enlarged = enlarge(to_signal(low_res, pixels.device)[None])
    upscaled = keep_colors(pixels[None], enlarged)
    if settings.strength < 1:
        upscaled = torch.lerp(enlarged, upscaled, settings.strength)
    highest = torch.iinfo(low_res.dtype).max
    return ((upscaled[0] / 2 + 0.5).clamp(0, 1) * highest).round().to("cpu", low_res.dtype)
