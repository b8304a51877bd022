"""Whether a file at the place of an output may be an earlier result from the same source."""

import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import av

from vidx4.errors import SourceError
from vidx4.files.read import is_regular, open_file
from vidx4.frames import SCALE
from vidx4.media.container import open_source
from vidx4.media.pictures.png16 import SIGNATURE
from vidx4.media.target import Target
from vidx4.video import Source

Size = tuple[int, int]
"""Width and height."""
COPY_MARK = f"_x{SCALE}"
"""What the names of outputs have after those of their sources, unless others are given."""
_SPARE = 1.0
"""Seconds by which a copy may be longer than its source, since streams end at different times."""
_PNG_SIZE = struct.Struct(">8s8xII")
"""The beginning of a PNG file: its signature, and the width and height of the picture."""


def has_name_of_copy(path: Path, source: Path) -> bool:
    """Return whether a file is called like what vidx4 makes of a source."""
    return path.name.startswith((f"{source.stem}{COPY_MARK}", f"{source.name}{COPY_MARK}"))


def is_other_video(path: Path, source: Source, target: Target) -> bool:
    """Return whether a file holds video or sound, but can't be a copy of a source, or of a part of it.

    A copy has the size that is wanted now, or that of any copy to which no size was given, and is no longer
    than its source. Files that can't be read are no others.
    """
    if has_name_of_copy(path, source.path):
        return False
    with suppress(SourceError), closing(open_source(path)) as container:
        is_longer = (container.duration or 0) / av.time_base > float(source.duration) + _SPARE
        sizes = {(stream.width, stream.height) for stream in container.streams.video}
        return is_longer or sizes.isdisjoint(_sizes(source, target))
    return False


def is_other_frame(path: Path, source: Source, target: Target) -> bool:
    """Return whether a file is a PNG picture that can't be an enlarged frame of a source."""
    size = png_size(path)
    return size is not None and size not in _sizes(source, target)


def _sizes(source: Source, target: Target) -> set[Size]:
    """Return the sizes that copies have, those with before and after side by side included."""
    width, height = SCALE * source.width, SCALE * source.height
    return {
        size
        for one in ((width, height), (height, width), (target.width, target.height))
        for size in _alone_and_doubled(one)
    }


def _alone_and_doubled(size: Size) -> Iterator[Size]:
    width, height = size
    yield from ((width, height), (2 * width, height), (width, 2 * height))


def png_size(path: Path) -> Size | None:
    """Return the width and height of a PNG picture; None for anything else."""
    if not is_regular(path):
        return None
    with suppress(OSError, struct.error), open_file(path) as file:
        signature, width, height = _PNG_SIZE.unpack(file.read(_PNG_SIZE.size))
        return (width, height) if signature == SIGNATURE else None
    return None
