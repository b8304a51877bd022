"""Count the operations of decoding with the autoencoder of `sd-x4`; a multiply-add counts as two."""

from vidx4.diffusion.models.networks.decoder_attention import AttentionReach, count_operations

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
    attention = count_operations(height, width, ATTENTION_CHANNELS, AttentionReach())
    return FOR_EACH_LATENT * width * height + attention
