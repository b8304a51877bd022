"""Pictures of results: crops, and slices that show one row of pixels over time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CROP = 160
"""Width and height of a crop, and width of a slice."""
FRAME_HEIGHT = 6
"""Pixels per frame in a slice."""
MARGIN = 6
NAMES = {
    "animevideov3": "realesr-animevideov3",
    "x4plus": "Real-ESRGAN x4plus",
    "span": "SPAN x4",
    "compact": "vidx4, compact",
    "truth": "the truth",
}
"""What methods are called in pictures."""
LINE_HEIGHT = 14


def write_slices(path: Path, results: dict[str, np.ndarray]) -> None:
    """Write a PNG with one column per method: a crop above, a slice over time below.

    In a slice, steady detail makes smooth lines along the motion, flicker makes broken ones, and detail that
    sticks to the screen makes vertical ones.

    Args:
        path: the PNG file.
        results: frames by label, (T, H, W, 3); the first is the truth.
    """
    truth = next(iter(results.values()))
    top, left = _busiest(truth[len(truth) // 2])
    columns = [_column(frames, top, left) for frames in results.values()]
    labels = [_label(method) for method in results]
    label_height = LINE_HEIGHT * max(label.count("\n") + 1 for label in labels)
    width, height = columns[0].width + MARGIN, columns[0].height + label_height + 2 * MARGIN
    sheet = Image.new("RGB", (width * len(columns) + MARGIN, height), "white")
    for i, (label, column) in enumerate(zip(labels, columns, strict=True)):
        place = MARGIN + i * width
        ImageDraw.Draw(sheet).text((place, 2), label, fill="black", font=ImageFont.load_default(11))
        sheet.paste(column, (place, label_height + MARGIN))
    sheet.save(path)


def write_crops(path: Path, rows: Sequence[dict[str, np.ndarray]], judged_by: int = -1) -> None:
    """Write a PNG with one row per clip and one column per method: crops of the middle frame.

    Args:
        path: the PNG file.
        rows: frames of each clip by label, (T, H, W, 3).
        judged_by: index of the column whose detail decides the crop: by default the last, the truth.
    """
    labels = [_label(method) for method in rows[0]]
    label_height = LINE_HEIGHT * max(label.count("\n") + 1 for label in labels)
    pitch = CROP + MARGIN
    size = pitch * len(labels) + MARGIN, label_height + pitch * len(rows) + MARGIN
    sheet = Image.new("RGB", size, "white")
    for i, label in enumerate(labels):
        place = MARGIN + i * pitch, 2
        ImageDraw.Draw(sheet).text(place, label, fill="black", font=ImageFont.load_default(11))
    for j, results in enumerate(rows):
        judged = list(results.values())[judged_by]
        top, left = _busiest(judged[len(judged) // 2])
        for i, frames in enumerate(results.values()):
            crop = frames[len(frames) // 2, top : top + CROP, left : left + CROP]
            sheet.paste(Image.fromarray(crop), (MARGIN + i * pitch, label_height + MARGIN + j * pitch))
    sheet.save(path)


def _label(method: str) -> str:
    return NAMES.get(method) or method.replace(" ", "\n")


def _column(frames: np.ndarray, top: int, left: int) -> Image.Image:
    crop = frames[len(frames) // 2, top : top + CROP, left : left + CROP]
    slice_ = frames[:, top + CROP // 2, left : left + CROP].repeat(FRAME_HEIGHT, axis=0)
    gap = np.full((MARGIN, CROP, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([crop, gap, slice_]))


def _busiest(frame: np.ndarray) -> tuple[int, int]:
    """Return the top left corner of the crop with the most detail."""
    gray = frame.mean(axis=-1)
    detail = np.abs(np.diff(gray, axis=1, append=gray[:, -1:]))
    sums = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    scores = sums[CROP:, CROP:] - sums[:-CROP, CROP:] - sums[CROP:, :-CROP] + sums[:-CROP, :-CROP]
    top, left = np.unravel_index(scores.argmax(), scores.shape)
    return int(top), int(left)
