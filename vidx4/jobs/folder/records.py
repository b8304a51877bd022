"""Records of the outputs in a folder: the job that made each, and its content when it was written.

They are lines of JSON in a file that is only appended to, so that several batches may write to one folder.
The last line on an output counts. The file may come from anywhere: what can't be true counts as missing.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from vidx4.errors import OutputError
from vidx4.files.flags import FREES_OPEN_FILES
from vidx4.files.lock import close_locked, is_at, try_lock
from vidx4.files.read import (
    MAX_RECORDS_SIZE,
    MAX_TEXT_SIZE,
    file_digest,
    open_file,
    open_regular,
    read_at,
    read_json,
)
from vidx4.files.stamp import Stamp, stamp
from vidx4.files.write import write_whole
from vidx4.jobs.identity import NOTHING, Identity, differences, read_identity
from vidx4.media.place import check_writable

FILE = ".vidx4-batch.jsonl"
EARLIER_FILE = ".vidx4-batch.json"
"""The records of earlier versions, one object by the names of outputs."""
_MAX_STALE = 1000
"""Lines that count no more, and are kept all the same."""


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
    source_name: str = ""
    """Path of the source in its folder; empty if an earlier version wrote the record."""
    asked: str = ""
    """Digest of all that was asked for, and of the model; empty if it is not known."""


class Records:
    """The records of all outputs in a folder.

    Args:
        folder: the folder of the outputs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / FILE
        self._lines: dict[str, bytes] = {}
        """The last line on each output, by its name."""
        self._outputs: dict[str, dict[str, None]] = {}
        """Names of the outputs of each source, in the order in which they were made."""
        self._num_read, self._place, self._number = 0, 0, -1
        self._earlier: Mapping[str, Any] | None = None
        self.is_open = False
        self._lock = RLock()  # guards what was read

    def open(self) -> None:
        """Make sure, before the work, that records can be written; remove those that count no more.

        Raises:
            OutputError: they can't be.
        """
        self.check()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._update()
        except OSError as error:
            raise OutputError(f"{self.path} can't be written: {error.strerror}.") from error
        self.is_open = True
        # Where the file can't be replaced while it is locked, and so open, its lines only become more.
        if FREES_OPEN_FILES and self._num_read - len(self._lines) > max(_MAX_STALE, len(self._lines)):
            self._compact()

    def check(self) -> None:
        """Make sure that records could be written, without writing anything; raises as `open`."""
        check_writable(self.path, self._folder, overwrite=True)
        if self.path.is_symlink():
            raise OutputError(f"{self.path} is a link: remove it.")

    def add(self, output: Path, source: Path, identity: Identity, name: str = "", asked: str = "") -> None:
        """Record an output that was just written.

        Args:
            output: the output.
            source: its source.
            identity: that of the job.
            name: path of the source in its folder.
            asked: digest of all that was asked for.

        Raises:
            OSError: it can't be recorded.
        """
        source_stamp, output_stamp = stamp(source), stamp(output)
        if source_stamp is None or output_stamp is None:
            return  # the source was deleted meanwhile: there is nothing to compare a later run with
        digest = file_digest(output)
        self._append(output, Record(identity, source_stamp, output_stamp, digest, name, asked))

    def renew(self, output: Path, source: Path, record: Record, name: str, asked: str) -> None:
        """Record that an output was found to be what is asked for, so that the next look at it is short."""
        source_stamp, output_stamp = stamp(source), stamp(output)
        if self.is_open and source_stamp is not None and output_stamp is not None:
            renewed = Record(record.identity, source_stamp, output_stamp, record.digest, name, asked)
            with suppress(OSError):  # it is of use, not needed
                self._append(output, renewed)

    def find(self, output: Path) -> Record | None:
        """Return the record of an output; None if there is none, or it is damaged."""
        name = self._name(output)
        with self._lock:
            self._update()
            line = self._lines.get(name)
        return self._find_earlier(name) if line is None else _record(_parsed(line))

    def outputs_of(self, source_name: str) -> list[Path]:
        """Return the outputs that were made of a source, the latest first."""
        with self._lock:
            self._update()
            return [self._folder / name for name in reversed(self._outputs.get(source_name, {}))]

    def known(self, output: Path, source: Path) -> Identity:
        """Return the identity of the job that made an output, if the source has not changed since."""
        record = self.find(output)
        return record.identity if record is not None and record.source == stamp(source) else NOTHING

    def _find_earlier(self, name: str) -> Record | None:
        if self._earlier is None:
            self._earlier = read_json(self._folder / EARLIER_FILE, follows_links=False)
        return _record(self._earlier.get(name))

    def _append(self, output: Path, record: Record) -> None:
        """Write a record at the end of the file, on a line of its own even if the last one is torn."""
        line = json.dumps({"name": self._name(output), **asdict(record)}).encode() + b"\n"
        with self._locked() as descriptor:
            size = os.fstat(descriptor).st_size
            is_torn = size > 0 and read_at(descriptor, size - 1, 1) != b"\n"
            written = b"\n" * is_torn + line
            if os.write(descriptor, written) != len(written):
                raise OSError(f"{self.path} can't be written: the disk is full.")

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Give the descriptor of the file, which no other process writes to or replaces meanwhile."""
        while True:
            descriptor = open_regular(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                with suppress(OSError):  # a file system without locks: lines are short, and appended
                    try_lock(descriptor, waits=True)
                if is_at(descriptor, self.path):
                    yield descriptor
                    return
            finally:
                close_locked(descriptor)

    def _update(self) -> None:
        """Read the lines that were added since the last time, by whatever process."""
        try:
            status = self.path.lstat()
            if status.st_ino != self._number or status.st_size < self._place:
                self._forget(status.st_ino)
            if self._place < status.st_size:
                self._read()
        except (OSError, ValueError):
            self._forget(-1)

    def _forget(self, number: int) -> None:
        self._lines.clear()
        self._outputs.clear()
        self._num_read, self._place, self._number = 0, 0, number

    def _read(self) -> None:
        with open_file(self.path, follows_links=False) as file:
            file.seek(self._place)
            while self._place < MAX_RECORDS_SIZE and (line := file.readline(MAX_TEXT_SIZE)):
                if not line.endswith(b"\n") and len(line) < MAX_TEXT_SIZE:
                    return  # torn, or still being written
                self._place += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        self._num_read += 1
        match _parsed(line):
            case {"name": str(name), "source_name": str(source_name)}:
                self._lines[name] = line
                outputs = self._outputs.setdefault(source_name, {})
                outputs.pop(name, None)
                outputs[name] = None

    def _compact(self) -> None:
        """Remove the lines that count no more."""
        with suppress(OSError, OutputError), self._locked():
            self._update()
            with write_whole(self.path) as unfinished:
                unfinished.write_bytes(b"".join(self._lines.values()))

    def _name(self, output: Path) -> str:
        return output.relative_to(self._folder).as_posix()


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _record(facts: Any) -> Record | None:
    """Return a record that was read from a file, which may hold anything; None if it is none."""
    match facts:
        case {
            "identity": dict(identity),
            "source": [int(source_size), int(source_time)],
            "output": [int(output_size), int(output_time)],
            "digest": str(digest),
        } if read_identity(identity) == identity:
            names = {
                name: value for name in ("source_name", "asked") if isinstance(value := facts.get(name), str)
            }
            source, output = (source_size, source_time), (output_size, output_time)
            return Record(identity, source, output, digest, **names)
    return None


def what_is_wrong(record: Record, output: Path, identity: Identity) -> str:
    """Return why an output is not what a job would make; an empty string if it is."""
    if found := differences(record.identity, identity):
        return f"it was made by another job: {found}"
    if stamp(output) != record.output and file_digest(output) != record.digest:
        return "it was changed after it was written"
    return ""
