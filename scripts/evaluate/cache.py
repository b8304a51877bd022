"""Results of other models, and scores, kept so that a later evaluation costs only what has changed."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache as computed_once
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from scripts.bench.measure import in_child
from scripts.evaluate import methods
from scripts.evaluate.methods import Run

Score = TypeVar("Score")

SOURCES = ("clips", "flat_noise", "metrics", "perceptual", "temporal_metrics")
"""Modules that all scores depend on; kept scores are not used once one of them has changed."""


@dataclass(frozen=True)
class Runner:
    """Applies methods to clips, and finds in a cache what was computed before.

    The models of vidx4 are always computed. The results of others depend on the method, the versions of its
    packages and the frames, which name the file that they are kept in. Files are lossless, and hold the
    seconds and the peak memory that were measured when they were made.
    """

    cache: Path | None = None
    """Folder for results; None to keep none."""
    num_threads: int = methods.NUM_THREADS
    under_load: bool = False
    """Whether the machine has other work while the methods run."""

    def run(self, method: str, clips: Sequence[np.ndarray]) -> Run:
        """Apply a method to clips, uint8, (T, H, W, 3) each."""
        version = methods.version(method)
        if self.cache is None or version is None:
            return replace(methods.run(method, clips, self.num_threads), under_load=self.under_load)
        paths = [self.cache / method / f"{_digest(version, [clip])}.npz" for clip in clips]
        missing = {path: clip for path, clip in zip(paths, clips, strict=True) if not path.exists()}
        if missing:
            in_child(self._keep_runs, method, version, missing)
        return methods.merge([replace(_read(path), from_cache=path not in missing) for path in paths])

    def _keep_runs(self, method: str, version: str, clips: dict[Path, np.ndarray]) -> None:
        runs = methods.run_each(method, list(clips.values()), self.num_threads)
        for path, run in zip(clips, runs, strict=True):
            _write(path, replace(run, under_load=self.under_load), version)


def keep_score(
    folder: Path | None,
    kind: type[Score],
    frames: Sequence[np.ndarray],
    compute: Callable[[], Score],
) -> Score:
    """Return the score that was kept for the same frames, or compute and keep it.

    Args:
        folder: the cache; None to compute always.
        kind: the dataclass of the score.
        frames: everything that the score is computed from.
        compute: function that computes it.
    """
    if folder is None:
        return compute()
    path = folder / "scores" / f"{_digest(_version(kind.__module__), frames)}.json"
    if path.exists():
        return kind(**json.loads(path.read_text()))
    score = compute()
    fields: dict[str, Any] = asdict(score)  # type: ignore[call-overload]
    _write_whole(path, json.dumps(fields).encode())
    return score


@computed_once
def _version(module: str) -> str:
    """Return what scores of a module depend on besides the frames: its text and that of the metrics."""
    names = sorted({*SOURCES, module.rpartition(".")[2]})
    return "".join(
        [torch.__version__, *((Path(__file__).parent / f"{name}.py").read_text() for name in names)]
    )


def _digest(version: str, frames: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256(version.encode())
    for each in frames:
        digest.update(f"{each.shape} {each.dtype}".encode())
        digest.update(np.ascontiguousarray(each).data)
    return digest.hexdigest()[:32]


def _read(path: Path) -> Run:
    with np.load(path) as file:
        return Run(
            [file["frames"]],
            [float(file["seconds"])],
            int(file["peak_memory"]),
            int(file["num_threads"]),
            under_load=bool(file["under_load"]),
        )


def _write(path: Path, run: Run, version: str) -> None:
    """Keep the run of one clip."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        frames=run.results[0],
        seconds=run.seconds[0],
        peak_memory=run.peak_memory,
        num_threads=run.num_threads,
        under_load=run.under_load,
        version=version,
    )
    _write_whole(path, file.getvalue())


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, though other evaluations may be running."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_bytes(data)
    unfinished.replace(path)
