"""The largest videos that are read. A file of a few bytes may claim to hold more than any memory does."""

from vidx4.errors import SourceError

MAX_PIXELS = 40_000_000
"""Pixels of a frame: 8K fits. The RGB of 16 times as many has to be less than 2 GiB, FFmpeg's limit."""
MAX_FRAMES = 2_700_000
"""Frames of a video: 25 hours at 30 a second. To know the time of each takes about 500 bytes."""
MAX_JUMPS = 10_000
"""Places of a file at which timestamps restart or jump; a disc has some hundreds."""
MAX_STRETCHES = 100_000
"""Separate stretches of a stream, such as subtitles, that are told apart."""
MAX_TEXTS_AT_ONCE = 50
"""Subtitles that are shown at the same time where each combination is stored; no screen has room for more."""
MAX_STREAMS = 128
"""Streams beside the video, without attached files: a disc has up to 64. Some have to be read one by one."""
MAX_CHAPTERS = 10_000
"""Chapters that are kept. MP4 stores each as a packet and some players read them all at the start."""
MAX_TAGS = 5_000
"""Tags of a file or of a stream; FFmpeg compares each with all others whenever it opens the file."""
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
