"""A picture of crops before and after: enlarged by bicubic interpolation, and by a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.errors import OutputError, SourceError
from vidx4.files.write import write_whole
from vidx4.frames import SCALE, FrameBatch
from vidx4.jobs.destination import Destination, file_to_write
from vidx4.media.decode import read_frames
from vidx4.media.place import check_writable
from vidx4.media.probe import probe
from vidx4.video import Source, TimeRange

CROP = 64
"""Side of a crop, in low-resolution pixels."""
NUM_CROPS = 3
"""Crops of one frame, or of all frames together if there are several."""
MARGIN = 8
LABEL_HEIGHT = 24
FONT_SIZE = 14


@dataclass(frozen=True)
class Comparison:
    """One frame before, and after by every setting."""

    title: str
    """The frame's place in the film; empty if there is only one frame."""
    low_res: FrameBatch
    """(1, 3, H, W)."""
    upscaled: Mapping[str, FrameBatch]
    """By the name of the setting, (1, 3, 4H, 4W)."""


def compare(
    path: Path,
    upscaled_path: Path,
    crops_path: Path | Destination | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Write crops of the middle frame of a video and of its upscaled copy to a picture.

    Returns:
        The file written: `crops_path`, or `<stem>_crops.png` in that folder or, by default, beside the
        upscaled copy.

    Raises:
        SourceError: a video can't be read, or the two are not a video and its copy.
        OutputError: the picture can't be written, or exists already.
    """
    crops_path = file_to_write(crops_path, crops_beside(upscaled_path))
    for used in (path, upscaled_path):
        check_writable(crops_path, used, overwrite)
    if crops_path.suffix.lower() != ".png":
        raise OutputError(f"Crops are a PNG picture: let {crops_path} end with .png.")
    source, upscaled = probe(path), probe(upscaled_path)
    sizes = (upscaled.width, upscaled.height), (SCALE * source.width, SCALE * source.height)
    if sizes[0] != sizes[1] or source.num_frames != upscaled.num_frames:
        raise SourceError(f"{upscaled_path} is not a complete copy of {path} at four times its size.")
    index = source.num_frames // 2
    comparison = Comparison("", _frame(source, index), {"vidx4": _frame(upscaled, index)})
    write_crops(crops_path, [comparison], path, overwrite=overwrite)
    return crops_path


def crops_beside(video: Path) -> Path:
    """Return where the crops of a video go by default."""
    return video.with_name(f"{video.stem}_crops.png")


def _frame(source: Source, index: int) -> FrameBatch:
    span = TimeRange(start=source.seconds_of(source.pts[index]))
    return FrameBatch.of([next(read_frames(source, span))])


def write_crops(
    path: Path, comparisons: Sequence[Comparison], like: Path | None = None, *, overwrite: bool = True
) -> None:
    """Write crops of frames to a picture: bicubic on the left, then a column for each setting.

    Args:
        path: a PNG file.
        comparisons: the frames, all by the same settings.
        like: their source; who may not read it may not read the crops.
        overwrite: whether a file that exists is replaced.
    """
    num_crops = max(1, NUM_CROPS // len(comparisons))
    rows = [row for comparison in comparisons for row in _rows(comparison, num_crops)]
    names = ["bicubic", *comparisons[0].upscaled]
    size = rows[0][1][0].width
    row_height = size + LABEL_HEIGHT if any(title for title, _ in rows) else size + MARGIN
    sheet = Image.new("RGB", _sheet_size(len(names), len(rows), size, row_height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for column, name in enumerate(names):
        left = MARGIN + column * (size + MARGIN)
        draw.text((left, 4), _fitting(name, size, font), fill="black", font=font)
        for row, (_, crops) in enumerate(rows):
            sheet.paste(crops[column], (left, LABEL_HEIGHT + row * row_height))
    for row, (title, _) in enumerate(rows):
        draw.text((MARGIN, LABEL_HEIGHT + row * row_height + size + 2), title, fill="black", font=font)
    with write_whole(path, overwrite=overwrite, like=like) as partial:
        sheet.save(partial, "PNG")


def _sheet_size(num_columns: int, num_rows: int, size: int, row_height: int) -> tuple[int, int]:
    return num_columns * (size + MARGIN) + MARGIN, LABEL_HEIGHT + num_rows * row_height


def _fitting(text: str, width: int, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """Shorten a text that is too wide."""
    while font.getlength(text) > width:
        text = text[:-2] + "…"
    return text


def _rows(comparison: Comparison, num_crops: int) -> list[tuple[str, list[Image.Image]]]:
    """Return crops of a frame, one row for each place, with the text to write below."""
    frames = (enlarge_frames(comparison.low_res), *comparison.upscaled.values())
    pictures = [_eight_bits(each)[0] for each in frames]
    low_res = _eight_bits(comparison.low_res)[0]
    size = min(CROP, *low_res.shape[1:]) * SCALE
    rows = []
    for top, left in _busiest(low_res, num_crops):
        crops = [picture[:, SCALE * top :, SCALE * left :][:, :size, :size] for picture in pictures]
        rows.append((comparison.title, [Image.fromarray(_hwc(crop)) for crop in crops]))
    return rows


def _busiest(frame: Tensor, num_crops: int) -> list[tuple[int, int]]:
    """Return the top left corners of the crops with the most detail; none overlap."""
    luma = frame.float().mean(0)
    detail = torch.zeros_like(luma)
    detail[1:, 1:] = (luma.diff(dim=0)[:, 1:].abs() + luma.diff(dim=1)[1:].abs()).clamp(max=64)
    size = min(CROP, *luma.shape)
    scores = torch.nn.functional.avg_pool2d(detail[None], size, stride=1)[0]
    places: list[tuple[int, int]] = []
    for _ in range(num_crops):
        if scores.max() <= 0 and places:
            break
        top, left = divmod(int(scores.argmax()), scores.shape[1])
        places.append((top, left))
        scores[max(0, top - size + 1) : top + size, max(0, left - size + 1) : left + size] = 0
    return places


def to_picture(batch: FrameBatch) -> Image.Image:
    """Return the first frame of a batch in 8 bits."""
    return Image.fromarray(_hwc(_eight_bits(batch)[0]))


def _eight_bits(batch: FrameBatch) -> Tensor:
    if batch.data.dtype == torch.uint8:
        return batch.data
    return (batch.data.float() / 257).round().to(torch.uint8)


def _hwc(pixels: Tensor) -> np.ndarray:
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
