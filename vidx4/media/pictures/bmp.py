"""Decode BMP pictures, which QuickTime has no name for."""

from typing import TypeAlias

import numpy as np
from av.codec import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from vidx4.errors import SourceError
from vidx4.media.formats.demuxers import DECODER_OPTIONS

Pixels: TypeAlias = NDArray[np.uint8]


def is_bmp(start: bytes) -> bool:
    """Return whether the first bytes of a file are those of a BMP."""
    return start[:2] == b"BM"


def decode_bmp(content: bytes) -> Pixels:
    """Return the pixels of a BMP file, RGB, (H, W, 3); what some hold in place of alpha is left out.

    Raises:
        SourceError: the picture can't be decoded.
    """
    decoder = CodecContext.create("bmp", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.options = DECODER_OPTIONS
    try:
        (frame,) = decoder.decode(Packet(content)) + decoder.decode(None)
    except (FFmpegError, ValueError) as error:
        raise SourceError("A picture can't be decoded: it is damaged, or of a rare kind of BMP.") from error
    return frame.reformat(format="rgb24").to_ndarray().astype(np.uint8)
