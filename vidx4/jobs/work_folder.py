"""The folder beside an output in which its parts lie until all of them are there."""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import IO, Any

from vidx4.errors import OptionError, OutputError
from vidx4.jobs.identity import Identity, differences
from vidx4.media.atomic import UNFINISHED, file_digest, write_whole

logger = logging.getLogger(__name__)

LOCK, PLAN = "lock", "plan.json"
_NUMBERED = "[0-9]" * 8
PART, RECORD, STATE = ".nut", ".json", ".state"
"""Suffixes of the files of a part: its packets, what is known of it, and what the frames after it need."""
_OURS = (
    LOCK,
    PLAN,
    UNFINISHED,
    "sample.nut",
    "output.*",
    *(f"{_NUMBERED}{suffix}" for suffix in (PART, RECORD, STATE)),
)


@dataclass(frozen=True)
class Part:
    """A chunk of a shot that is made: frames `[start, stop)` of the source."""

    start: int
    stop: int
    num_frames: int
    """Fewer than `stop - start` where some can't be decoded."""
    num_reused: float
    """How many frames' worth of work was not done again."""
    starts_shot: bool
    ends_shot: bool
    seconds: float
    """That it took."""
    size: int
    """Of its file, in bytes."""
    digest: str
    """Of its file."""


class WorkFolder:
    """The parts of a job, each whole or not there: those that are there are the record of its progress.

    A part counts once its record is there, which is written last and holds the digests of the other files.

    Args:
        path: the folder, which this process has locked.
        identity: what the job is.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path
        self._job = _job_digest(identity)
        self.parts: dict[int, Part] = {}
        """By their start."""

    def load_parts(self) -> None:
        """Find the parts that are whole, and remove what is left of others."""
        for path in sorted(self.path.glob(f"{_NUMBERED}{RECORD}")):
            part = self._read(path)
            if part is None:
                _remove_files(self.path, [path.name])
            else:
                self.parts[part.start] = part
        _remove_files(self.path, [UNFINISHED])

    def _read(self, record: Path) -> Part | None:
        """Return a part, if it is of this job and its file is what was written."""
        facts = read_json(record)
        try:
            part = Part(**facts["part"])
            packets = self.part_path(part.start)
            is_whole = packets.stat().st_size == part.size and file_digest(packets) == part.digest
        except (KeyError, TypeError, OSError):
            return None
        return part if is_whole and facts.get("job") == self._job else None

    def holds_other_jobs(self) -> bool:
        """Return whether there are records of parts that are not of this job."""
        records = map(read_json, self.path.glob(f"{_NUMBERED}{RECORD}"))
        return any("job" in facts and facts["job"] != self._job for facts in records)

    @property
    def sample_path(self) -> Path:
        """Where frames are compressed only to see how large they get."""
        return self.path / "sample.nut"

    def twin_path(self, output: Path) -> Path:
        """Return where an output is written only to be compared with one that is there."""
        return self.path / f"output{output.suffix}"

    def part_path(self, start: int) -> Path:
        """Return where the packets of the part that begins at a frame lie."""
        return self.path / f"{start:08}{PART}"

    def add(self, part: Part, save_state: Callable[[Path], Any] | None) -> None:
        """Record a part whose packets are written; whatever happens from here on, it is not lost.

        Args:
            part: what is known of it.
            save_state: writes what the frames after it need to a file; None where they need nothing.
        """
        digest = None if save_state is None else self._save(save_state, self._state_path(part.stop))
        with write_whole(self._record_path(part)) as unfinished:
            unfinished.write_text(json.dumps({"job": self._job, "part": asdict(part), "state": digest}))
        self.parts[part.start] = part
        self._remove_states(part)

    def _save(self, save_state: Callable[[Path], Any], path: Path) -> str:
        with write_whole(path) as unfinished:
            save_state(unfinished)
        return file_digest(path)

    def _remove_states(self, last: Part) -> None:
        """Keep the states from which work may have to go on: before the last part and before gaps."""
        needed = {last.start} | {part.stop for part in self.parts.values() if part.stop not in self.parts}
        for path in self.path.glob(f"{_NUMBERED}{STATE}"):
            if int(path.stem) not in needed:
                path.unlink()

    def state_after(self, part: Part) -> Path | None:
        """Return the file with what the frames after a part need of it; None where that is nothing.

        Raises:
            LookupError: it is not there any more.
        """
        path = self._state_path(part.stop)
        digest = read_json(self._record_path(part)).get("state")
        if digest is None:
            return None
        if not path.is_file() or file_digest(path) != digest:
            raise LookupError(path)
        return path

    def _record_path(self, part: Part) -> Path:
        return self.path / f"{part.start:08}{RECORD}"

    def _state_path(self, index: int) -> Path:
        return self.path / f"{index:08}{STATE}"

    @property
    def num_done(self) -> int:
        """Number of frames that need no more work."""
        return sum(part.stop - part.start for part in self.parts.values())

    @property
    def size_of_parts(self) -> int:
        """Of the parts' packets, in bytes."""
        return sum(part.size for part in self.parts.values())

    @property
    def size_of_state(self) -> int:
        """Of the largest state that is there, in bytes."""
        return max((path.stat().st_size for path in self.path.glob(f"{_NUMBERED}{STATE}")), default=0)

    @property
    def size(self) -> int:
        """Of all its files, in bytes."""
        return sum(path.stat().st_size for path in self.path.iterdir() if path.is_file())

    def clear(self) -> None:
        """Remove all files of a job but the lock."""
        self.parts.clear()
        _remove_files(self.path, _OURS[1:])


def num_kept(path: Path) -> int:
    """Return how many frames the parts in a work folder hold by their records, of whichever job they are."""
    parts = (read_json(record).get("part", {}) for record in path.glob(f"{_NUMBERED}{RECORD}"))
    return sum(part.get("num_frames", 0) for part in parts)


@contextmanager
def work_folder(
    path: Path, identity: Identity, *, restart: bool = False, is_trial: bool = False
) -> Iterator[WorkFolder]:
    """Give a folder to this process alone, with the parts of the same job that are there.

    After the block the folder is gone if it holds no part.

    Args:
        path: the folder; made if it is not there.
        identity: what the job is.
        restart: whether parts that are there are removed, of whichever job they are.
        is_trial: whether this only measures, so that its parts, if that is all there is, give way to any job.

    Raises:
        OutputError: another process has it, or it can't be made.
        OptionError: it holds parts of another job.
    """
    with _locked(path):
        folder = WorkFolder(path, identity)
        if restart:
            folder.clear()
        try:
            _check_plan(folder, identity, is_trial)
            folder.load_parts()
            yield folder
        finally:
            if not any(path.glob(f"{_NUMBERED}{RECORD}")):
                _remove_folder(path)


def _check_plan(folder: WorkFolder, identity: Identity, is_trial: bool) -> None:
    """Make sure that the parts in a folder are of the job, and leave a plan that says which job it is."""
    facts = read_json(folder.path / PLAN)
    was = facts.get("identity")
    if was is None and folder.holds_other_jobs():
        raise OptionError(
            f"{folder.path} holds parts of a job that it no longer describes: --restart begins anew."
        )
    if was is not None and (found := differences(was, identity)):
        if not facts.get("is_trial"):
            raise OptionError(
                f"{folder.path} holds a job that is not done, and this is another: {found}. Go on with the "
                "options of then, or begin anew with --restart."
            )
        folder.clear()
    plan = {"is_trial": is_trial and facts.get("is_trial", True), "identity": dict(identity)}
    if facts != plan:
        with write_whole(folder.path / PLAN) as unfinished:
            unfinished.write_text(json.dumps(plan, indent=1))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("w")
    except OSError as error:
        raise OutputError(f"{path} can't be made: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"Another job writes to {path}: wait for it, or stop it.") from error
        if not _is_at(lock, path / LOCK):  # the job that had it has just removed it
            raise OutputError(f"Another job has just ended in {path}: try again.")
        yield


def _is_at(file: IO[Any], path: Path) -> bool:
    with suppress(OSError):
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    return False


def _remove_folder(path: Path) -> None:
    """Remove a work folder, but nothing that a job doesn't make."""
    _remove_files(path, _OURS)
    try:
        path.rmdir()
    except OSError:
        logger.warning("%s stays, since it holds files that are not of vidx4.", path)


def _remove_files(path: Path, patterns: Sequence[str]) -> None:
    for file in chain.from_iterable(path.glob(pattern) for pattern in patterns):
        if file.is_file():
            file.unlink()


def _job_digest(identity: Identity) -> str:
    return sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> Mapping[str, Any]:
    """Return what a file says, nothing if it is not there or not whole."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
