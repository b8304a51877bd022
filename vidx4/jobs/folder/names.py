"""The names of outputs: each depends on its own source and on what is recorded, never on other sources."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from vidx4.errors import OutputError
from vidx4.jobs.folder.item import Item
from vidx4.jobs.folder.records import Records
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.selection import Selection


class Names:
    """Decides what outputs are called, and which source has a name that several would have.

    Args:
        selection: the files.
        records: the records of their outputs.
    """

    def __init__(self, selection: Selection, records: Records) -> None:
        self._selection = selection
        self._records = records
        self._sources: dict[str, Path] = {}
        """The source that has a name, of those looked at so far."""

    def recorded(self, path: Path) -> list[Path]:
        """Return the outputs that were made of a source, the latest first; records may hold anything."""
        plain = self._selection.output(path)
        stems = (f"{path.stem}_x4", f"{path.name}_x4")
        outputs = self._records.outputs_of(self._selection.name(path))
        return [each for each in outputs if each.parent == plain.parent and each.stem in stems]

    def stem(self, path: Path) -> Path:
        """Return the output of a source without its suffix: that of an earlier run, if it is still there."""
        earlier = next((each for each in self.recorded(path) if each.exists()), None)
        return self._selection.output(path) if earlier is None else earlier.with_suffix("")

    def check_owner(self, path: Path, output: Path) -> None:
        """Make sure that an output is not that of another source which is still there.

        Raises:
            OutputError: it is.
        """
        owner = self._owner(output)
        if owner is not None and owner != path and owner.exists() and output.exists():
            raise OutputError(_clash(path, owner, output))

    def _owner(self, output: Path) -> Path | None:
        record = self._records.find(output)
        return self._selection.folder / record.source_name if record and record.source_name else None

    def keep(self, path: Path, output: Path) -> None:
        """Let a source have the name of an output."""
        self._sources[self._key(output)] = path

    def without_clashes(self, looks: Sequence[Item | FileReport]) -> list[Item | FileReport]:
        """Return looks at files, with reports for those whose output would be that of another file, too.

        A file keeps the name that it has had so far; if none of several has, none gets it.
        """
        by_name: defaultdict[str, list[tuple[Path, Path]]] = defaultdict(list)
        for look in looks:
            if output := _output(look):
                by_name[self._key(output)].append((look.path, output))
        return [self._unless_clashing(look, by_name) for look in looks]

    def _unless_clashing(
        self, look: Item | FileReport, by_name: Mapping[str, Sequence[tuple[Path, Path]]]
    ) -> Item | FileReport:
        output = _output(look)
        if output is None:
            return look
        key = self._key(output)
        keeper = self._keeper(key) or next((each[0] for each in by_name[key] if self._has_made(*each)), None)
        sources = [keeper] if keeper else [path for path, _ in by_name[key]]
        if others := [each for each in sources if each != look.path]:
            return FileReport(look.path, Outcome.FAILED, None, _clash(look.path, others[0], output))
        self._sources[key] = look.path
        return look

    def _keeper(self, key: str) -> Path | None:
        """Return the source that has a name, if it is still there."""
        keeper = self._sources.get(key)
        return keeper if keeper is not None and keeper.exists() else None

    def _has_made(self, path: Path, output: Path) -> bool:
        return self._owner(output) == path and output.exists()

    def _key(self, output: Path) -> str:
        """Return what two names have in common that are one to the file system of the outputs."""
        text = str(output)
        return unicodedata.normalize("NFC", text).casefold() if self._ignores_case else text

    @cached_property
    def _ignores_case(self) -> bool:
        """Whether the file system of the outputs takes capital and small letters for the same."""
        folder = self._selection.output_folder.absolute()
        probes = (each for each in (self._records.path, folder, *folder.parents) if _has_twin(each.name))
        with suppress(OSError):
            probe = next((each for each in probes if each.exists()), folder)
            return _has_twin(probe.name) and probe.samefile(probe.with_name(probe.name.swapcase()))
        return False


def _has_twin(name: str) -> bool:
    """Return whether a name has letters, so that another one differs from it in their case only."""
    return name != name.swapcase()


def _output(look: Item | FileReport) -> Path | None:
    """Return the output that a file has or gets; None if it gets none."""
    is_kept = isinstance(look, Item) or look.outcome == Outcome.SKIPPED
    return look.output if is_kept else None


def _clash(path: Path, other: Path, output: Path) -> str:
    return (
        f"{path} and {other} would both become {output}: rename one of them, or use --full-names, which "
        "names outputs after the whole names of their sources."
    )
