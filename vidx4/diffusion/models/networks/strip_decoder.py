"""Decode latents in strips: the result of decoding the whole picture, in a part of the memory."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.diffusion.models.networks.decoder_attention import AttentionReach, attend

Layer = Callable[[Tensor], Tensor]
"""A function of a field, or of a strip of it."""


@dataclass(frozen=True)
class StripDecoder:
    """The decoder of an `AutoencoderKL`, evaluated layer by layer in strips of full width.

    Decoded alone, a tile would have group norms and an attention of its own, and hence its own tone. Here
    each layer works through the whole picture before the next one begins, so the statistics are those of the
    picture, and strips leave no seams. Only the residual stream and the middle of a residual block are kept
    as a whole. What the last upsampler gives is computed three times: for statistics, and where each branch
    of the next block reads it. Nothing here waits for the device.

    Args:
        decoder: the decoder of an `AutoencoderKL`, with attention in its middle block only.
        max_elements: approximate number of elements in the largest tensor of a strip.
        reach: the reach of the attention.
    """

    decoder: Any
    max_elements: int
    reach: AttentionReach = field(default_factory=AttentionReach)

    def decode(self, latents: Tensor) -> Tensor:
        """Return a picture.

        Args:
            latents: clean latents in the decoder's dtype and scale, (1, C, H, W).

        Returns:
            The picture, about [-1, 1], float32, (1, 3, 4H, 4W).
        """
        decoder = self.decoder
        stream = self._apply(decoder.conv_in, latents, halo=1)
        first, *others = decoder.mid_block.resnets
        stream = self._resnet(stream, first)
        for attention, resnet in zip(decoder.mid_block.attentions, others, strict=True):
            self._attend(stream, attention)
            stream = self._resnet(stream, resnet)
        for upsampler, resnet in _up_layers(decoder):
            if upsampler is not None and self._is_kept(upsampler, stream):
                stream, upsampler = self._apply(upsampler, stream, halo=1, scale=2), None
            stream = self._resnet(stream, resnet, upsampler)
        norm = _measure(decoder.conv_norm_out, self._sweep(_identity, stream))
        return self._apply(lambda x: decoder.conv_out(_activate(norm, x)), stream, halo=1).float()

    def _resnet(self, stream: Tensor, resnet: Any, upsampler: Layer | None = None) -> Tensor:
        """Return the stream after an upsampler, if there is one, and a residual block."""
        enlarge = upsampler or _identity
        halo, scale = (0, 1) if upsampler is None else (1, 2)
        shortcut = resnet.conv_shortcut or _identity
        norm1 = _measure(resnet.norm1, self._sweep(enlarge, stream, halo, scale))
        hidden = self._apply(lambda x: resnet.conv1(_activate(norm1, enlarge(x))), stream, halo + 1, scale)
        norm2 = _measure(resnet.norm2, self._sweep(_identity, hidden))
        result = self._apply(lambda x: resnet.conv2(_activate(norm2, x)), hidden, halo=1, out=hidden)
        for top, strip in self._sweep(lambda x: shortcut(enlarge(x)), stream, halo, scale):
            result[:, :, top : top + strip.shape[2]] += strip
        return result

    def _is_kept(self, upsampler: Layer, stream: Tensor) -> bool:
        """Return whether what an upsampler gives is kept, and not computed again by each pass over it."""
        # The last one gives the largest tensor of all, twice as large as any other.
        is_last = upsampler is self.decoder.up_blocks[-2].upsamplers[0]
        return not is_last or self._num_rows(stream, scale=2) >= stream.shape[2]

    def _attend(self, stream: Tensor, attention: Any) -> None:
        norm = _measure(attention.group_norm, self._sweep(_identity, stream))
        query, key, value = (
            self._apply(partial(_project, linear, norm), stream)
            for linear in (attention.to_q, attention.to_k, attention.to_v)
        )
        stream += _pointwise(attention.to_out[0], attend(query, key, value, self.reach))

    def _apply(
        self, function: Layer, field: Tensor, halo: int = 0, scale: int = 1, out: Tensor | None = None
    ) -> Tensor:
        """Return the result of a function of a field; see `_sweep`.

        `out`, which may be the field itself, is where the result of more than one strip is put.
        """
        for top, strip in self._sweep(function, field, halo, scale):
            if strip.shape[2] == scale * field.shape[2]:
                return strip
            if out is None:
                out = _empty_like(strip, height=scale * field.shape[2])
            out[:, :, top : top + strip.shape[2]] = strip
        assert out is not None
        return out

    def _sweep(
        self, function: Layer, field: Tensor, halo: int = 0, scale: int = 1
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the result of a function strip by strip: the first row of each, and its pixels.

        Args:
            function: a function from (1, C, h, W) to (1, D, scale h, scale W).
            field: the field, (1, C, H, W); its rows may be overwritten once their result has been yielded.
            halo: number of rows of `field` beyond a strip that its result depends on.
            scale: rows of the result per row of `field`.
        """
        height = field.shape[2]
        num_rows = self._num_rows(field, scale)
        above = field[:, :, :0]
        for start in range(0, height, num_rows):
            stop = min(start + num_rows, height)
            x = field[:, :, start : stop + halo]
            if above.shape[2] > 0:
                x = torch.cat([above, x], dim=2)
            top, bottom = above.shape[2], above.shape[2] + stop - start
            # A copy: in place, these rows are overwritten before the next strip needs them.
            above = x[:, :, max(0, bottom - halo) : bottom].clone()
            result = function(x)
            # Without the halo, whose own result lacks the rows beyond it. At the picture's edges there is no
            # halo: the convolutions pad there as they would the whole picture.
            yield scale * start, result[:, :, scale * top : scale * bottom]

    def _num_rows(self, field: Tensor, scale: int) -> int:
        """Return the number of rows of a field whose result makes a strip."""
        # No layer has more channels at its end than at its beginning.
        return max(1, self.max_elements // (field.shape[1] * field.shape[3] * scale**2))


def _up_layers(decoder: Any) -> Iterator[tuple[Layer | None, Any]]:
    """Yield each residual block after the middle, and the upsampler before it."""
    upsampler = None
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            yield upsampler, resnet
            upsampler = None
        upsampler = next(iter(block.upsamplers or ()), None)


def _measure(norm: Any, strips: Iterable[tuple[int, Tensor]]) -> Layer:
    """Return a group norm with the statistics of a whole field, given in strips; its result is float32."""
    # Moments of strips and channels are merged into those of groups: the variance of a union is the mean of
    # its parts' variances and of their means' squared distances from the common mean (Chan et al. 1979).
    counts, means, variances = map(torch.stack, zip(*(_moments(x) for _, x in strips), strict=True))
    shares = counts / counts.sum(0)
    mean = (shares * means).sum(0).unflatten(0, (norm.num_groups, -1)).mean(1, keepdim=True)
    means = means.unflatten(1, (norm.num_groups, -1))
    spreads = variances.unflatten(1, (norm.num_groups, -1)) + (means - mean) ** 2
    variance = (shares[..., None] * spreads).sum(0).mean(1, keepdim=True)
    weight, bias = (_precise(x.detach()).view_as(means[0]) for x in (norm.weight, norm.bias))
    scale = weight * (variance + norm.eps).rsqrt()
    device = norm.weight.device
    scale, shift = (x.float().view(1, -1, 1, 1).to(device) for x in (scale, bias - mean * scale))
    return lambda x: torch.addcmul(shift, x, scale)


def _moments(strip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number of pixels, (1,), and the mean and variance of each channel, (C,), in float64."""
    variance, mean = map(_precise, torch.var_mean(strip[0].float(), dim=(1, 2), correction=0))
    return mean.new_full((1,), strip[0, 0].numel()), mean, variance


def _precise(x: Tensor) -> Tensor:
    """Return numbers in float64, on their device unless it lacks the type: the host would wait for them."""
    return x.cpu().double() if x.device.type == "mps" else x.double()


def _empty_like(strip: Tensor, height: int) -> Tensor:
    size = (*strip.shape[:2], height, strip.shape[3])
    return torch.empty(size, dtype=strip.dtype, device=strip.device, memory_format=torch.channels_last)


def _activate(norm: Layer, x: Tensor) -> Tensor:
    return F.silu(norm(x), inplace=True).to(x.dtype)


def _identity(x: Tensor) -> Tensor:
    return x


def _project(linear: Any, norm: Layer, x: Tensor) -> Tensor:
    return _pointwise(linear, norm(x).to(x.dtype))


def _pointwise(linear: Any, x: Tensor) -> Tensor:
    """Apply a linear layer to the channels of each latent, (1, C, H, W) to (1, D, H, W)."""
    return cast(Tensor, linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
