"""The folder beside an output that holds its parts until the output is finished."""

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

_logger = logging.getLogger(__name__)

LOCK, PLAN = "lock", "plan.json"
_NUMBERED = "[0-9]" * 8
PART, RECORD, STATE = ".nut", ".json", ".state"
"""Suffixes of a part's files: its packets, its record, and the state for the frames after it."""
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
    """A finished chunk of a shot: frames `[start, stop)` of the source, enlarged and encoded."""

    start: int
    stop: int
    num_frames: int
    """Number of frames held; fewer than `stop - start` if some can't be decoded."""
    num_reused: float
    """Work that was reused from earlier frames, in frames."""
    starts_shot: bool
    ends_shot: bool
    seconds: float
    """Seconds the part took to make."""
    size: int
    """Size of the part file in bytes."""
    digest: str
    """SHA-256 of the part file."""


class WorkFolder:
    """The finished parts of a job, which are the record of its progress.

    A part counts once its record exists, which is written last and holds the digests of the other files.

    Args:
        path: the folder, locked by this process.
        identity: the identity of the job.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path = path
        self._job = _job_digest(identity)
        self.parts: dict[int, Part] = {}
        """Finished parts by the index of their first frame."""

    def load_parts(self) -> None:
        """Find the finished parts, and remove the remains of others."""
        for path in sorted(self.path.glob(f"{_NUMBERED}{RECORD}")):
            part = self._read(path)
            if part is None:
                _remove_files(self.path, [path.name])
            else:
                self.parts[part.start] = part
        _remove_files(self.path, [UNFINISHED])

    def _read(self, record: Path) -> Part | None:
        """Return a part if it belongs to this job and its file is intact, else None."""
        facts = read_json(record)
        try:
            part = Part(**facts["part"])
            packets = self.part_path(part.start)
            is_whole = packets.stat().st_size == part.size and file_digest(packets) == part.digest
        except (KeyError, TypeError, OSError):
            return None
        return part if is_whole and facts.get("job") == self._job else None

    def holds_other_jobs(self) -> bool:
        """Return whether the folder holds records of another job's parts."""
        records = map(read_json, self.path.glob(f"{_NUMBERED}{RECORD}"))
        return any("job" in facts and facts["job"] != self._job for facts in records)

    @property
    def sample_path(self) -> Path:
        """Path of a file of sample frames, encoded only to see how large they get."""
        return self.path / "sample.nut"

    def twin_path(self, output: Path) -> Path:
        """Return the path of an output that is written only to be compared with an existing one."""
        return self.path / f"output{output.suffix}"

    def part_path(self, start: int) -> Path:
        """Return the path of the part that starts at a frame."""
        return self.path / f"{start:08}{PART}"

    def add(self, part: Part, save_state: Callable[[Path], Any] | None) -> None:
        """Record a part whose packets are written; from here on it survives a crash.

        Args:
            part: the part.
            save_state: writes the state for the frames after it to a file; None if they need none.
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
        """Remove the states that no work can resume from: all but those at the last part and before gaps."""
        needed = {last.start} | {part.stop for part in self.parts.values() if part.stop not in self.parts}
        for path in self.path.glob(f"{_NUMBERED}{STATE}"):
            if int(path.stem) not in needed:
                path.unlink()

    def state_after(self, part: Part) -> Path | None:
        """Return the file of the state after a part; None if the frames after it need none.

        Raises:
            LookupError: the file is gone or damaged.
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
        """Number of frames of the source that need no more work, those that can't be decoded included."""
        return sum(part.stop - part.start for part in self.parts.values())

    @property
    def size_of_parts(self) -> int:
        """Size of all part files in bytes."""
        return sum(part.size for part in self.parts.values())

    @property
    def size_of_state(self) -> int:
        """Size of the largest state file in bytes."""
        return max((path.stat().st_size for path in self.path.glob(f"{_NUMBERED}{STATE}")), default=0)

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(path.stat().st_size for path in self.path.iterdir() if path.is_file())

    def clear(self) -> None:
        """Remove all files of the job but the lock."""
        self.parts.clear()
        _remove_files(self.path, _OURS[1:])


def num_kept(path: Path) -> int:
    """Return how many frames are kept in a work folder according to its records, whatever the job."""
    parts = (read_json(record).get("part", {}) for record in path.glob(f"{_NUMBERED}{RECORD}"))
    return sum(part.get("num_frames", 0) for part in parts)


@contextmanager
def work_folder(
    path: Path, identity: Identity, *, restart: bool = False, is_trial: bool = False
) -> Iterator[WorkFolder]:
    """Lock a folder for this process, and find the parts that an earlier run of the job has left.

    After the block the folder is removed if it holds no parts.

    Args:
        path: the folder, created if necessary.
        identity: the identity of the job.
        restart: whether existing parts are removed, whatever their job.
        is_trial: whether this is only an estimate, whose parts any later job may discard.

    Raises:
        OutputError: another process uses the folder, or it can't be created.
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


def recorded_identity(path: Path) -> Identity:
    """Return the identity of the job whose work folder this is; empty if there is none."""
    identity = read_json(path / PLAN).get("identity")
    return identity if isinstance(identity, dict) else {}


def _check_plan(folder: WorkFolder, identity: Identity, is_trial: bool) -> None:
    """Make sure that the parts in a folder belong to the job, and record its identity."""
    facts = read_json(folder.path / PLAN)
    was = facts.get("identity")
    if was is None and folder.holds_other_jobs():
        raise OptionError(
            f"{folder.path} holds parts of an unknown job: its {PLAN} is missing or damaged. Use "
            "--restart to discard them."
        )
    if was is not None and (found := differences(was, identity)):
        if not facts.get("is_trial"):
            raise OptionError(
                f"{folder.path} holds an unfinished job with other settings or versions: {found}. Use the "
                "same ones to resume it, or --restart to start from scratch."
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
        raise OutputError(f"{path} can't be created: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(f"Another job is using {path}: wait for it, or stop it.") from error
        # Between `open` and `flock`, the job that held the lock may have removed the folder.
        if not _is_at(lock, path / LOCK):
            raise OutputError(f"Another job has just finished in {path}: try again.")
        yield


def _is_at(file: IO[Any], path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    with suppress(OSError):
        return os.fstat(file.fileno()).st_ino == path.stat().st_ino
    return False


def _remove_folder(path: Path) -> None:
    """Remove a work folder, but no file that vidx4 didn't create."""
    _remove_files(path, _OURS)
    try:
        path.rmdir()
    except OSError:
        _logger.warning("%s is not removed: it holds files that vidx4 did not create.", path)


def _remove_files(path: Path, patterns: Sequence[str]) -> None:
    for file in chain.from_iterable(path.glob(pattern) for pattern in patterns):
        if file.is_file():
            file.unlink()


def _job_digest(identity: Identity) -> str:
    return sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()


def read_json(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file; empty if the file is missing or damaged."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
