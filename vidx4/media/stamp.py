"""Whether a source is still the file, or the numbered pictures, that was read before."""

from hashlib import sha256
from pathlib import Path

from vidx4.media.pictures.read_sequence import find_sequence, is_sequence


def stamp_of(path: Path) -> str:
    """Return a value that changes when a source does: sizes and times of last change of its files.

    Raises:
        OSError: a file is gone, or can't be reached.
        SourceError: there are no numbered pictures.
    """
    if not is_sequence(path):
        return _stamp(path)
    found = find_sequence(path)
    stamps = (f"{name!r} {_stamp(found.folder / name)}" for name in found.names)
    return sha256("\n".join(stamps).encode()).hexdigest()


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
