"""One still picture, from file to file."""

from pathlib import Path

from PIL import Image

from vidx4.diffusion.picture import in_eight_bits
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, SourceError
from vidx4.jobs.plan import default_output
from vidx4.media.whole import check_writable, write_whole

JPEG_QUALITY = 95
_ANIMATIONS = {"AVIF", "GIF", "PNG", "WEBP"}
"""Formats whose further images are frames, not thumbnails, pages or views from another lens."""
_DEEP_FORMATS = {"PNG", "TIFF"}
"""Formats that hold 16 bits."""


def is_picture(path: Path) -> bool:
    """Whether a file holds a still picture, by its content; of several pages, the first is meant."""
    try:
        with Image.open(path) as picture:
            is_animated = picture.format in _ANIMATIONS and getattr(picture, "n_frames", 1) > 1
            return picture.format != "MPEG" and not is_animated
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def picture_suffix(path: Path) -> str:
    """Return the suffix of an enlarged picture: its source's where Pillow writes that, else `.png`."""
    return path.suffix if _format(path) else ".png"


def plan_picture(path: Path, output: Path | None = None, *, overwrite: bool = False) -> Path:
    """Decide where an enlarged picture goes.

    Args:
        path: the picture.
        output: where the result goes, its format by its suffix; None for `<stem>_x4` beside the picture, in
            its own format where Pillow writes that, else PNG.
        overwrite: whether a file that is there may be replaced.

    Raises:
        OutputError: the output exists, is the picture itself, or is of an unknown format.
    """
    output = output or default_output(path, picture_suffix(path))
    if _format(output) is None:
        raise OutputError(f"A picture can't be written to a {output.suffix or 'nameless'} file: use .png.")
    check_writable(output, path, overwrite)
    return output


def upscale_picture(path: Path, output: Path, upscaler: Upscaler) -> None:
    """Make a still picture four times larger; transparency and the colour profile are kept.

    Raises:
        SourceError: the picture is damaged.
        OutputError: the output can't be written.
    """
    enlarged = upscaler.picture(_read(path))
    with write_whole(output) as unfinished:
        _save(enlarged, unfinished, _format(output))


def _format(path: Path) -> str | None:
    image_format = Image.registered_extensions().get(path.suffix.lower())
    return image_format if image_format in Image.SAVE else None


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise SourceError(f"{path} can't be read as a picture: {error}.") from error


def _save(picture: Image.Image, path: Path, image_format: str | None) -> None:
    options: dict[str, object] = {"icc_profile": picture.info.get("icc_profile")}
    if image_format in ("JPEG", "WEBP"):
        options["quality"] = JPEG_QUALITY
    if picture.mode == "I;16" and image_format not in _DEEP_FORMATS:
        picture = in_eight_bits(picture)
    if image_format == "JPEG" and picture.mode in ("RGBA", "LA"):
        picture = _on_white(picture)
    try:
        picture.save(path, image_format, **options)
    except (ValueError, KeyError) as error:
        raise OutputError(f"The format {image_format} can't hold the picture: {error}.") from error


def _on_white(picture: Image.Image) -> Image.Image:
    """Lay a picture on white, for formats without transparency."""
    rgba = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
