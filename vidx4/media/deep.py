"""Still pictures of 16 bits per colour, which Pillow reads and writes in 8."""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import tifffile
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidx4.errors import SourceError

DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
"""Of pictures that are written in 16 bits."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_IHDR_END = 8 + 25
"""Bytes of a PNG before its second chunk (PNG specification, 11.2.2)."""
_FORMATS = {1: "gray16le", 2: "ya16le", 3: "rgb48le", 4: "rgba64le"}
"""FFmpeg's name of pixels with so many channels."""


@dataclass(frozen=True)
class DeepPicture:
    """A picture of 16 bits per colour."""

    pixels: NDArray[np.uint16]
    """(H, W, C): gray or RGB, without or with alpha."""
    icc_profile: bytes | None = None
    exif: bytes | None = None
    """Without the identifier that JPEG puts before it."""


def read_deep(path: Path) -> NDArray[np.uint16] | None:
    """Return the pixels of a PNG or TIFF file of more than 8 bits per colour, (H, W, C); None for any other.

    Raises:
        SourceError: the file is damaged.
    """
    try:
        with av.open(str(path.absolute())) as container:
            frame = next(container.decode(video=0))
    except (FFmpegError, StopIteration) as error:
        raise SourceError(f"{path} can't be read as a picture: it is damaged.") from error
    components = frame.format.components
    if max(component.bits for component in components) <= 8:
        return None
    has_alpha = frame.format.name.startswith(("rgba", "bgra", "ya", "gbrap"))
    num_channels = (3 if frame.format.is_rgb else 1) + has_alpha
    pixels = frame.reformat(format=_FORMATS[num_channels]).to_ndarray()
    return pixels.reshape(frame.height, frame.width, num_channels).astype(np.uint16)


def write_deep(path: Path, picture: DeepPicture, suffix: str) -> None:
    """Write a picture as PNG or, for `.tif` and `.tiff`, as TIFF.

    Raises:
        OSError: the file can't be written.
    """
    if suffix.lower() == ".png":
        path.write_bytes(_png(picture))
        return
    num_channels = picture.pixels.shape[2]
    tifffile.imwrite(
        path,
        picture.pixels if num_channels > 1 else picture.pixels[..., 0],
        photometric="rgb" if num_channels > 2 else "minisblack",
        extrasamples=["unassalpha"] if num_channels in (2, 4) else None,
        planarconfig="contig" if num_channels > 1 else None,
        compression="zlib",
        iccprofile=picture.icc_profile,
        software=False,
    )


def _png(picture: DeepPicture) -> bytes:
    """Return a PNG file; FFmpeg writes the pixels, and the profile and EXIF are put before them."""
    height, width, num_channels = picture.pixels.shape
    name = _FORMATS[num_channels]
    plain = picture.pixels if num_channels > 2 else picture.pixels.reshape(height, -1)
    frame = VideoFrame.from_ndarray(
        np.ascontiguousarray(plain[..., :width] if num_channels == 1 else plain), name
    )
    file = BytesIO()
    with av.open(file, "w", format="image2pipe") as container:
        stream = container.add_stream("png", rate=1, options={"pred": "mixed"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, name.replace("le", "be")
        container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode(None))
    png = file.getvalue()
    chunks = b""
    if picture.icc_profile:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc_profile))
    if picture.exif:
        chunks += _chunk(b"eXIf", picture.exif)
    return png[:_IHDR_END] + chunks + png[_IHDR_END:]


def _chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
