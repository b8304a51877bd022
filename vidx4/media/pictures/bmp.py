"""Decode pictures whose files FFmpeg takes as they are, such as BMP, which QuickTime has no name for."""

from typing import TypeAlias

import numpy as np
from av.codec import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from vidx4.errors import SourceError
from vidx4.media.formats.demuxers import DECODER_OPTIONS
from vidx4.media.pictures.png16 import PADDING

Pixels: TypeAlias = NDArray[np.uint8]


def is_bmp(start: bytes) -> bool:
    """Return whether the first bytes of a file are those of a BMP."""
    return start[:2] == b"BM"


def decode_bmp(content: bytes) -> Pixels:
    """Return the pixels of a BMP file, RGB, (H, W, 3); what some hold in place of alpha is left out.

    Raises:
        SourceError: the picture can't be decoded.
    """
    return decode_file("bmp", content)


def decode_file(
    codec: str, content: bytes, max_pixels: int | None = None, *, has_alpha: bool = False
) -> Pixels:
    """Return the pixels of a file, RGB or RGBA, (H, W, C).

    Args:
        codec: FFmpeg's name of the format, such as `bmp` or `dds`.
        content: the file.
        max_pixels: the largest size that is decoded; by default that of frames.
        has_alpha: whether to return alpha, too.

    Raises:
        SourceError: the picture can't be decoded.
    """
    decoder = CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    limit = {"max_pixels": str(2 * max_pixels + PADDING)} if max_pixels else {}
    decoder.options = {**DECODER_OPTIONS, **limit}
    try:
        (frame,) = decoder.decode(Packet(content)) + decoder.decode(None)
    except (FFmpegError, ValueError) as error:
        raise SourceError(
            f"A picture can't be decoded: it is damaged, or of a rare kind of {codec.upper()}."
        ) from error
    return frame.reformat(format="rgba" if has_alpha else "rgb24").to_ndarray().astype(np.uint8)
