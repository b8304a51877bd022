"""A picture that shows before and after: crops of one frame, enlarged plainly and by a model."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vidx4.diffusion.bicubic import SCALE, enlarge_frames
from vidx4.errors import SourceError
from vidx4.media.decode import read_batches
from vidx4.media.probe import probe
from vidx4.media.whole import check_writable, write_whole
from vidx4.video import FrameBatch, Source, TimeRange

CROP = 64
"""Side of a crop in low-resolution pixels."""
NUM_CROPS = 3
MARGIN = 8
LABEL_HEIGHT = 24


def compare(
    path: Path, upscaled_path: Path, crops_path: Path | None = None, *, overwrite: bool = False
) -> Path:
    """Write a picture of crops from the middle frame of a video and of its enlarged copy.

    Returns:
        The file written: `crops_path`, or `<stem>_crops.png` beside the enlarged copy.

    Raises:
        SourceError: a video can't be read, or they are not a video and its copy.
        OutputError: the picture can't be written, or exists.
    """
    crops_path = crops_path or crops_beside(upscaled_path)
    for used in (path, upscaled_path):
        check_writable(crops_path, used, overwrite)
    source, upscaled = probe(path), probe(upscaled_path)
    sizes = (upscaled.width, upscaled.height), (SCALE * source.width, SCALE * source.height)
    if sizes[0] != sizes[1] or source.num_frames != upscaled.num_frames:
        raise SourceError(f"{upscaled_path} is not the whole of {path}, four times larger.")
    index = source.num_frames // 2
    write_crops(crops_path, _frame(source, index), _frame(upscaled, index))
    return crops_path


def crops_beside(video: Path) -> Path:
    """Return where the crops of a video go when nobody says."""
    return video.with_name(f"{video.stem}_crops.png")


def _frame(source: Source, index: int) -> FrameBatch:
    seconds = (source.pts[index] - source.pts[0]) * source.time_base
    return next(read_batches(source, 1, TimeRange(start=seconds)))


def write_crops(path: Path, low_res: FrameBatch, upscaled: FrameBatch) -> None:
    """Write crops of one frame, bicubic on the left and the model's result on the right.

    Args:
        path: a PNG file, replaced if it exists.
        low_res: one frame, (1, 3, H, W).
        upscaled: the same, (1, 3, 4H, 4W).
    """
    before, after = (_eight_bits(batch)[0] for batch in (enlarge_frames(low_res), upscaled))
    places = _busiest(_eight_bits(low_res)[0])
    size = min(CROP, *low_res.data.shape[2:]) * SCALE
    sheet = Image.new(
        "RGB",
        (2 * size + 3 * MARGIN, LABEL_HEIGHT + len(places) * (size + MARGIN)),
        "white",
    )
    for column, (label, frame) in enumerate({"bicubic": before, "vidx4": after}.items()):
        left = MARGIN + column * (size + MARGIN)
        ImageDraw.Draw(sheet).text((left, 4), label, fill="black", font=ImageFont.load_default(14))
        for row, (top_crop, left_crop) in enumerate(places):
            crop = frame[:, SCALE * top_crop :, SCALE * left_crop :][:, :size, :size]
            place = (left, LABEL_HEIGHT + row * (size + MARGIN))
            sheet.paste(Image.fromarray(_hwc(crop)), place)
    with write_whole(path) as partial:
        sheet.save(partial, "PNG")


def _busiest(frame: Tensor) -> list[tuple[int, int]]:
    """Return the top left corners of the crops with the most detail that don't overlap."""
    luma = frame.float().mean(0)
    detail = torch.zeros_like(luma)
    detail[1:, 1:] = (luma.diff(dim=0)[:, 1:].abs() + luma.diff(dim=1)[1:].abs()).clamp(max=64)
    size = min(CROP, *luma.shape)
    scores = torch.nn.functional.avg_pool2d(detail[None], size, stride=1)[0]
    places: list[tuple[int, int]] = []
    for _ in range(NUM_CROPS):
        if scores.max() <= 0 and places:
            break
        top, left = divmod(int(scores.argmax()), scores.shape[1])
        places.append((top, left))
        scores[max(0, top - size + 1) : top + size, max(0, left - size + 1) : left + size] = 0
    return places


def _eight_bits(batch: FrameBatch) -> Tensor:
    if batch.data.dtype == torch.uint8:
        return batch.data
    return (batch.data.float() / 257).round().to(torch.uint8)


def _hwc(pixels: Tensor) -> np.ndarray:
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
