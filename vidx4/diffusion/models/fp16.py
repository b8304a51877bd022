"""Make a decoder fit half precision."""

from typing import Any

STREAM_SCALE = 2.0**-6
"""Float16 holds 65504; this leaves room for 64 times as much, and few weights become subnormal."""


def shrink_stream(decoder: Any, scale: float = STREAM_SCALE) -> None:
    """Scale what flows between the layers of an `AutoencoderKL`'s decoder; its result stays the same.

    The decoder of the Stable Diffusion x4 Upscaler exceeds float16. All that reads its residual stream, and
    what is inside of a residual block, is a group norm, which a scale leaves as it is where its epsilon is
    scaled by the square. The idea of sdxl-vae-fp16-fix (Ollin Boer Bohan), without any training.

    Args:
        decoder: changed in place, once, while it is in float32.
        scale: a power of two, so that no weight is rounded.
    """
    _scale(scale, decoder.conv_in)
    for attention in decoder.mid_block.attentions:
        _scale(scale, attention.to_out[0])
        attention.group_norm.eps *= scale**2
    for block in (decoder.mid_block, *decoder.up_blocks):
        for resnet in block.resnets:
            _shrink_resnet(resnet, scale)
    for block in decoder.up_blocks:
        for upsampler in block.upsamplers or ():
            upsampler.conv.bias.data *= scale
    decoder.conv_norm_out.eps *= scale**2


def _shrink_resnet(resnet: Any, scale: float) -> None:
    _scale(scale, resnet.conv1, resnet.conv2)
    for norm in (resnet.norm1, resnet.norm2):
        norm.eps *= scale**2
    if resnet.conv_shortcut is not None:
        resnet.conv_shortcut.bias.data *= scale


def _scale(scale: float, *layers: Any) -> None:
    for layer in layers:
        layer.weight.data *= scale
        layer.bias.data *= scale
