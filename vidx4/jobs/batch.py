"""A folder: what is left to do, one file after another, a report."""

import logging
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, SourceError, Vidx4Error
from vidx4.jobs.picture import is_picture, picture_suffix, plan_picture, upscale_picture
from vidx4.jobs.progress import Control
from vidx4.jobs.run import upscale_video
from vidx4.media.encoder import EncodeOptions
from vidx4.media.probe import probe
from vidx4.media.suffix import choose_suffix

logger = logging.getLogger(__name__)

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mj2",
    ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts",
    ".vob", ".webm", ".wmv", ".y4m",
})
PICTURE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".ico", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pcx", ".pgm", ".png", ".ppm", ".tga",
    ".tif", ".tiff", ".webp",
})
# fmt: on


class Outcome(StrEnum):
    """What became of a file."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class FileReport:
    """What became of one file of a folder."""

    path: Path
    outcome: Outcome
    output: Path | None
    message: str = ""
    """Why it failed, or what was lost."""


@dataclass(frozen=True)
class FileJob:
    """A file of a folder and where its result goes."""

    path: Path
    wanted: Path
    """The output without its suffix, which depends on what the file holds."""


def plan_folder(folder: Path, output_folder: Path) -> list[FileJob]:
    """Find the videos and pictures in a folder and all below it, by their suffix, in order.

    Raises:
        SourceError: there are none.
        OutputError: `output_folder` lies in `folder`, so that results would become sources.
    """
    if output_folder.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"{output_folder} lies inside {folder}: choose a folder beside it.")
    files = sorted(path for path in folder.rglob("*") if _is_wanted(path))
    if not files:
        raise SourceError(f"{folder} holds no video and no picture.")
    twins = Counter(path.with_suffix("") for path in files)
    return [
        FileJob(path, output_folder / path.relative_to(folder).with_name(_stem(path, twins)))
        for path in files
    ]


def _is_wanted(path: Path) -> bool:
    suffixes = VIDEO_SUFFIXES | PICTURE_SUFFIXES
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def _stem(path: Path, twins: Counter[Path]) -> str:
    """Name the output after the file; the file's own suffix sets equal names apart."""
    return f"{path.stem if twins[path.with_suffix('')] == 1 else path.name}_x4"


def run_file(
    job: FileJob,
    upscaler: Upscaler,
    encode: EncodeOptions = EncodeOptions(),
    batch_size: int | None = None,
    control: Control | None = None,
    *,
    overwrite: bool = False,
) -> FileReport:
    """Enlarge one file of a folder, unless its output is there: outputs appear whole or not at all.

    What goes wrong is reported, not raised, so that one file doesn't stop the others.
    """
    try:
        picture = is_picture(job.path)
        suffix = picture_suffix(job.path) if picture else choose_suffix(probe(job.path))
        output = job.wanted.with_name(job.wanted.name + suffix)
        if output.exists() and not overwrite:
            return FileReport(job.path, Outcome.SKIPPED, output)
        if picture:
            upscale_picture(job.path, plan_picture(job.path, output, overwrite=overwrite), upscaler)
            return FileReport(job.path, Outcome.DONE, output)
        report = upscale_video(
            job.path,
            output,
            upscaler=upscaler,
            encode=encode,
            batch_size=batch_size,
            overwrite=overwrite,
            on_progress=control.on_progress if control else None,
        )
    except Vidx4Error as error:
        return FileReport(job.path, Outcome.FAILED, None, str(error))
    except Exception as error:
        # A fault of the program, too, concerns one file: the others of the night go on.
        logger.exception("%s failed by a fault of vidx4.", job.path)
        return FileReport(job.path, Outcome.FAILED, None, f"A fault of vidx4: {error!r}.")
    return FileReport(job.path, Outcome.DONE, output, " ".join(report.warnings + report.damage))
