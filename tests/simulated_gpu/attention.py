"""Scaled dot-product attention by the kernels that PyTorch would choose on a GPU."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

if TYPE_CHECKING:
    from tests.simulated_gpu.gpu import SimulatedGPU

aten = torch.ops.aten
_FLASH_CHANNELS = 256
"""Most channels of a head that the flash kernel takes; it pads them to a multiple of 8."""
_ACCUMULATED_IN_REGISTERS = 128
"""Channels of a head up to which the memory-efficient kernel needs no memory for its sums in float32."""


def attend(gpu: "SimulatedGPU") -> Callable[..., Tensor]:
    """Return a stand-in for `F.scaled_dot_product_attention`.

    Without a GPU, PyTorch would choose the plain product of matrices, which takes memory for all weights.
    """
    original = F.scaled_dot_product_attention

    def scaled_dot_product_attention(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        if not isinstance(query, FakeTensor):
            return original(query, key, value, attn_mask, **options)
        kernel = _kernel(query, attn_mask)
        scale = {"scale": options.get("scale")}
        causal = options.get("is_causal", False)
        if kernel == "flash":
            return _flash(query, key, value, causal, scale["scale"])
        if kernel == "efficient":
            _count_sums(gpu, query)
            efficient = aten._scaled_dot_product_efficient_attention
            return efficient(query, key, value, attn_mask, False, 0.0, causal, **scale)[0]  # type: ignore[no-any-return]
        math = aten._scaled_dot_product_attention_math
        return math(query, key, value, attn_mask, 0.0, causal, **scale)[0]  # type: ignore[no-any-return]

    return scaled_dot_product_attention


def _kernel(query: Tensor, attn_mask: Tensor | None) -> str:
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    if attn_mask is None and is_half and query.shape[-1] <= _FLASH_CHANNELS:
        return "flash"
    return "math" if query.shape[-1] % (8 if is_half else 4) else "efficient"


def _flash(query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float | None) -> Tensor:
    num_channels = query.shape[-1]
    padded = (F.pad(x, (0, -num_channels % 8)) if num_channels % 8 else x for x in (query, key, value))
    flash = aten._scaled_dot_product_flash_attention
    result: Tensor = flash(*padded, 0.0, causal, scale=scale or num_channels**-0.5)[0]
    return result[..., :num_channels]


def _count_sums(gpu: "SimulatedGPU", query: Tensor) -> None:
    if query.dtype != torch.float32 and query.shape[-1] > _ACCUMULATED_IN_REGISTERS:
        gpu.memory.need(torch.float32.itemsize * query.numel(), gpu.current_stage)
