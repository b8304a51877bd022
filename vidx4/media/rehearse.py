"""Rehearse an output before any work: the real container and encoder, with one frame and a few packets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import torch
from av.error import FFmpegError

from vidx4.errors import DiskFullError, OutputError
from vidx4.frames import SCALE, FrameBatch, pixel_dtype
from vidx4.media.checks import Check, source_checks, verify_output
from vidx4.media.encode import encode_part
from vidx4.media.mux import write_streams
from vidx4.media.output import Output
from vidx4.video import Source

_FEW = 3
"""Packets of each stream to copy."""
_GRAY = 0.5
"""Brightness of the made frame, from 0 to 1."""


@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal of an output has shown."""

    output: Output
    """The output, which no longer promises minor things that the container can't hold."""
    warnings: tuple[str, ...]
    """Sentences about these."""
    lost: tuple[Check, ...]
    """Checks of what matters that would fail."""


def rehearse(output: Output) -> Rehearsal:
    """Write a file like an output, with one made frame of its size, and verify it as the output will be.

    Raises:
        DiskFullError: the folder of temporary files has no room for it.
        OutputError: the encoder or the container refuses it, or there is no such folder.
        SourceError: the source can't be read.
    """
    with _temporary_folder() as folder:
        failed = [check for check in _checks(output, Path(folder)) if not check.is_kept]
    minor = [check for check in failed if check.is_minor]
    return Rehearsal(
        replace(output, unkept=tuple(check.subject for check in minor)),
        tuple(map(_warning, minor)),
        tuple(check for check in failed if not check.is_minor),
    )


def _temporary_folder() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix="vidx4-")
    except OSError as error:
        raise OutputError("There is no folder for temporary files: set TMPDIR to one.") from error


def _checks(output: Output, folder: Path) -> Sequence[Check]:
    first, *others = output.frames
    small = replace(output, path=folder / output.path.name, max_packets=_FEW)
    part = folder / "part"
    try:
        encode_part(part, [_made_frame(output.source, first)], output.source, output.target)
        if output.is_pictures:
            return list(source_checks(output.source))
        write_streams([part], small, small.path)
    except DiskFullError as error:
        raise DiskFullError(
            f"{gettempdir()}, the folder of temporary files, is full: make room, or set TMPDIR to another."
        ) from error
    except (OutputError, FFmpegError, ValueError) as error:
        raise OutputError(f"{output.path} can't be written: {_reason(error)}.") from error
    return verify_output(small, small.path, others)


def _made_frame(source: Source, pts: int) -> FrameBatch:
    dtype = pixel_dtype(source.bit_depth)
    size = 1, 3, SCALE * source.height, SCALE * source.width
    return FrameBatch(torch.full(size, int(_GRAY * torch.iinfo(dtype).max), dtype=dtype), (pts,))


def _reason(error: BaseException) -> str:
    if isinstance(error, OutputError) and error.__cause__ is not None:
        return _reason(error.__cause__)
    return str(getattr(error, "strerror", None) or error)


def _warning(check: Check) -> str:
    if not check.found:
        return f"{check.subject} ({check.expected}) can't be stored in this container."
    return f"{check.subject} is stored as {check.found} instead of {check.expected}."
