"""The folder beside an output that holds its parts until the output is finished.

The folder may come from anywhere: no link in it is followed, nothing is believed that can't be true, and only
files are removed that vidx4 makes in such a folder.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from vidx4.errors import OptionError
from vidx4.files.busy import remove
from vidx4.files.own_folder import keep_fresh, own_files, own_folder, remove_files, remove_folder
from vidx4.files.read import file_digest, is_regular, read_json
from vidx4.files.write import write_whole
from vidx4.frames import pixel_dtype
from vidx4.jobs.identity import Identity, differences, read_identity
from vidx4.jobs.part_record import Part, Record
from vidx4.jobs.plan import Plan
from vidx4.temporal.state_spec import StateSpec

_logger = logging.getLogger(__name__)

PLAN = "plan.json"
_NUMBERED = "[0-9]" * 8
PART, RECORD, STATE = ".nut", ".json", ".state"
"""Suffixes of a part's files: its packets, its record, and the state for the frames after it."""
_SAMPLE, _TWIN = "sample.nut", "output"
_OURS = re.compile(
    rf"{re.escape(PLAN)}|{re.escape(_SAMPLE)}|{_TWIN}(\.\w{{1,8}})?|\..*\.unfinished"
    rf"|{_NUMBERED}({re.escape(PART)}|{re.escape(RECORD)}|{re.escape(STATE)})"
)
"""Names of the files that vidx4 makes in a work folder, beside the lock."""
_NUMBERED_NAME = re.compile(_NUMBERED)
_REMAINS = re.compile(r"\..*\.unfinished")
"""Names of files that were being written when a run was killed."""
_MAX_RECORD_SIZE = 1 << 20
"""Most bytes of a plan or a record."""


class WorkFolder:
    """The finished parts of a job, which are the record of its progress.

    A part counts once its record exists, which is written last and holds the digests of the other files.

    Args:
        plan: the plan of the job, whose folder is locked by this process.
        identity: the identity of the job.
        state_spec: what the states of its shots hold; None if they need none.
    """

    def __init__(self, plan: Plan, identity: Identity, state_spec: StateSpec | None = None) -> None:
        self.path = plan.work_folder
        self._job = _job_digest(identity)
        self._plan = plan
        self._state_spec = state_spec
        self.parts: dict[int, Part] = {}
        """Finished parts by the index of their first frame."""

    def load_parts(self) -> None:
        """Find the finished parts, and remove the remains of others."""
        frames = self._plan.frames
        stop = frames.start
        for path in self._files(RECORD):
            part = self._read(path)
            if part is None or not stop <= part.start < part.stop <= frames.stop:
                remove(path)
            else:
                self.parts[part.start] = part
                stop = part.stop
        remove_files(self.path, _REMAINS)

    def _files(self, suffix: str) -> list[Path]:
        """Return the numbered files of a kind, in order; links are none."""
        return sorted(
            path
            for path in own_files(self.path)
            if _NUMBERED_NAME.fullmatch(path.stem) and path.suffix == suffix
        )

    def _read(self, path: Path) -> Part | None:
        """Return a part if it belongs to this job and its file is intact, else None."""
        record = _read_record(path)
        if record is None or record.job != self._job:
            return None
        part, packets = record.part, self.part_path(record.part.start)
        try:
            is_whole = (
                path == self._record_path(part)
                and not packets.is_symlink()
                and packets.stat().st_size == part.size
                and file_digest(packets) == part.digest
            )
        except OSError:
            return None
        return part if is_whole else None

    def forget_lost_parts(self) -> bool:
        """Forget parts whose file is gone, maybe cleaned away by the system; return whether there are any."""
        lost = [start for start, part in self.parts.items() if not self._has_file(part)]
        for start in lost:
            _logger.warning("%s is gone: its frames are made again.", self.part_path(start))
            del self.parts[start]
        return bool(lost)

    def _has_file(self, part: Part) -> bool:
        with suppress(OSError):
            return self.part_path(part.start).lstat().st_size == part.size
        return False

    @property
    def has_records(self) -> bool:
        """Whether the folder holds a record of a part, of whatever job."""
        return bool(self._files(RECORD))

    def holds_other_jobs(self) -> bool:
        """Return whether the folder holds records of another job's parts."""
        records = map(_read_record, self._files(RECORD))
        return any(record is not None and record.job != self._job for record in records)

    @property
    def sample_path(self) -> Path:
        """Path of a file of sample frames, encoded only to see how large they get."""
        return self.path / _SAMPLE

    def twin_path(self, output: Path) -> Path:
        """Return the path of an output that is written only to be compared with an existing one."""
        return self.path / f"{_TWIN}{output.suffix}"

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
        with write_whole(self._record_path(part), makes_folder=False) as unfinished:
            record = {"job": self._job, "part": asdict(part), "state": digest}
            unfinished.write_bytes(json.dumps(record).encode())
        self.parts[part.start] = part
        self._remove_states(part)
        keep_fresh(self.path)

    def _save(self, save_state: Callable[[Path], Any], path: Path) -> str:
        with write_whole(path, makes_folder=False) as unfinished:
            save_state(unfinished)
        return file_digest(path)

    def _remove_states(self, last: Part) -> None:
        """Remove the states that no work can resume from: all but those at the last part and before gaps."""
        needed = {last.start} | {part.stop for part in self.parts.values() if part.stop not in self.parts}
        for path in self._files(STATE):
            if int(path.stem) not in needed:
                remove(path)

    def state_after(self, part: Part) -> Path | None:
        """Return the file of the state after a part; None if the frames after it need none.

        Raises:
            LookupError: the file is gone, damaged, or not of this job.
        """
        path = self._state_path(part.stop)
        record = _read_record(self._record_path(part))
        if record is not None and record.state is None and (part.ends_shot or self._state_spec is None):
            return None
        if record is None or not self._is_intact_state(path, record.state):
            raise LookupError(path)
        return path

    def _is_intact_state(self, path: Path, digest: str | None) -> bool:
        if path.is_symlink() or not is_regular(path) or file_digest(path) != digest:
            return False
        source, spec = self._plan.source, self._state_spec
        pixels = pixel_dtype(source.bit_depth)
        return spec is not None and spec.is_state(path, source.width, source.height, pixels)

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
        return max((path.stat().st_size for path in self._files(STATE)), default=0)

    @property
    def size(self) -> int:
        """Size of all files in bytes."""
        return sum(path.stat().st_size for path in own_files(self.path))

    def clear(self) -> None:
        """Remove all files of the job but the lock."""
        self.parts.clear()
        remove_files(self.path, _OURS)


def num_kept(path: Path) -> int:
    """Return how many frames are kept in a work folder according to its records, whatever the job."""
    records = map(_read_record, own_files(path))
    return sum(record.part.num_frames for record in records if record is not None)


@contextmanager
def work_folder(
    plan: Plan,
    identity: Identity,
    state_spec: StateSpec | None = None,
    *,
    restart: bool = False,
    is_trial: bool = False,
) -> Iterator[WorkFolder]:
    """Lock a folder for this process, and find the parts that an earlier run of the job has left.

    After the block the folder is removed if it holds no parts.

    Args:
        plan: the plan of the job, whose folder is created if necessary.
        identity: the identity of the job.
        state_spec: what the states of its shots hold; None if they need none.
        restart: whether existing parts are removed, whatever their job.
        is_trial: whether this is only an estimate, whose parts any later job may discard.

    Raises:
        OutputError: another process uses the folder, it can't be created, or vidx4 did not make it.
        OptionError: it holds parts of another job.
    """
    path = plan.work_folder
    with own_folder(path):
        folder = WorkFolder(plan, identity, state_spec)
        if restart:
            folder.clear()
        try:
            _check_plan(folder, identity, is_trial)
            folder.load_parts()
            yield folder
        finally:
            if not folder.has_records and not remove_folder(path, _OURS) and path.is_dir():
                _logger.warning("%s is not removed: it holds files that vidx4 did not create.", path)


def recorded_identity(path: Path) -> Identity:
    """Return the identity of the job whose work folder this is; empty if there is none."""
    return read_identity(_read_plan(path).get("identity"))


def _read_plan(folder: Path) -> Mapping[str, Any]:
    return read_json(folder / PLAN, _MAX_RECORD_SIZE, follows_links=False)


def _read_record(path: Path) -> Record | None:
    """Return the record of a part; None if the file is not one."""
    if path.suffix != RECORD or not _NUMBERED_NAME.fullmatch(path.stem):
        return None
    with suppress(ValueError):
        return Record.of(read_json(path, _MAX_RECORD_SIZE, follows_links=False))
    return None


def _check_plan(folder: WorkFolder, identity: Identity, is_trial: bool) -> None:
    """Make sure that the parts in a folder belong to the job, and record its identity."""
    facts, was = _read_plan(folder.path), recorded_identity(folder.path)
    if not was and folder.holds_other_jobs():
        raise OptionError(
            f"{folder.path} holds parts of an unknown job: its {PLAN} is missing or damaged. Use "
            "--restart to discard them."
        )
    if was and (found := differences(was, identity)):
        if not facts.get("is_trial"):
            raise OptionError(
                f"{folder.path} holds an unfinished job with other settings or versions: {found}. Use the "
                "same ones to resume it, or --restart to start from scratch."
            )
        folder.clear()
    plan = {"is_trial": is_trial and facts.get("is_trial", True), "identity": dict(identity)}
    if facts != plan:
        with write_whole(folder.path / PLAN, makes_folder=False) as unfinished:
            unfinished.write_bytes(json.dumps(plan, indent=1).encode())


def _job_digest(identity: Identity) -> str:
    return sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()
