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
        causal, scale = options.get("is_causal", False), options.get("scale")
        kernel = _kernel(query, attn_mask)
        if kernel == "flash":
            return _flash(query, key, value, causal, scale)
        if kernel == "efficient":
            rest: tuple[Any, ...] = (attn_mask, False, 0.0, causal)
            efficient = aten._scaled_dot_product_efficient_attention
            result: Tensor = efficient(query, key, value, *rest, scale=scale)[0]
            gpu.memory.need(_sums(query), gpu.current_stage)
            return result
        rest = (attn_mask, 0.0, causal)
        return aten._scaled_dot_product_attention_math(query, key, value, *rest, scale=scale)[0]  # type: ignore[no-any-return]

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


def _sums(query: Tensor) -> int:
    """Return the bytes in which the memory-efficient kernel sums up."""
    in_registers = query.dtype == torch.float32 or query.shape[-1] <= _ACCUMULATED_IN_REGISTERS
    return 0 if in_registers else torch.float32.itemsize * query.numel()
