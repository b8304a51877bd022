"""Plot the log of a run."""

import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

PANELS: dict[str, str | tuple[str, ...]] = {
    "loss": ("first", "taught", "later", "perceptual", "features", "adversarial", "flat", "temporal"),
    "PSNR-Y of last frames (dB)": "_last",
    "PSNR-Y of first frames (dB)": "_first",
    "LPIPS with all texture": "_lpips",
}
"""Titles, and what to plot: values by name, or by the end of their names."""


def write_plot(log: Path, picture: Path) -> None:
    """Plot losses and validation scores by hours of training."""
    mpl.use("Agg")
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(24, 5), layout="constrained")
    for axis, (title, wanted) in zip(axes, PANELS.items(), strict=True):
        names = {name for record in records for name in record}
        for name in sorted(name for name in names if _is_wanted(name, wanted)):
            points = [(record["hours"], record[name]) for record in records if name in record]
            axis.plot(*zip(*points, strict=True), label=name)
        axis.set(title=title, xlabel="hours", yscale="log" if title == "loss" else "linear")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(picture, dpi=80)
    plt.close(figure)


def _is_wanted(name: str, wanted: str | tuple[str, ...]) -> bool:
    return name.endswith(wanted) if isinstance(wanted, str) else name in wanted
