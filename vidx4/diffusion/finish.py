"""Turn the model's output into the finished picture: steady detail, the source's colours, the blend."""

import torch
from torch import Tensor

from vidx4.diffusion.bicubic import enlarge
from vidx4.diffusion.color_fix import COLOR_REACH, keep_colors
from vidx4.diffusion.sampler import to_signal
from vidx4.diffusion.settings import Settings
from vidx4.temporal.warp import Warp

BICUBIC_REACH = 2
"""Distance in low-resolution pixels at which a pixel affects its bicubic enlargement."""
FINISH_REACH = COLOR_REACH + BICUBIC_REACH
"""Distance in low-resolution pixels over which finishing spreads a change."""


@torch.inference_mode()
def finish(
    pixels: Tensor, low_res: Tensor, settings: Settings, previous: Tensor | None, warp: Warp | None
) -> Tensor:
    """Finish one frame, or a box of it.

    Args:
        pixels: the model's output, about [-1, 1], float32, (3, 4H, 4W).
        low_res: the source, uint8 or uint16 over the full range, (3, H, W).
        settings: the settings of the run.
        previous: detail of the whole frame before, from `detail_of`; None for no steadying.
        warp: the warp from that frame to this one, at full resolution; None for no steadying.

    Returns:
        The finished picture, of the type and range of `low_res`, on the CPU, (3, 4H, 4W).
    """
    enlarged = enlarge(to_signal(low_res, pixels.device)[None])
    upscaled = pixels[None]
    if previous is not None and warp is not None:
        detail = upscaled - enlarged
        upscaled = enlarged + torch.lerp(detail, warp.fetch(previous), settings.steadiness * warp.trust)
    upscaled = keep_colors(upscaled, enlarged)
    if settings.strength < 1:
        upscaled = torch.lerp(enlarged, upscaled, settings.strength)
    highest = torch.iinfo(low_res.dtype).max
    return ((upscaled[0] / 2 + 0.5).clamp(0, 1) * highest).round().to("cpu", low_res.dtype)


@torch.inference_mode()
def detail_of(upscaled: Tensor, low_res: Tensor, device: torch.device) -> Tensor:
    """Return what a finished picture shows beyond its plain enlargement, (1, 3, 4H, 4W)."""
    return to_signal(upscaled, device)[None] - enlarge(to_signal(low_res, device)[None])
