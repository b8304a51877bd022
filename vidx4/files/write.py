"""Files and folders that appear whole or not at all, written under names that nobody can foresee.

A folder of unknown origin may hold links at the names that are written to. A file is therefore created under
a random name, which must not exist, and takes its final name by being renamed, which replaces a link itself
and never what it leads to.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from av.error import FFmpegError

from vidx4.errors import DiskFullError, OutputError, SourceError
from vidx4.files.busy import rename
from vidx4.files.flags import BINARY, FOLDER, NO_FOLLOW
from vidx4.files.remains import hidden_name, is_hidden_name, marked, remove_remains

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.EINVAL)
"""What file systems answer that have no hard links."""
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)
"""What file systems answer that can't flush a folder."""
_ANYONE = 0o666
"""Permissions to read and write, for everyone."""


@contextmanager
def write_whole(
    path: Path, *, overwrite: bool = True, like: Path | None = None, makes_folder: bool = True
) -> Iterator[Path]:
    """Give a path beside `path` to write a file to, which takes its place when the block ends well.

    After an exception, a KeyboardInterrupt included, nothing is left behind.

    Args:
        path: the file.
        overwrite: whether a file that exists when the block ends is replaced.
        like: a file or folder; nobody may read the new file who may not read that.
        makes_folder: whether the folder is made if it is not there; one that was there before may be on a
            disk that is away.

    Raises:
        DiskFullError: the disk is full.
        OutputError: the file can't be written for another reason, or exists.
        SourceError: another file, which is named, can't be read in the block.
    """
    with _errors_about(path):
        if makes_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        remove_remains(path)
        unfinished = path.with_name(hidden_name(path.name, "unfinished"))
        with marked(unfinished):
            # It is closed at once, since Windows renames no open file.
            os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW | BINARY, _ANYONE))
            try:
                _restrict(unfinished, like)
                yield unfinished
                _flush(unfinished, os.O_RDWR)
                _take_place(unfinished, path, overwrite)
                _flush_folder(path.parent)  # or the new name may not survive a power cut
            finally:
                with suppress(OSError):
                    unfinished.unlink()


def _take_place(unfinished: Path, path: Path, overwrite: bool) -> None:
    """Give a file its final name; without `overwrite`, only if nothing has that name."""
    if overwrite:
        rename(unfinished, path)
        return
    try:
        path.hardlink_to(unfinished)  # unlike renaming, it fails if the name exists
    except FileExistsError as error:
        raise _appeared(path) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise _appeared(path) from error
        rename(unfinished, path)


def _appeared(path: Path) -> OutputError:
    return OutputError(f"{path} has appeared meanwhile: move it away, or use --overwrite.")


@contextmanager
def write_whole_folder(
    folder: Path, *, like: Path | None = None, replaces: Callable[[str], bool] = lambda _: False
) -> Iterator[Path]:
    """Give an empty folder to write files to, which become those of `folder` when the block ends well.

    A new folder appears whole. In one that exists, the files get their names one after another, since it may
    be a mount point, or the current folder of somebody. The files have to be flushed by their writer. After
    an exception, a KeyboardInterrupt included, nothing is left behind, and a folder that was there before is
    as it was.

    Args:
        folder: the folder.
        like: a file or folder; nobody may read the new files who may not read that.
        replaces: whether a file that exists in the folder is removed, by its name; others are kept.

    Raises:
        DiskFullError: the disk is full.
        OutputError: the folder can't be written for another reason, or holds a file that would be replaced.
    """
    folder = real_folder(folder)
    with _errors_about(folder):
        if folder.is_symlink():
            raise OutputError(f"{folder} is a link: name the folder that it leads to.")
        is_new = not os.path.lexists(folder)
        parent = folder.parent if is_new else folder
        parent.mkdir(parents=True, exist_ok=True)
        for state in ("unfinished", "old"):
            remove_remains(parent / folder.name, state)
        unfinished = parent / hidden_name(folder.name, "unfinished")
        with marked(unfinished):
            unfinished.mkdir()
            try:
                _restrict(unfinished, like)
                yield unfinished
                for file in unfinished.iterdir():
                    _restrict(file, like)
                _flush_folder(unfinished)
                if is_new:
                    rename(unfinished, folder)
                else:
                    _move_into(folder, unfinished, replaces)
                _flush_folder(parent)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)


def real_folder(folder: Path) -> Path:
    """Return the path of a folder without `.` and `..`, which lead elsewhere once folders are renamed.

    Raises:
        OutputError: it is the root.
    """
    if folder.name in ("", ".."):
        folder = Path(os.path.realpath(folder))
    if not folder.name:
        raise OutputError(f"{folder} can't be an output: name a folder in it.")
    return Path(os.path.realpath(folder.parent), folder.name)


def _move_into(folder: Path, files: Path, replaces: Callable[[str], bool]) -> None:
    """Move all files of a folder into another, in place of those that they replace."""
    present = [each.name for each in os.scandir(folder) if each.is_file(follow_symlinks=False)]
    old, moved = folder / hidden_name(folder.name, "old"), list[Path]()
    old.mkdir(0o700)
    try:
        for name in filter(replaces, present):
            rename(folder / name, old / name)
        for file in sorted(files.iterdir()):
            _take_place(file, folder / file.name, overwrite=False)
            moved.append(folder / file.name)
    except BaseException:
        for path in moved:
            path.unlink()
        for path in old.iterdir():
            rename(path, folder / path.name)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _restrict(path: Path, like: Path | None) -> None:
    """Take from a new file or folder the permissions that nobody has for another one."""
    if like is None or not like.exists():  # a pattern for numbered pictures is no file
        return
    source, new = like.stat(), path.stat()
    allowed = source.st_mode & 0o444
    if source.st_gid != new.st_gid:
        # Members of its group may be others there, and the other way round: both get what both have there.
        both = allowed >> 3 & allowed & 0o4
        allowed = both << 3 | both
    allowed |= 0o400
    entering = allowed >> 2 if stat.S_ISDIR(new.st_mode) else 0  # whoever may read a folder may enter it
    mode = stat.S_IMODE(new.st_mode) & (allowed | allowed >> 1 | entering)
    with suppress(PermissionError, NotImplementedError):  # where files have no permissions, as on FAT
        path.chmod(mode)


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Turn errors of writing to a path into errors for the user.

    What is written is read from elsewhere meanwhile: an error that names another file is about that.
    """
    try:
        yield
    except (OSError, FFmpegError) as error:
        if other := _other_file(error, path):
            raise SourceError(f"{other} can't be read: {_reason(error)}.") from error
        kind = DiskFullError if error.errno in _FULL else OutputError
        raise kind(f"{path} can't be written: {_reason(error)}.") from error


def _other_file(error: OSError | FFmpegError, path: Path) -> Path | None:
    """Return the file that an error names; None if it is the one that is written, on its way, or unknown."""
    if not isinstance(error.filename, str | bytes):
        return None
    named, path = Path(os.fsdecode(error.filename).removeprefix("file:")), path.absolute()
    is_own = named.absolute() in (path, *path.parents) or any(map(is_hidden_name, named.parts))
    return None if is_own else named


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _flush(path: Path, flags: int) -> None:
    """Wait until a file is on the disk, which Windows does for a file that is open for writing only."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, on systems and file systems that can."""
    if FOLDER is None:
        return
    try:
        _flush(folder, os.O_RDONLY | FOLDER)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
