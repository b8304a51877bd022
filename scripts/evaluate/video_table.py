"""Tables of scores on clips: a row for each method, a column for each metric."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from scripts.evaluate.methods import Run, explain_marks
from scripts.evaluate.temporal_metrics import VideoScore

COLUMNS: dict[str, tuple[str, int, Callable[[list[float]], float]]] = {
    "psnr_y": ("PSNR-Y", 2, min),
    "ssim_y": ("SSIM-Y", 3, min),
    "lpips": ("LPIPS", 3, max),
    "lpips_vgg": ("LPIPS-VGG", 3, max),
    "dists": ("DISTS", 3, max),
    "vmaf": ("VMAF", 1, min),
    "t_lpips": ("tLPIPS", 1, max),
    "t_of": ("tOF", 2, max),
    "warp_error": ("warping error", 2, max),
    "flicker": ("flicker", 2, max),
    "sticking": ("sticking %", 1, max),
    "sharpness": ("sharpness", 3, min),
    "flat_noise": ("flat noise", 2, max),
}
"""Heading and decimals of each metric, and the function that finds its worst value."""


@dataclass(frozen=True)
class Row:
    """Scores of one method."""

    method: str
    scores: dict[str, VideoScore]
    """Score of each clip by its name."""
    run: Run | None = None
    """Time and memory that it took, without the results; None for the truth."""


def markdown(rows: Sequence[Row]) -> str:
    """Return a table of the mean over the clips, with the worst in parentheses."""
    headings = ["method", *(heading for heading, _, _ in COLUMNS.values()), "s/frame", "peak MiB"]
    lines = [f"| {' | '.join(headings)} |", "|---" + "|--:" * (len(headings) - 1) + "|"]
    for row in rows:
        cells = [row.method, *(_mean_and_worst(key, row) for key in COLUMNS), *_costs(row.run)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + explain_marks(row.run for row in rows if row.run)


def _mean_and_worst(key: str, row: Row) -> str:
    """Format the mean and the worst over the clips that a metric applies to."""
    _, decimals, worst = COLUMNS[key]
    values = [value for score in row.scores.values() if not math.isnan(value := getattr(score, key))]
    return f"{mean(values):.{decimals}f} ({worst(values):.{decimals}f})" if values else ""


def _costs(run: Run | None) -> tuple[str, str]:
    if run is None:
        return "", ""
    return f"{mean(run.seconds):.2f}{run.mark}", str(run.peak_memory >> 20)
