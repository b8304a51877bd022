"""The formats of still pictures: closed lists, since Pillow knows some that run programs or hide others."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from vidx4.jobs.still.metered import MeteredFile

_PLUGINS = (
    *("Avif", "Bmp", "Dds", "Gif", "Ico", "Jpeg", "Jpeg2K", "Mpo", "Pcx", "Png", "Ppm", "Psd", "Qoi", "Sgi"),
    *("Sun", "Tga", "Tiff", "WebP"),
)
"""Pillow's modules that are loaded; it would load all of them by itself, and try each on every file."""
for _name in _PLUGINS:
    import_module(f"PIL.{_name}ImagePlugin")

_READ = (
    *("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000"),
    *("PPM", "PCX", "ICO", "QOI", "SGI", "SUN", "PSD", "DDS"),
)
"""Formats that are known by their first bytes, by Pillow's names."""
_READ_BY_NAME = {".dib": "DIB", ".icb": "TGA", ".tga": "TGA", ".vda": "TGA", ".vst": "TGA"}
"""Formats without a signature: a file is taken for one only if its name says so, too."""
_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp",),
    "DDS": (".dds",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
    "JPEG2000": (".jp2", ".j2c", ".j2k", ".jpc", ".jpf", ".jpx"),
    "MPO": (".mpo",),
    "PCX": (".pcx",),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pbm", ".pgm", ".pnm"),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".bw", ".rgb", ".rgba"),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""Suffixes of the formats that are written."""
_BY_SUFFIX = {suffix: name for name, suffixes in _WRITTEN.items() for suffix in suffixes}
_SIGNATURE_SIZE = 16


def picture_format(path: Path) -> str | None:
    """Return Pillow's name of the format that a file's suffix stands for, if it can be written."""
    return _BY_SUFFIX.get(path.suffix.lower())


def open_picture(file: MeteredFile, suffix: str) -> ImageFile:
    """Read the header of a picture; its pixels are read later, from the same file.

    Unlike `Image.open`, it looks at no limit of pixels: copies may be larger than sources.

    Args:
        file: the file.
        suffix: that of its name, for formats that are not known by their first bytes.

    Raises:
        UnidentifiedImageError: it is of no format that is read, or damaged.
        Exception: anything else, from Pillow's modules: few of them expect damaged files.
    """
    start = file.read(_SIGNATURE_SIZE)
    named = _READ_BY_NAME.get(suffix.lower())
    for name in (*_READ, *([named] if named else ())):
        factory, accept = Image.OPEN[name]
        if accept is None or accept(start) is True:
            file.seek(0)
            try:
                return factory(file, "")
            except (SyntaxError, IndexError) as error:
                raise UnidentifiedImageError(str(error)) from error
    raise UnidentifiedImageError("its format is not known")
