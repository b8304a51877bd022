"""Measure how near enlarged pictures come to the ones that they were reduced from.

python scripts/evaluate.py pictures --pictures FOLDER --lpips FILE [--steps 1 2 4 8] [--out FOLDER]
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from card import write_results
from metrics import Lpips, psnr_y, ssim_y
from vidx4 import Upscaler

SCALE = 4
Enlarge = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Score:
    """How near one result comes to the truth, or the mean over several."""

    psnr_y: float
    """dB; higher is nearer."""
    ssim_y: float
    """Up to 1; higher is nearer."""
    lpips: float
    """From 0; lower is nearer to the eye."""
    seconds: float


def evaluate_pictures(arguments: argparse.Namespace) -> None:
    """Score every method on every picture of a folder; write `pictures.json` and `pictures.md`."""
    paths = sorted(arguments.pictures.glob("*.png"))
    if not paths:
        raise SystemExit(f"no pictures (*.png) in {arguments.pictures}")
    lpips = Lpips(arguments.lpips)
    scores = {
        name: {path.stem: score(enlarge, path, lpips) for path in paths}
        for name, enlarge in _methods(arguments).items()
    }
    means = {name: _mean(list(of_method.values())) for name, of_method in scores.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    _write_json(arguments, scores, means)
    table = _markdown(means)
    (arguments.out / "pictures.md").write_text(table)
    if arguments.card:
        write_results(arguments.card, table)
    print(table, end="")


def _methods(arguments: argparse.Namespace) -> dict[str, Enlarge]:
    methods: dict[str, Enlarge] = {
        "bicubic": partial(_resize, filter=Image.Resampling.BICUBIC),
        "Lanczos": partial(_resize, filter=Image.Resampling.LANCZOS),
    }
    for steps in arguments.steps:
        upscaler = Upscaler.load(
            arguments.model, device=arguments.device, num_inference_steps=steps, seed=arguments.seed
        )
        methods[f"{arguments.model}, {steps} step{'s' * (steps > 1)}"] = upscaler.picture
    return methods


def _resize(picture: Image.Image, filter: Image.Resampling) -> Image.Image:
    return picture.resize((SCALE * picture.width, SCALE * picture.height), filter)


def score(enlarge: Enlarge, path: Path, lpips: Lpips) -> Score:
    """Reduce a picture four times, enlarge it again, and compare."""
    truth = Image.open(path).convert("RGB")
    truth = truth.crop((0, 0, truth.width - truth.width % SCALE, truth.height - truth.height % SCALE))
    low_res = truth.resize((truth.width // SCALE, truth.height // SCALE), Image.Resampling.BICUBIC)
    start = time.perf_counter()
    result = enlarge(low_res)
    seconds = time.perf_counter() - start
    pair = _to_tensor(result), _to_tensor(truth)
    with torch.inference_mode():
        return Score(psnr_y(*pair), ssim_y(*pair), float(lpips(*pair)), seconds)


def _to_tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255


def _mean(scores: list[Score]) -> Score:
    rows = [asdict(score) for score in scores]
    return Score(**{key: mean(row[key] for row in rows) for key in rows[0]})


def _write_json(
    arguments: argparse.Namespace, scores: dict[str, dict[str, Score]], means: dict[str, Score]
) -> None:
    record = {
        "pictures": arguments.pictures.name,
        "device": arguments.device,
        "seed": arguments.seed,
        "mean": means,
        "each": scores,
    }
    text = json.dumps(record, default=asdict, indent=2)
    (arguments.out / "pictures.json").write_text(text + "\n")


def _markdown(means: dict[str, Score]) -> str:
    lines = ["| method | PSNR-Y (dB) | SSIM-Y | LPIPS | seconds a picture |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {name} | {row.psnr_y:.2f} | {row.ssim_y:.4f} | {row.lpips:.3f} | {row.seconds:.2f} |"
        for name, row in means.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the arguments and run one evaluation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    pictures = commands.add_parser("pictures", help="pictures reduced four times by antialiased bicubic")
    pictures.set_defaults(run=evaluate_pictures)
    pictures.add_argument("--pictures", type=Path, required=True, help="a folder of PNG files")
    pictures.add_argument("--lpips", type=Path, required=True, help="LPIPS weights, .npz")
    pictures.add_argument("--model", default="compact")
    pictures.add_argument("--device", default="cpu")
    pictures.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8])
    pictures.add_argument("--seed", type=int, default=0)
    pictures.add_argument("--card", type=Path, help="a model folder whose card gets the table")
    pictures.add_argument("--out", type=Path, default=Path("evaluation"))
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
