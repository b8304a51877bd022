"""The decoder of an autoencoder in strips: the result of the whole picture in a part of its memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import sqrt
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

HALO = 2
"""Rows beyond a strip that a residual block sees: one for each of its convolutions."""

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class AttentionReach:
    """How far attention looks at single latents, and how it sees what is beyond."""

    whole_field: int = 640 * 480
    """Latents up to which each attends to each: at most a sixth of the operations of 20 guided steps."""
    block: int = 128
    """Side of a block of queries in a larger field."""
    halo: int = 32
    """How far around its block a query attends to each latent; it and `block` are multiples of `pool`."""
    pool: int = 4
    """Side of the cells whose mean stands for their latents further away."""


@dataclass(frozen=True)
class StripDecoder:
    """The decoder of an `AutoencoderKL`, one layer after the other, each in strips of full width.

    A tile of its own has group norms and an attention of its own, hence its own tone. Here each layer works
    on the whole picture before the next one begins, so its statistics are the picture's. Only the residual
    stream is kept as a whole. What is inside of a residual block is computed twice, once for its statistics,
    which is less than what overlapping tiles compute twice.

    Args:
        decoder: of an `AutoencoderKL` with one attention, in the middle.
        max_elements: of the largest tensor in a strip, about.
        reach: of the attention.
    """

    decoder: Any
    max_elements: int
    reach: AttentionReach = AttentionReach()

    def decode(self, latents: Tensor) -> Tensor:
        """Return a picture.

        Args:
            latents: in the decoder's dtype and scale, (1, C, H, W).

        Returns:
            About [-1, 1], float32, (1, 3, 4H, 4W).
        """
        decoder = self.decoder
        stream = self._apply(decoder.conv_in, latents, halo=1)
        first, *others = decoder.mid_block.resnets
        stream = self._resnet(stream, first)
        for attention, resnet in zip(decoder.mid_block.attentions, others, strict=True):
            self._attend(stream, attention)
            stream = self._resnet(stream, resnet)
        for upsampler, resnet in _up_layers(decoder):
            stream = self._resnet(stream, resnet, upsampler)
        norm = _measure(decoder.conv_norm_out, self._sweep(_same, stream))
        return self._apply(lambda x: decoder.conv_out(_activate(norm, x)), stream, halo=1).float()

    def _resnet(self, stream: Tensor, resnet: Any, upsampler: Layer | None = None) -> Tensor:
        """Apply a residual block, in place where that can be, to what an upsampler makes of the stream."""
        # The enlarged stream would be the largest of all: rather than kept, it is computed for each pass.
        enlarge = upsampler or _same
        scale = 1 if upsampler is None else 2
        shortcut = resnet.conv_shortcut or _same
        norm1 = _measure(resnet.norm1, self._sweep(enlarge, stream, HALO if upsampler else 0, scale))

        def hidden(x: Tensor) -> Tensor:
            return cast(Tensor, resnet.conv1(_activate(norm1, x)))

        norm2 = _measure(resnet.norm2, self._sweep(lambda x: hidden(enlarge(x)), stream, HALO, scale))

        def result(x: Tensor) -> Tensor:
            x = enlarge(x)
            return shortcut(x) + cast(Tensor, resnet.conv2(_activate(norm2, hidden(x))))

        in_place = upsampler is None and resnet.conv_shortcut is None
        return self._apply(result, stream, HALO, scale, out=stream if in_place else None)

    def _attend(self, stream: Tensor, attention: Any) -> None:
        norm = _measure(attention.group_norm, self._sweep(_same, stream))
        query, key, value = (
            self._apply(partial(_project, linear, norm), stream)
            for linear in (attention.to_q, attention.to_k, attention.to_v)
        )
        if stream[0, 0].numel() <= self.reach.whole_field:
            attended = _attend_whole(query, key, value)
        else:
            attended = attend_near_and_far(query, key, value, self.reach)
        stream += _pointwise(attention.to_out[0], attended)

    def _apply(
        self, function: Layer, field: Tensor, halo: int = 0, scale: int = 1, out: Tensor | None = None
    ) -> Tensor:
        """Return a function of a field; see `_sweep`. `out` may be the field."""
        for top, strip in self._sweep(function, field, halo, scale):
            if out is None:
                size = (*strip.shape[:2], scale * field.shape[2], strip.shape[3])
                out = strip.new_empty(size).contiguous(memory_format=torch.channels_last)
            out[:, :, top : top + strip.shape[2]] = strip
        assert out is not None
        return out

    def _sweep(
        self, function: Layer, field: Tensor, halo: int = 0, scale: int = 1
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the pixels of a function's result, strip by strip.

        Args:
            function: from (1, C, h, W) to (1, D, scale h, scale W).
            field: (1, C, H, W); rows may be overwritten once what they became has been yielded.
            halo: rows of `field` beyond a strip on which its result depends.
            scale: rows of the result per row of `field`.
        """
        height, width = field.shape[2:]
        # No layer has more channels at the end than at the beginning.
        num_rows = max(1, self.max_elements // (field.shape[1] * width * scale**2))
        above = field[:, :, :0]
        for start in range(0, height, num_rows):
            stop = min(start + num_rows, height)
            x = field[:, :, start : stop + halo]
            if above.shape[2] > 0:
                x = torch.cat([above, x], dim=2)
            top, bottom = above.shape[2], above.shape[2] + stop - start
            above = x[:, :, max(0, bottom - halo) : bottom].clone()
            result = function(x)
            yield scale * start, result[:, :, scale * top : scale * bottom]


def _up_layers(decoder: Any) -> Iterator[tuple[Layer | None, Any]]:
    """Yield each residual block after the middle, and the upsampler before it."""
    upsampler = None
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            yield upsampler, resnet
            upsampler = None
        if block.upsamplers:
            (upsampler,) = block.upsamplers


def _measure(norm: Any, strips: Iterable[tuple[int, Tensor]]) -> Layer:
    """Return a group norm with the statistics of a whole field; its result is in float32."""
    counts, means, variances = map(torch.stack, zip(*(_moments(x) for _, x in strips), strict=True))
    shares = counts / counts.sum(0)
    mean = (shares * means).sum(0).unflatten(0, (norm.num_groups, -1)).mean(1, keepdim=True)
    means = means.unflatten(1, (norm.num_groups, -1))
    spreads = variances.unflatten(1, (norm.num_groups, -1)) + (means - mean) ** 2
    variance = (shares[..., None] * spreads).sum(0).mean(1, keepdim=True)
    weight, bias = (x.detach().cpu().double().view_as(means[0]) for x in (norm.weight, norm.bias))
    scale = weight * (variance + norm.eps).rsqrt()
    device = norm.weight.device
    scale, shift = (x.float().view(1, -1, 1, 1).to(device) for x in (scale, bias - mean * scale))
    return lambda x: torch.addcmul(shift, x.float(), scale)


def _moments(strip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number of pixels, (1,), and mean and variance of each channel, (C,)."""
    variance, mean = torch.var_mean(strip[0].float(), dim=(1, 2), correction=0)
    num_pixels = torch.tensor([strip[0, 0].numel()])
    # On the CPU, since not every device knows float64.
    return num_pixels.double(), mean.cpu().double(), variance.cpu().double()


def _activate(norm: Layer, x: Tensor) -> Tensor:
    return F.silu(norm(x), inplace=True).to(x.dtype)


def _same(x: Tensor) -> Tensor:
    return x


def _project(linear: Any, norm: Layer, x: Tensor) -> Tensor:
    return _pointwise(linear, norm(x).to(x.dtype))


def _pointwise(linear: Any, x: Tensor) -> Tensor:
    return cast(Tensor, linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def _flatten(x: Tensor) -> Tensor:
    """Return (1, 1, H * W, C) of (1, C, H, W)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)[None]


def _unflatten(x: Tensor, like: Tensor) -> Tensor:
    return x[0].transpose(1, 2).view_as(like)


def _attend_whole(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    result = F.scaled_dot_product_attention(_flatten(query), _flatten(key), _flatten(value))
    return _unflatten(result, query)


def attend_near_and_far(query: Tensor, key: Tensor, value: Tensor, reach: AttentionReach) -> Tensor:
    """Attend to each latent nearby, and to the mean of each cell of latents further away.

    All, and the result: (1, C, H, W).
    """
    attended = torch.empty_like(query)
    far_key, far_value = (F.avg_pool2d(x, reach.pool, ceil_mode=True) for x in (key, value))
    cell_sizes = F.avg_pool2d(torch.ones_like(key[:, :1]), reach.pool, ceil_mode=True, divisor_override=1)
    log_sizes = _flatten(cell_sizes.log())
    for top, left in product(*(range(0, side, reach.block) for side in query.shape[2:])):
        block = (..., slice(top, top + reach.block), slice(left, left + reach.block))
        rows, columns = (slice(max(0, at - reach.halo), at + reach.block + reach.halo) for at in (top, left))
        is_far = torch.ones_like(cell_sizes[0, 0], dtype=torch.bool)
        is_far[_cells(rows, reach), _cells(columns, reach)] = False
        near_key, near_value = (_flatten(x[..., rows, columns]) for x in (key, value))
        far_keys, far_values, weights = (
            x[:, :, is_far.flatten()] for x in (_flatten(far_key), _flatten(far_value), log_sizes)
        )
        result = _attend_weighted(
            _flatten(query[block]),
            torch.cat([near_key, far_keys], dim=2),
            torch.cat([near_value, far_values], dim=2),
            F.pad(weights, (0, 0, near_key.shape[2], 0)),
        )
        attended[block] = _unflatten(result, query[block])
    return attended


def _cells(latents: slice, reach: AttentionReach) -> slice:
    return slice(latents.start // reach.pool, latents.stop // reach.pool)


def _attend_weighted(query: Tensor, key: Tensor, value: Tensor, log_weights: Tensor) -> Tensor:
    """Attend to keys some of which stand for several.

    The weights are one more channel, with 1 in the query: a mask would keep some devices from the kernel
    that takes little memory. Zeros fill up to a multiple of eight, which kernels ask for.

    Args:
        query: (1, 1, M, C).
        key: (1, 1, N, C).
        value: (1, 1, N, C).
        log_weights: logarithms of what each key counts, (1, 1, N, 1).
    """
    num_channels = query.shape[-1]
    padding = torch.zeros_like(query[..., :7])
    query = torch.cat([query, torch.ones_like(query[..., :1]), padding], dim=-1)
    padding = torch.zeros_like(key[..., :7])
    key = torch.cat([key, sqrt(num_channels) * log_weights, padding], dim=-1)
    value = F.pad(value, (0, 8))
    result = F.scaled_dot_product_attention(query, key, value, scale=num_channels**-0.5)
    return result[..., :num_channels]
