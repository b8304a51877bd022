"""Files and folders as Windows keeps them."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_LISTINGS = "/proc/self/fd", "/proc/self/maps"
_NOT_FOR_READERS = os.O_WRONLY | os.O_RDWR


def install() -> None:
    """Have the functions of `os` refuse what Windows refuses."""
    _replace("unlink", _deny_open)
    os.remove = os.unlink
    _replace("rmdir", _deny_open)
    _replace("replace", _deny_open)
    _replace("rename", _deny_open, _deny_existing)
    _replace("open", _deny_folder)
    _replace("fsync", _deny_reader)
    os.supports_follow_symlinks.discard(os.utime)
    _replace("utime", _deny_links)
    _replace("symlink", _deny_privilege)
    os.supports_dir_fd.clear()
    os.supports_fd.clear()


def _replace(name: str, *checks: Callable[..., None]) -> None:
    call = getattr(os, name)

    def checked(*args: Any, **kwargs: Any) -> Any:
        for check in checks:
            check(*args, **kwargs)
        return call(*args, **kwargs)

    setattr(os, name, checked)


def _deny_open(*paths: Any, **_: Any) -> None:
    """Refuse to rename, replace or remove what is open here, or a folder with something that is."""
    for path in map(os.path.realpath, paths):
        if any(each == path or each.startswith(f"{path}/") for each in _open_files()):
            raise PermissionError(errno.EACCES, "The process cannot access the file", path)


def _open_files() -> Iterator[str]:
    """Yield the paths of files that are open or mapped."""
    descriptors, maps = _LISTINGS
    for each in Path(descriptors).iterdir():
        with suppress(OSError):
            yield str(each.readlink())
    with Path(maps).open(encoding="utf-8") as file:
        yield from (line.split(maxsplit=5)[5].rstrip("\n") for line in file if line.count("/"))


def _deny_existing(_: Any, new: Any, **__: Any) -> None:
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", str(new))


def _deny_folder(path: Any, *_: Any, dir_fd: int | None = None, **__: Any) -> None:
    if dir_fd is not None:
        raise NotImplementedError("dir_fd unavailable on this platform")
    if not isinstance(path, int) and Path(os.fsdecode(path)).is_dir():
        raise PermissionError(errno.EACCES, "Permission denied", str(path))


def _deny_reader(descriptor: int) -> None:
    if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & _NOT_FOR_READERS:
        raise OSError(errno.EBADF, "Bad file descriptor")


def _deny_links(*_: Any, follow_symlinks: bool = True, **__: Any) -> None:
    if not follow_symlinks:
        raise NotImplementedError("utime: follow_symlinks unavailable on this platform")


def _deny_privilege(*_: Any, **__: Any) -> None:
    raise OSError(errno.EINVAL, "A required privilege is not held by the client")
