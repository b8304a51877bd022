"""What the files of a folder are, told by their names and first bytes: videos, pictures, and all others."""

import re
from collections.abc import Container
from functools import lru_cache
from pathlib import Path

from vidx4.files.read import open_file
from vidx4.files.stamp import Stamp, stamp
from vidx4.jobs.still.read import is_picture
from vidx4.media.formats.signatures import holds_video
from vidx4.media.formats.suffixes import OTHER_SUFFIXES, SHARED_SUFFIXES, VIDEO_SUFFIXES

# fmt: off
PICTURE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".dds", ".dib", ".ico", ".j2c", ".j2k", ".jfif", ".jif", ".jp2", ".jpe", ".jpeg", ".jpf",
    ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".tga",
    ".tif", ".tiff", ".webp",
})
_RARE_PICTURES = frozenset({
    ".dpx", ".exr", ".fits", ".hdr", ".heic", ".heif", ".jxl", ".jxs", ".pam", ".pfm", ".pgx", ".phm", ".xbm",
    ".xpm", ".xwd",
})
# fmt: on
NEITHER = "neither videos nor pictures"
IRREGULAR = "neither files nor links to files"
OUTSIDE = "links that lead out of the folder (--trust-folder follows them)"
LINKED_FOLDER = "links to folders"
RARE = "pictures of rare kinds (try `vidx4 upscale` on each, or convert them to PNG)"
UNFINISHED = "unfinished downloads or backups, by their names"
"""Why files are passed over."""
_UNFINISHED = re.compile(
    r".*(~|\.(part(-frag\d+)?|partial|filepart|!part|crdownload|download|opdownload|!qb|!ut|!bt|bc!|aria2|ytdl"
    r"|dctmp|td|xltd|incomplete|unfinished|unconfirmed \d+|tmp|temp|bak\d*|backup|bk|old|orig|swp))"
    r"|~\$.*",
    re.IGNORECASE | re.DOTALL,
)
"""Names that programs give to files that they have not finished, and to copies that they keep."""
_KNOWN_SUFFIXES = (VIDEO_SUFFIXES | PICTURE_SUFFIXES) - SHARED_SUFFIXES
_DOWNLOADING = (".aria2", ".ytdl")
"""What the names of files beside a file end with while it is downloaded under its own name."""


def why_not(path: Path, others: Container[Path]) -> str:
    """Return why a regular file is passed over, by its name and content; empty for a video or a picture.

    Args:
        path: the file.
        others: the files beside it.

    Raises:
        OSError: it can't be read.
    """
    if _is_unfinished(path, others):
        return UNFINISHED
    if path.suffix.lower() in _RARE_PICTURES:
        return RARE
    return "" if _is_video_or_picture(path) else NEITHER


def _is_unfinished(path: Path, others: Container[Path]) -> bool:
    beside = (path.with_name(path.name + suffix) for suffix in _DOWNLOADING)
    return _UNFINISHED.fullmatch(path.name) is not None or any(each in others for each in beside)


def _is_video_or_picture(path: Path) -> bool:
    """Return whether a file is to be enlarged: its suffix tells or, where it does not, the first bytes do."""
    suffix = path.suffix.lower()
    if suffix in OTHER_SUFFIXES:
        return False
    if suffix in _KNOWN_SUFFIXES:
        return True
    open_file(path).close()  # or a file that can't be read would count as one of another kind
    return _holds_video_or_picture(path, stamp(path))


@lru_cache(maxsize=1 << 16)
def _holds_video_or_picture(path: Path, stamp: Stamp | None) -> bool:
    """Return whether a file begins like a video or a picture; it is read again only after it has changed."""
    return stamp is not None and (holds_video(path) or is_picture(path))
