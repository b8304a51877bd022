"""What a model is shown of its last result: moved along to the next frame."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.diffusion.bicubic import enlarge
from vidx4.diffusion.options import Recall
from vidx4.diffusion.sampler import Shown, to_signal
from vidx4.frames import SCALE
from vidx4.temporal.follow import Followed
from vidx4.temporal.warp import Warp, fetch_shifted
from vidx4.transfer import to_device


@torch.inference_mode()
def recall(raw: Tensor, frame: Followed, way: Recall, device: torch.device) -> Shown:
    """Return what a model is shown of its last result.

    Args:
        raw: the result of the frame before as it was decoded, neither clamped nor finished, (3, 4H, 4W).
        frame: the frame, with the motion from the one before.
        way: how to look back.
        device: the model's device.
    """
    assert frame.motion is not None
    last = raw[None].float()
    if way is Recall.REFERENCE:
        flow = to_device(frame.motion.backward, device)[None]
        flow = SCALE * F.interpolate(flow, scale_factor=SCALE, mode="bilinear")
        return Shown(fetch_shifted(last, flow))
    warp = Warp.of(frame.motion, SCALE, device)
    # Nothing is known of what has just appeared but what the frame itself shows.
    enlarged = enlarge(to_signal(frame.low_res, device)[None])
    return Shown(torch.lerp(enlarged, warp.fetch(last), warp.trust))
