"""Memory of the host, or of the container that this process runs in."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

_ROOT = Path("/sys/fs/cgroup")
_GROUPS = Path("/proc/self/cgroup")
_FILES = {
    2: ("memory.max", "memory.current"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}
"""Names of the files of a limit and of what is used, by the version of control groups (`man 7 cgroups`)."""


def total_memory() -> int:
    """Return how many bytes this process may use at most."""
    return min([int(psutil.virtual_memory().total), *(limit for limit, _ in _limits())])


def available_memory() -> int:
    """Return how many bytes are free for this process."""
    free = [limit - used for limit, used in _limits()]
    return max(0, min([int(psutil.virtual_memory().available), *free]))


def peak_memory() -> int:
    """Return the most bytes that this process has held."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # psutil knows the peak on Windows only

    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes on macOS, kibibytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _limits() -> Iterator[tuple[int, int]]:
    """Yield the limits of the control groups that this process is in, and what of each is used."""
    for version, folder in _folders():
        limit, used = _FILES[version]
        with suppress(OSError, ValueError):  # not every group has a limit: in version 2, it is called `max`
            yield int((folder / limit).read_text()), int((folder / used).read_text())


def _folders() -> Iterator[tuple[int, Path]]:
    """Yield the groups that may limit memory, those that contain them included.

    In a container, the path may be that of the host; the group is then the root.
    """
    with suppress(OSError):
        for line in _GROUPS.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                root = _ROOT / controllers
                inside = root / path.lstrip("/")
                yield from ((1 if controllers else 2, each) for each in _up(inside, root))


def _up(folder: Path, root: Path) -> Iterator[Path]:
    while folder != root and folder.is_relative_to(root):
        yield folder
        folder = folder.parent
    yield root
