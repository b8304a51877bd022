"""Plot the log of a run."""

import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

PANELS = {
    "loss": ("pixels", "perceptual", "adversarial", "temporal", "discriminator"),
    "PSNR-Y (dB)": ("psnr_y", "clean_psnr_y", "clean_first_psnr_y", "damaged_psnr_y"),
    "LPIPS": ("lpips", "clean_lpips", "damaged_lpips", "clean_lpips_4", "damaged_lpips_4"),
}


def write_plot(log: Path, picture: Path) -> None:
    """Plot losses and validation scores by step."""
    mpl.use("Agg")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(18, 5), layout="constrained")
    for axis, (title, names) in zip(axes, PANELS.items(), strict=True):
        for name in names:
            points = [(record["step"], record[name]) for record in records if name in record]
            if points:
                axis.plot(*zip(*points, strict=True), label=name)
        axis.set(title=title, xlabel="step", yscale="log" if title == "loss" else "linear")
        axis.legend()
        axis.grid(alpha=0.3)
    figure.savefig(picture, dpi=80)
    plt.close(figure)
