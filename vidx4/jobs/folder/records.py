"""Records of the outputs in a folder: the job that made each, and its content when it was written."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidx4.files.read import file_digest, read_json
from vidx4.files.write import write_whole
from vidx4.jobs.folder.selection import Stamp, stamp
from vidx4.jobs.identity import NOTHING, Identity, differences, read_identity

FILE = ".vidx4-batch.json"


@dataclass(frozen=True)
class Record:
    """The record of one output."""

    identity: Identity
    """Identity of the job that made it."""
    source: Stamp
    """Stamp of the job's source."""
    output: Stamp
    digest: str
    """SHA-256 of the output."""


class Records:
    """The records of all outputs in a folder, kept in a file there.

    Args:
        folder: the folder of the outputs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, output: Path, source: Path, identity: Identity) -> None:
        """Record an output that was just written."""
        source_stamp, output_stamp = stamp(source), stamp(output)
        if source_stamp is None or output_stamp is None:
            return  # the source was deleted meanwhile: there is nothing to compare a later run with
        record = Record(identity, source_stamp, output_stamp, file_digest(output))
        self._folder.mkdir(parents=True, exist_ok=True)
        content = dict(self._content()) | {self._name(output): asdict(record)}
        with write_whole(self._folder / FILE) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1))

    def find(self, output: Path) -> Record | None:
        """Return the record of an output; None if there is none, or it is damaged."""
        match self._content().get(self._name(output)):
            case {
                "identity": dict(identity),
                "source": [int(source_size), int(source_time)],
                "output": [int(output_size), int(output_time)],
                "digest": str(digest),
            } if read_identity(identity) == identity:
                return Record(identity, (source_size, source_time), (output_size, output_time), digest)
        return None

    def known(self, output: Path, source: Path) -> Identity:
        """Return the identity of the job that made an output, if the source has not changed since."""
        record = self.find(output)
        return record.identity if record is not None and record.source == stamp(source) else NOTHING

    def _content(self) -> Mapping[str, Any]:
        return read_json(self._folder / FILE, follows_links=False)

    def _name(self, output: Path) -> str:
        return output.relative_to(self._folder).as_posix()


def what_is_wrong(record: Record, output: Path, identity: Identity) -> str:
    """Return why an output is not what a job would make; an empty string if it is."""
    if found := differences(record.identity, identity):
        return f"it was made by another job: {found}"
    if stamp(output) != record.output and file_digest(output) != record.digest:
        return "it was changed after it was written"
    return ""
