"""Closed captions in packets, for each codec that we encode and that holds them."""

from vidx4.media.formats import obu, sei

CAPTIONED = frozenset({"av1", "h264", "hevc"})
"""Codecs that hold closed captions."""


def with_captions(packet: bytes, triplets: bytes, codec: str) -> bytes:
    """Return the packet of a frame with captions.

    Args:
        packet: the frame as an encoder gives it.
        triplets: the captions, as in `cc_data`.
        codec: one of `CAPTIONED`.
    """
    return obu.add_captions(packet, triplets) if codec == "av1" else sei.add_captions(packet, triplets, codec)


def captions_in(packet: bytes, codec: str, description: bytes) -> bytes:
    """Return the triplets of a frame's captions; empty if it has none.

    Args:
        packet: the frame as a container stores it.
        codec: one of `CAPTIONED`.
        description: the codec's description in the container (`extradata`).
    """
    return obu.captions_in(packet) if codec == "av1" else sei.captions_in(packet, codec, description)
