"""Count the operations of decoding with the autoencoder of `sd-x4`; a multiply-add counts as two."""

from vidx4.diffusion.models.decoder_attention import AttentionReach, num_pairs

FOR_EACH_LATENT = 155.3e6
"""Operations for each latent, attention apart; counted. Strips take up to a quarter more, since what the last
upsampler gives is then computed three times."""
ATTENTION_CHANNELS = 512
"""Channels of the attention."""


def decode_operations(width: int, height: int) -> float:
    """Count the operations of decoding a frame as a whole, within a few per cent.

    Args:
        width: width of the frame's latents.
        height: height of the frame's latents.
    """
    attention = attention_operations(width, height, ATTENTION_CHANNELS, AttentionReach())
    return FOR_EACH_LATENT * width * height + attention


def attention_operations(width: int, height: int, num_channels: int, reach: AttentionReach) -> float:
    """Count the operations of attending to a field: the products with the keys and with the values.

    Args:
        width: width of the field, in latents.
        height: height of the field, in latents.
        num_channels: number of channels.
        reach: up to which size attention is exact, and how it is approximated.
    """
    # Beyond that size, `attend_near_and_far` adds eight channels, which hold the sizes of cells.
    channels = num_channels if reach.covers(height, width) else num_channels + 8
    return 4.0 * channels * num_pairs(height, width, reach)
