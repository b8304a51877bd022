"""Make a still picture four times larger, from file to file."""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from vidx4.errors import MemoryLimitError, OutputError, SourceError
from vidx4.files.stamp import check_unchanged, stamp
from vidx4.files.write import write_whole
from vidx4.frames import SCALE
from vidx4.jobs.destination import Destination, file_to_write
from vidx4.jobs.job import Backend, Pixels
from vidx4.jobs.plan import default_output
from vidx4.jobs.progress import Control
from vidx4.jobs.still.channels import enlarged_alpha, num_colors
from vidx4.jobs.still.formats import picture_format
from vidx4.jobs.still.read import StillPicture, is_picture, read_enlarged, read_picture, stored_size
from vidx4.jobs.still.write import DEEP_FORMATS, kept_profile, write_picture
from vidx4.media.checks import Check, require_kept
from vidx4.media.existing import has_name_of_copy
from vidx4.media.pictures.read_sequence import is_pattern
from vidx4.media.place import check_writable
from vidx4.working_time import working_seconds

_logger = logging.getLogger(__name__)

_DESCRIBED_FORMATS = {"AVIF", "JPEG", "PNG", "TIFF", "WEBP"}
"""Formats with a colour profile and EXIF data."""
_MEASURED_FORMATS = {"JPEG", "PNG", "TIFF"}
"""Formats that tell pixels per inch; JPEG in whole numbers."""


@dataclass(frozen=True)
class PictureReport:
    """The result of enlarging a still picture."""

    output: Path
    seconds: float
    """Seconds from reading the picture to writing the result."""
    noise_level: int | None
    """Noise level that it was restored at; None if the model knows none."""
    estimated_noise_level: int | None
    """The estimate that it follows from, for `compact`; None if the user chose it."""


def picture_suffix(path: Path) -> str:
    """Return the suffix of an enlarged picture: its source's if Pillow writes that, else `.png`."""
    return path.suffix if picture_format(path) else ".png"


def plan_picture(path: Path, output: Path | Destination | None = None, *, overwrite: bool = False) -> Path:
    """Decide where an enlarged picture goes.

    Args:
        path: the picture.
        output: the file to write, its format by its suffix, or a folder for it; by default `<stem>_x4` beside
            the picture, in its own format if Pillow writes that, else PNG.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: the output exists, is the picture itself, or is of an unknown format.
        SourceError: the picture can't be read.
    """
    named = Destination.of(output)
    replaces_any = overwrite and named is not None and named.is_certain
    output = file_to_write(named, default_output(path, picture_suffix(path)))
    if is_pattern(output.name):
        raise OutputError(f"{output} is a pattern for many pictures, and {path} is one: name a file.")
    if picture_format(output) is None:
        kind = f"a {output.suffix} file" if output.suffix else "a file without a suffix"
        raise OutputError(f"A picture can't be written to {kind}: use .png.")
    check_writable(output, path, overwrite, lambda file: not replaces_any and _is_other(file, path))
    return output


def _is_other(file: Path, path: Path) -> bool:
    """Return whether a file holds a picture that can't be an enlarged copy of another."""
    if has_name_of_copy(file, path) or not is_picture(file):
        return False
    width, height = (SCALE * side for side in stored_size(path))
    with suppress(SourceError):
        return stored_size(file) not in ((width, height), (height, width))
    return True


def upscale_picture(
    path: Path,
    output: Path,
    backend: Backend,
    control: Control | None = None,
    *,
    overwrite: bool = False,
) -> PictureReport:
    """Make a still picture four times larger, and turn it upright.

    Transparency, the colour profile, EXIF data and the number of pixels per inch are kept as far as the
    format of the output goes, and so are 16 bits per colour in PNG and TIFF.

    Args:
        path: the picture.
        output: the file to write.
        backend: the model.
        control: stops it before it begins, and is notified when others may begin beside it.
        overwrite: whether a file that exists at its end is replaced.

    Raises:
        SourceError: the picture is damaged.
        SourceChangedError: it changed meanwhile; there is no output.
        MemoryLimitError: it is too large for the memory.
        OutputError: the output can't be written.
        StoppedError: the control stopped it.
    """
    try:
        return _upscale(path, output, backend, control or Control(), overwrite)
    except MemoryError as error:
        raise MemoryLimitError(f"{path} is too large for the memory of this machine: reduce it.") from error


def _upscale(path: Path, output: Path, backend: Backend, control: Control, overwrite: bool) -> PictureReport:
    begun, before, still = working_seconds(), stamp(path), read_picture(path)
    image_format = picture_format(output)
    if still.bit_depth > 8 and image_format not in DEEP_FORMATS:
        _logger.warning("%s files hold 8 bits per colour: the 16 of %s are rounded.", image_format, path)
    result = backend.picture(still.channels[..., : num_colors(still.channels)], control)
    levels = result.noise_level, result.estimated_noise_level
    enlarged = _with_alpha(result.pixels, still.channels)
    del result
    with write_whole(output, overwrite=overwrite, like=path) as unfinished:
        write_picture(enlarged, unfinished, image_format, still.metadata)
        del enlarged  # reading the result takes as much memory again
        require_kept(
            list(_checks(still, read_enlarged(unfinished, still.size), image_format)),
            output,
            accept_loss=True,
        )
        if path.exists():
            check_unchanged(path, before)
    return PictureReport(output, working_seconds() - begun, *levels)


def _with_alpha(colors: Pixels, channels: Pixels) -> Pixels:
    """Return enlarged colours with the alpha of a picture, if it has any, enlarged plainly."""
    if colors.shape[2] == channels.shape[2]:
        return colors
    return np.dstack((colors, enlarged_alpha(channels[..., -1])))


def verify_picture(path: Path, upscaled: Path) -> list[Check]:
    """Compare a picture with its enlarged copy, as far as the format of the copy goes.

    Raises:
        SourceError: one of them can't be read.
    """
    still = read_picture(path)
    return list(_checks(still, read_enlarged(upscaled, still.size), picture_format(upscaled)))


def _checks(still: StillPicture, copy: StillPicture, image_format: str | None) -> Iterator[Check]:
    width, height = still.size
    yield Check.of("size", f"{SCALE * width}x{SCALE * height}", "{}x{}".format(*copy.size))
    if image_format in DEEP_FORMATS:
        yield Check.of("bits per colour", still.bit_depth, copy.bit_depth)
    if image_format != "JPEG":
        yield Check.of("transparency", still.has_transparency, copy.has_transparency)
    if image_format in _DESCRIBED_FORMATS:
        profiles = kept_profile(image_format, still.metadata), copy.metadata.icc_profile
        yield Check.of("colour profile", *map(_fingerprint, profiles))
        exif = (each.metadata.exif for each in (still, copy))
        yield Check.of("EXIF data", *(_fingerprint(tags.tobytes() if len(tags) else None) for tags in exif))
    if image_format in _MEASURED_FORMATS and still.metadata.dpi:
        given, kept = still.metadata.dpi, copy.metadata.dpi or (0.0, 0.0)
        is_kept = all(abs(a - b) <= 0.5 for a, b in zip(given, kept, strict=True))
        yield Check("pixels per inch", "{:g} x {:g}".format(*given), "{:g} x {:g}".format(*kept), is_kept)


def _fingerprint(data: bytes | None) -> str:
    return sha256(data).hexdigest()[:16] if data else "none"
