"""The largest videos that are read. A file of a few bytes may claim to hold more than any memory does."""

from vidx4.errors import SourceError

MAX_PIXELS = 40_000_000
"""Pixels of a frame: 8K fits. The RGB of 16 times as many has to be less than 2 GiB, FFmpeg's limit."""
MAX_FRAMES = 4_000_000
"""Frames of a video: 37 hours at 30 a second. To know the time of each takes about 300 bytes."""
MAX_PICTURE_SIZE = 1 << 29
"""Bytes of a file of one picture, or of an animation that has to be in memory as a whole."""
MAX_DRAWN_PIXELS = 1 << 32
"""Pixels of all frames of an animation that is drawn whenever it is read: 70 seconds in Full HD."""


def check_size(width: int, height: int, path: object) -> None:
    """Check that a frame is not too large.

    Raises:
        SourceError: it is; the error names the path.
    """
    if width * height > MAX_PIXELS:
        raise SourceError(
            f"{path} says that its picture is {width}x{height}: more than {MAX_PIXELS:,} pixels can't be "
            "enlarged. Make it smaller, or cut it into pieces."
        )
