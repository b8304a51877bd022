"""Damage pictures of all formats in many ways: each must be read, or refused with one sentence.

    python -m scripts.stress.pictures --cases 2000 --seed 2026

Each case damages a copy of a small picture, and looks at it and reads it as every command would; none is
enlarged. Cases run in processes of their own, with little memory and a time limit each, so that crashes,
hangs and floods of memory are seen as such.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from scripts.stress.damage import print_tables, reason
from scripts.stress.damage_case import BAD, REFUSED, Case
from scripts.stress.damage_workers import run_all, work
from scripts.stress.mutations import MUTATIONS
from scripts.stress.picture_case import attempt, limit_memory

KINDS = [kind for kind in MUTATIONS if kind != "shuffle packets"]
SIDES = 40, 28
PLAIN = (
    *("bmp", "dib", "dds", "gif", "ico", "jp2", "j2k", "mpo", "pcx", "pgm", "ppm", "qoi", "sgi", "tga"),
    *("jpg", "png", "tif", "webp", "avif"),
)
"""Suffixes of formats that a picture is written to as it is."""


def write_samples(folder: Path) -> list[Path]:
    """Write small pictures of many formats and kinds, some with metadata."""
    for name, picture, options in _samples():
        picture.save(folder / name, **options)
    for channels, name in ((3, "deep.png"), (4, "deep_alpha.png"), (1, "deep.tif"), (3, "deep_rgb.tif")):
        _write_deep(folder / name, channels)
    return sorted(folder.iterdir())


def _samples() -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 10, 3), dtype=np.uint8)
    rgb = Image.fromarray(pixels).resize(SIDES, Image.Resampling.BICUBIC)
    gray, indexed, alpha = rgb.convert("L"), rgb.quantize(32), rgb.copy()
    alpha.putalpha(128)
    for suffix in PLAIN:
        yield f"plain.{suffix}", gray if suffix == "pgm" else rgb, {}
    exif = Image.Exif()
    exif.update({ExifTags.Base.Orientation: 6, ExifTags.Base.Make: "a camera", ExifTags.Base.Artist: "me"})
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.5, ExifTags.Base.UserComment: b"hello"}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (1.0, 2.0, 3.0)}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    described: dict[str, Any] = {"exif": exif.tobytes(), "icc_profile": profile}
    for suffix in ("jpg", "png", "tif", "webp", "avif"):
        yield f"described.{suffix}", rgb, described
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "hello " * 100, zip=True)
    text.add_itxt("Title", "a picture", "en", "Title", zip=True)
    text.add(b"gAMA", b"\0\0\xb1\x8f")
    yield "text.png", alpha, {"pnginfo": text, "dpi": (72, 72)}
    yield "indexed.png", indexed, {"transparency": 3}
    yield "animated.gif", indexed, {"save_all": True, "append_images": [indexed.rotate(180)] * 3}
    yield "animated.webp", rgb, {"save_all": True, "append_images": [rgb.rotate(180)] * 3}
    yield "pages.tif", rgb, {"save_all": True, "append_images": [gray], "compression": "tiff_lzw"}
    yield "fax.tif", gray.convert("1"), {"compression": "group4"}
    yield "alpha.tga", alpha, {"compression": "tga_rle"}
    yield "progressive.jpg", gray, {"progressive": True}
    yield "cmyk.jpg", rgb.convert("CMYK"), {}


def _write_deep(path: Path, num_channels: int) -> None:
    from vidx4.jobs.still.metadata import Metadata
    from vidx4.jobs.still.write import write_picture

    pixels = np.random.default_rng(2).integers(0, 1 << 16, (*SIDES, num_channels), dtype=np.uint16)
    write_picture(
        pixels, path, "PNG" if path.suffix == ".png" else "TIFF", Metadata(Image.Exif(), None, None, ())
    )


def cases(pictures: Sequence[Path], num_cases: int, seed: int) -> list[Case]:
    """Choose cases at random; each picture has about the same number."""
    rng = random.Random(seed)
    return [
        Case(str(pictures[index % len(pictures)]), rng.choice(KINDS), rng.getrandbits(32))
        for index in range(num_cases)
    ]


def main() -> None:
    """Parse the arguments and run the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(attempt, limit_memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(_run(cases(write_samples(Path(folder)), arguments.cases, arguments.seed)))


def _run(chosen: Sequence[Case]) -> bool:
    """Run cases; return whether one went wrong."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    slowest = 0.0
    for case, result in run_all(chosen, "scripts.stress.pictures"):
        counts[result.outcome] += 1
        slowest = max(slowest, result.seconds)
        if result.outcome == REFUSED:
            reasons[reason(result.detail)] += 1
        if result.outcome in BAD:
            print(f"{result.outcome}: {case}: {result.detail}", flush=True)
    print_tables(counts, reasons)
    print(f"\nThe slowest case took {slowest:.1f} s.")
    return any(counts[outcome] for outcome in BAD)


if __name__ == "__main__":
    main()
