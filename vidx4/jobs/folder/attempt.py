"""What comes of work on one file, whatever it raises: the others are not to suffer."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from vidx4.errors import DeviceError, InUseError, ModelError, SourceChangedError, StoppedError, Vidx4Error
from vidx4.jobs.folder.reports import FileReport, Outcome

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def outcome_of(path: Path, work: Callable[[], Result]) -> Result | FileReport:
    """Return the result of some work on a file or, if it fails, a report.

    Raises:
        StoppedError: the user stopped it.
        SourceChangedError: the file has changed meanwhile.
        ModelError: the model is not available, for whatever file.
        DeviceError: the device has failed.
    """
    report = _or_report(path, work)
    if isinstance(report, FileReport) and report.outcome == Outcome.FAILED and not _is_there(path):
        return FileReport(path, Outcome.GONE, message="It was deleted or moved before its turn.")
    return report


def _or_report(path: Path, work: Callable[[], Result]) -> Result | FileReport:
    """Return the result of some work on a file or, if it fails, a report."""
    try:
        return work()
    except (StoppedError, SourceChangedError, ModelError, DeviceError, KeyboardInterrupt):
        raise
    except InUseError as error:
        return FileReport(path, Outcome.LEFT, message=str(error))
    except Vidx4Error as error:
        return failed(path, error)
    except MemoryError:
        return FileReport(path, Outcome.FAILED, None, "There is not enough memory for it.")
    except RecursionError:
        return FileReport(path, Outcome.FAILED, None, "It, or the path to it, is nested too deeply.")
    except BaseException as error:  # a library may even ask for the end of the process
        # Even a bug concerns this file only: the rest of the night's work continues.
        _logger.exception("%s failed because of a bug in vidx4.", path)
        return FileReport(path, Outcome.FAILED, None, f"This is a bug in vidx4: {error!r}.")


def failed(path: Path, error: Vidx4Error) -> FileReport:
    """Return the report on a file that failed for a reason that the user is told."""
    return FileReport(path, Outcome.FAILED, None, " ".join([str(error), *getattr(error, "__notes__", [])]))


def _is_there(path: Path) -> bool:
    """Return whether there is something at a path, even if it can't be looked at."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True
