"""Write the model card: what the weights are, how they were trained and on what, and how good they are."""

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

HISTORY = "training.json"
"""File in the model folder that records the training runs, oldest first."""

CARD = Path(__file__).with_suffix(".md")
NO_RESULTS = "## Results\n\nNot evaluated yet: see `python -m scripts.evaluate`.\n"


def write_card(folder: Path, manifest: Path, results: str = NO_RESULTS) -> None:
    """Write `README.md` into a model folder.

    Args:
        folder: the model folder, with its history.
        manifest: the list of photographs, CSV.
        results: the card's last section.
    """
    history = read_history(folder)
    text = CARD.read_text().format(
        **history[-1]["config"], runs=_runs_table(history), sources=_sources_table(manifest), results=results
    )
    (folder / "README.md").write_text(text)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """Return the runs that trained the weights in a folder, oldest first; none if they are not recorded."""
    path = folder / HISTORY
    return list(json.loads(path.read_text())) if path.exists() else []


def write_history(folder: Path, runs: list[dict[str, Any]]) -> None:
    """Record the runs that trained the weights in a folder."""
    (folder / HISTORY).write_text(json.dumps(runs, indent=2) + "\n")


def _runs_table(history: list[dict[str, Any]]) -> str:
    lines = [
        "| stage | date | steps | hours | sequences or frames a step | learning rate | device | held out |",
        "|--:|---|--:|--:|---|---|---|---|",
    ]
    for number, run in enumerate(history, start=1):
        config = run["config"]
        lines.append(
            f"| {number}, `{run['recipe']}` | {run['date']} | {run['step']} | {run.get('hours', '')} "
            f"| {run.get('processes', 1) * config['batch_size']} | {config['learning_rate']:g} "
            f"| {run['device']} | {_scores(run)} |"
        )
    notes = [f"\nStage {number}: {run['note']}." for number, run in enumerate(history, 1) if "note" in run]
    return "\n".join(lines + notes)


def _scores(run: dict[str, Any]) -> str:
    """Return the scores of a run on its held-out pictures; release 0.1.0 chose by other ones."""
    if "psnr_y" in run:
        return f"Kodak24: {run['psnr_y']:.2f} dB, LPIPS {run['lpips']:.3f}"
    near = [value for name, value in run.items() if name.endswith("_last")]
    alike = [value for name, value in run.items() if name.endswith("_lpips")]
    return f"{sum(near) / len(near):.2f} dB; with texture LPIPS {sum(alike) / len(alike):.3f}"


def _sources_table(manifest: Path) -> str:
    with manifest.open(encoding="utf-8", newline="") as file:
        counts = Counter((row["source"], row["licence"]) for row in csv.DictReader(file))
    rows = sorted(counts.items(), key=lambda item: -item[1])
    return "\n".join(f"| {count} | {source} | {licence} |" for (source, licence), count in rows)


def main() -> None:
    """Write a card with results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="the model folder")
    parser.add_argument("--manifest", type=Path, required=True, help="the list of photographs, CSV")
    parser.add_argument("--results", type=Path, required=True, help="the card's last section, Markdown")
    arguments = parser.parse_args()
    write_card(arguments.folder, arguments.manifest, arguments.results.read_text())


if __name__ == "__main__":
    main()
