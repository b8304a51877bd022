"""The model card: what the weights are, what they were trained on and how, and what they are worth."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

HISTORY = "training.json"
"""The runs that made the weights, oldest first, beside them."""

CARD = """\
---
license: cc-by-sa-4.0
library_name: diffusers
pipeline_tag: image-to-image
---
# compact: the bundled x4 denoiser of vidx4

A latent denoiser for enlarging frames four times, small enough for a CPU. It goes through the same loop as
the Stable Diffusion x4 Upscaler: noisy latents and the low-resolution frame in, clean latents out. The
latents are what a bicubic enlargement misses, rearranged by pixel unshuffle to 48 channels of the frame's
own size, so there is no autoencoder to train and decoding costs one enlargement. The network is a plain
residual one, without normalisation layers; timestep and noise level scale and shift its features. At the
last timestep the latents are replaced by zeros: one step is a clean regression, and the seed's noise enters
from the second on.

- **Steps**: 1 is nearest to the truth (PSNR); 2 to 8 give more texture (LPIPS).
- **Noise level**: 0 for clean sources; more, up to {max_noise_level}, lets it remove noise and JPEG blocks of
  about that strength.

## Training

{runs}

Loss: L1 on the clean latents. Optimiser: AdamW, gradient norm at most 1, exponential moving average of the
weights. Three quarters of each batch are undamaged pictures at noise level 0; the rest carries noise and
JPEG blocks up to its noise level. Half of each batch trains at the last timestep. `scripts/train.py` is the
program.

## Data

Reductions are Pillow's antialiased bicubic. The weights are trained on photographs under these licences and
are shared alike, under CC-BY-SA-4.0:

| photographs | source | licence |
|--:|---|---|
{sources}

The validation pictures (Kodak's 24) and the samples of vidx4 are not among them.

The weights are those with the best PSNR-Y on Kodak's pictures among the validations of the last run, so the
results below are a little better than on pictures that had no say.

## Results

On Kodak's 24 pictures, reduced four times:

{results}
"""


def write_card(folder: Path, manifest: Path) -> None:
    """Write `README.md` into a model folder, from its history and the manifest of the photographs."""
    history = read_history(folder)
    text = CARD.format(
        max_noise_level=history[-1]["config"]["max_noise_level"],
        runs=_runs_table(history),
        sources=_sources_table(manifest),
        results="Not evaluated yet: `scripts/evaluate.py pictures --card FOLDER` puts its table here.",
    )
    (folder / "README.md").write_text(text)


def write_results(folder: Path, results: str) -> None:
    """Replace the last section of a model card, its results."""
    card = folder / "README.md"
    before, heading, _ = card.read_text().partition("## Results\n")
    card.write_text(f"{before}{heading}\nOn Kodak's 24 pictures, reduced four times:\n\n{results}")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return the runs that made the weights in a folder, oldest first; none if that isn't recorded."""
    path = folder / HISTORY
    return list(json.loads(path.read_text())) if path.exists() else []


def write_history(folder: Path, runs: list[dict[str, Any]]) -> None:
    """Record the runs that made the weights in a folder."""
    (folder / HISTORY).write_text(json.dumps(runs, indent=2) + "\n")


def _runs_table(history: list[dict[str, Any]]) -> str:
    lines = [
        "| stage | date | steps | batch | learning rate | seed | device | PSNR-Y, LPIPS on Kodak24, one step |",
        "|--:|---|--:|---|---|--:|---|---|",
    ]
    for number, run in enumerate(history, start=1):
        config = run["config"]
        lines.append(
            f"| {number}, `{run['recipe']}` | {run['date']} | {run['step']} of {config['num_steps']} "
            f"| {config['batch_size']} x {4 * config['side']} px "
            f"| {config['learning_rate']:g}, cosine | {config['seed']} | {run['device']} "
            f"| {run['psnr_y']:.2f} dB, {run['lpips']:.3f} |"
        )
    notes = [f"\nStage {number}: {run['note']}." for number, run in enumerate(history, 1) if "note" in run]
    return "\n".join(lines + notes)


def _sources_table(manifest: Path) -> str:
    with manifest.open(newline="") as file:
        counts = Counter((row["source"], row["licence"]) for row in csv.DictReader(file))
    rows = sorted(counts.items(), key=lambda item: -item[1])
    return "\n".join(f"| {count} | {source} | {licence} |" for (source, licence), count in rows)
