"""Whether folders are where they were: a share may drop, and leave nothing or an empty folder behind."""

import errno
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from vidx4.files.read import is_regular

Identity = tuple[int, int]
"""Number of a file system, and of a folder on it."""


class Places:
    """The folders of a batch.

    Args:
        folder: that of the sources.
        output_folder: that of the outputs.
        record: a file that is in the folder of the outputs as long as that is there.
    """

    def __init__(self, folder: Path, output_folder: Path, record: Path) -> None:
        self._folder, self._output_folder, self._record = folder, output_folder, record
        self._sources: tuple[Path, ...] = ()
        self._identities: dict[Path, Identity] = {}

    def remember(self, sources: Iterable[Path]) -> None:
        """Remember the folders of some sources, and that of the outputs."""
        self._sources = tuple(sources)
        inner = {path.parent: path for path in self._sources}
        parents = {parent for path in inner.values() for parent in self._parents(path)}
        for each in {*parents, self._folder, self._output_folder}:
            with suppress(OSError):
                self._identities.setdefault(each, _identity(each))

    def missing(self, path: Path) -> Path | None:
        """Return the folder that is gone without having been deleted, that of a source or of the outputs.

        Args:
            path: the source; if only this file was deleted, or its folder in that of the sources, no folder
                is gone.
        """
        output_folder = self._output_folder
        if output_folder in self._identities and not self._is_there(output_folder, [self._record]):
            return output_folder
        for each in self._parents(path):
            try:
                _identity(each)
            except OSError as error:
                if error.errno == errno.ENOENT and each != self._folder:
                    continue  # deleted, if the folder above is there
                return each
            markers = (path, *(other for other in self._sources if each in other.parents))
            return None if self._is_there(each, markers) else each
        return None

    def _parents(self, path: Path) -> list[Path]:
        """Return the folders that a source lies in, the innermost first."""
        return [each for each in path.parents if each == self._folder or self._folder in each.parents]

    def _is_there(self, folder: Path, markers: Iterable[Path]) -> bool:
        """Return whether a folder is the one it was or, after a share was mounted again, holds the same."""
        try:
            found = _identity(folder)
        except OSError:
            return False
        if found == self._identities.get(folder, found):
            return True
        if not any(map(is_regular, markers)):
            return False
        self._identities[folder] = found
        return True


def _identity(folder: Path) -> Identity:
    status = folder.stat()
    return status.st_dev, status.st_ino
