"""Files of which no more is read than a picture of their size can need."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from vidx4.files.read import open_file

_HEADER_BYTES, _HEADER_READS = 32 << 20, 500_000
"""Most bytes of all that comes before the pixels, and most times that Pillow may read of it."""
_BYTES_PER_PIXEL = 16
"""Most bytes of a pixel, and of what lies between pixels; twice those of 16-bit RGBA."""
_WHOLE_BYTES = 512 << 20
"""Most bytes of a file that Pillow reads at once, as it does with AVIF and WebP."""


class MeteredFile(BufferedReader):
    """A file that fails to be read when it turns out to be far larger than what it should hold.

    A file can be made to have terabytes that take no room on a disk, and a picture a million tables.
    """

    _bytes_left = _HEADER_BYTES
    _reads_left = _HEADER_READS
    on_read: Callable[[], None] | None = None
    """Is called whenever bytes were read."""

    def allow_pixels(self, num_pixels: int) -> None:
        """Let the pixels of a picture be read, too."""
        self._bytes_left += _BYTES_PER_PIXEL * num_pixels
        self._reads_left += num_pixels

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes from the file, or all that is left of it.

        Raises:
            OSError: it is too much.
        """
        is_whole = size is None or size < 0
        limit = max(self._bytes_left, _WHOLE_BYTES) if is_whole else self._bytes_left
        content = super().read(limit + 1 if size is None or is_whole else min(size, limit + 1))
        self._reads_left -= 1
        if self.on_read:
            self.on_read()
        self._bytes_left -= 0 if is_whole else len(content)
        if len(content) > limit or self._reads_left < 0:
            raise OSError("it holds far more than a picture of its size")
        return content


@contextmanager
def open_metered(path: Path, on_read: Callable[[], None] | None = None) -> Iterator[MeteredFile]:
    """Open a regular file; raises as `open_file`.

    Args:
        path: the file.
        on_read: is called whenever bytes were read.
    """
    with MeteredFile(open_file(path).detach()) as file:
        file.on_read = on_read
        yield file
