"""The places that a job reads from and writes to: network shares and external disks go away and come back."""

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Self

from vidx4.errors import DiskFullError, OutputError, SourceChangedError, SourceError
from vidx4.files.own_folder import LOCK
from vidx4.files.read import open_file
from vidx4.jobs.identity import source_digest
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Control
from vidx4.media.stamp import stamp_of
from vidx4.working_time import waiting

_logger = logging.getLogger(__name__)

FAILURES = (OSError, SourceError, OutputError)
"""Errors that may come from a place that is away."""
MAX_WAIT_SECONDS = 3600.0
"""How long a job waits for a place to come back."""
_POLL_SECONDS = 2.0
_PAUSES = (1.0, 4.0, 16.0)
"""Seconds before each new attempt after failures in a row of places that seem to be there."""
_PROBE = ".unfinished"
"""What the name of a file ends with that is made to see whether any can be."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What writing fails with on a disk that is there, but full."""
_AWAY = frozenset(
    getattr(errno, name)
    for name in (
        *(
            "EIO",
            "ESTALE",
            "ENODEV",
            "ENXIO",
            "EREMOTEIO",
            "ENOTCONN",
            "ETIMEDOUT",
            "EHOSTDOWN",
            "EHOSTUNREACH",
        ),
        *("ENETDOWN", "ENETUNREACH", "ENETRESET", "ECONNABORTED", "ECONNRESET", "ECONNREFUSED", "ESHUTDOWN"),
    )
    if hasattr(errno, name)
)
"""What reading and writing fails with if a share or a disk is away for a moment."""
_AWAY_ON_WINDOWS = frozenset({21, 53, 55, 59, 64, 67, 121, 1117, 1167, 1231, 1232, 1236})
"""The same by Windows' numbers (learn.microsoft.com, "System Error Codes"), of which Python makes others."""


@dataclass(frozen=True)
class _Place:
    """A file or folder, as it was when the job began."""

    path: Path
    is_written: bool
    """Whether files are made in it; otherwise they are read."""
    id: tuple[int, int] | None
    """Its device and number when the job began; None if it could not be asked."""
    parent: tuple[int, int] | None
    """The same of the folder in which it lay."""

    @classmethod
    def of(cls, path: Path, *, is_written: bool = False) -> Self:
        return cls(path, is_written, _id_of(path), _id_of(path.parent))

    def is_there(self) -> bool:
        """Return whether it can be read, or written to."""
        if self.is_written:
            return self._is_writable()
        with suppress(OSError):
            if self.path.is_dir():
                with os.scandir(self.path) as entries:
                    next(entries, None)
                return True
            with open_file(self.path) as file:
                return bool(file.read(1))
        return False

    def _is_writable(self) -> bool:
        """Return whether a file can be made; names that are known may be listed even if a disk is gone."""
        try:
            if _id_of(self.path) != self.id:  # as on a share that is back
                (self.path / LOCK).lstat()  # a folder of the same name elsewhere is another one
            with NamedTemporaryFile(prefix=".", suffix=_PROBE, dir=self.path) as probe:
                probe.write(b"\0")
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            return error.errno in _FULL
        return True

    def raise_if_removed(self) -> None:
        """Raise an `OutputError` if it is gone, though the disk or share that it lay on is there."""
        if self.parent is not None and _id_of(self.path.parent) == self.parent and not self._exists():
            raise OutputError(f"{self.path} was removed while the job was running.")

    def _exists(self) -> bool:
        try:
            self.path.lstat()
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR)
        return True


def _id_of(path: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_dev, status.st_ino
    return None


class Storage:
    """Where a job reads from and writes to.

    Args:
        plan: the job's plan, whose work folder exists.
        digest: SHA-256 of the source, as `source_digest` returns it.
        control: stops the waiting.
    """

    def __init__(self, plan: Plan, digest: object, control: Control) -> None:
        self._source, self._stamp, self._digest = plan.source.path, plan.source.stamp, digest
        self._control = control
        self._num_failures = 0
        path = self._source if self._source.exists() else self._source.parent  # a pattern is no file
        self._places = _Place.of(path), _Place.of(plan.work_folder, is_written=True)

    def check_source(self) -> None:
        """Make sure that the source is still what was planned with.

        Raises:
            SourceChangedError: it is something else.
            SourceError: it can't be read.
        """
        try:
            if self._is_same():
                return
        except OSError as error:
            raise self._unreadable(error) from error
        raise SourceChangedError(
            f"{self._source} has changed since the job began: its frames and its sound would be of two "
            "versions. Use --restart to begin again with the new one."
        )

    def _is_same(self) -> bool:
        is_unknown = not self._stamp  # as in plans of a source that was only probed
        return is_unknown or stamp_of(self._source) == self._stamp or self._has_same_content()

    def _has_same_content(self) -> bool:
        return source_digest(self._source) == self._digest

    def _unreadable(self, error: OSError) -> SourceError:
        return SourceError(f"{self._source} can't be read: {error.strerror}.")

    def doubt(self, error: OSError) -> None:
        """Accept that the source can't be read at a place, if that will not change.

        Raises:
            SourceError: it may.
        """
        if not self.are_there() or (_is_away(error) and self._num_failures < len(_PAUSES)):
            raise self._unreadable(error) from error

    def report_success(self) -> None:
        """Count a part that was made: the failures before it are over."""
        self._num_failures = 0

    def are_there(self) -> bool:
        """Return whether all places can be reached."""
        return not any(self._lost())

    def _lost(self) -> Iterator[_Place]:
        return (place for place in self._places if not place.is_there())

    def wait_after(self, error: Exception) -> None:
        """Wait until all places are there again; return if the work that failed is worth another attempt.

        Args:
            error: what the work has failed with.

        Raises:
            Exception: the error itself, if it has nothing to do with a place that is away.
            OutputError: a place was removed, or does not come back.
            StoppedError: the job was stopped meanwhile.
        """
        if isinstance(error, DiskFullError | SourceChangedError):
            raise error
        is_away = not self.are_there()
        self.wait()
        if not is_away and (not _is_away(error) or self._num_failures >= len(_PAUSES)):
            raise error
        self._control.stop.wait(0 if is_away else _PAUSES[self._num_failures])
        self._control.check()
        self._num_failures += 1

    def wait(self) -> None:
        """Wait until all places are there.

        Raises:
            OutputError: a place was removed, or does not come back.
            StoppedError: the job was stopped meanwhile.
        """
        for place in self._lost():
            self._wait_for(place)

    def _wait_for(self, place: _Place) -> None:
        place.raise_if_removed()
        hours = f"{MAX_WAIT_SECONDS / 3600:g} h"
        what = "written to" if place.is_written else "read"
        _logger.warning("%s: %s can't be %s. Waiting up to %s for it.", _now(), place.path, what, hours)
        begun = time.monotonic()
        with waiting():
            while not place.is_there():
                self._control.check()
                place.raise_if_removed()
                if time.monotonic() - begun > MAX_WAIT_SECONDS:
                    raise OutputError(f"{place.path} could not be {what} for {hours}.")
                self._control.stop.wait(_POLL_SECONDS)
        _logger.warning("%s: %s is back.", _now(), place.path)


def _is_away(error: BaseException | None) -> bool:
    """Return whether an error, or what caused it, is one of those of a place that is away."""
    while error is not None:
        if isinstance(error, OSError) and (error.errno in _AWAY or _number(error) in _AWAY_ON_WINDOWS):
            return True
        error = error.__cause__
    return False


def _number(error: OSError) -> int | None:
    """Return Windows' own number of an error; None elsewhere."""
    return getattr(error, "winerror", None)


def _now() -> str:
    return time.strftime("%H:%M:%S")
