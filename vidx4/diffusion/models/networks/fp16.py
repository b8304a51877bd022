"""Make a decoder's activations fit half precision."""

from typing import Any

STREAM_SCALE = 2.0**-6
"""Scale of the residual stream: float16 ends at 65504, so this makes room for activations 64 times as large,
and few weights become subnormal."""


def shrink_stream(decoder: Any, scale: float = STREAM_SCALE) -> None:
    """Scale the activations between the layers of an `AutoencoderKL`'s decoder without changing its result.

    The activations of the Stable Diffusion x4 Upscaler's decoder exceed float16. Its residual stream, and
    what flows inside a residual block, is read only by group norms, which divide by the standard deviation: a
    scale cancels out if the epsilon under the square root is scaled by its square. The idea is that of
    sdxl-vae-fp16-fix (Ollin Boer Bohan), but needs no training.

    Args:
        decoder: the decoder in float32, changed in place; to be scaled only once.
        scale: a power of two, so that no weight is rounded.
    """
    _scale(scale, decoder.conv_in)
    for attention in decoder.mid_block.attentions:
        # Query, key and value come from the norm, so only the way back into the stream is scaled.
        _scale(scale, attention.to_out[0])
        attention.group_norm.eps *= scale**2
    for block in (decoder.mid_block, *decoder.up_blocks):
        for resnet in block.resnets:
            _shrink_resnet(resnet, scale)
    for block in decoder.up_blocks:
        for upsampler in block.upsamplers or ():
            # It reads the scaled stream itself, not a norm, so its weights stay and only the bias is scaled.
            upsampler.conv.bias.data *= scale
    # The last norm undoes the scale, and conv_out reads what it gives.
    decoder.conv_norm_out.eps *= scale**2


def _shrink_resnet(resnet: Any, scale: float) -> None:
    _scale(scale, resnet.conv1, resnet.conv2)
    for norm in (resnet.norm1, resnet.norm2):
        norm.eps *= scale**2
    if resnet.conv_shortcut is not None:
        resnet.conv_shortcut.bias.data *= scale  # like an upsampler's


def _scale(scale: float, *layers: Any) -> None:
    for layer in layers:
        layer.weight.data *= scale
        layer.bias.data *= scale
