"""The commands of the benchmarks and evaluations: each is a module with a `run`."""

from importlib import import_module
from pathlib import Path

import pytest

from scripts.bench import __main__ as bench
from scripts.evaluate import __main__ as evaluate
from scripts.evaluate.reductions import REDUCTIONS


@pytest.mark.parametrize("name", bench.BENCHMARKS)
def test_every_benchmark_can_run(name: str) -> None:
    arguments = bench.new_parser().parse_args([name, "--out", "results"])
    assert (arguments.benchmark, arguments.out) == (name, Path("results"))
    assert callable(import_module(f"scripts.bench.{name}").run)


def test_sizes_are_read() -> None:
    arguments = bench.new_parser().parse_args(["denoiser", "--sizes", "64x48", "128x96"])
    assert arguments.sizes == [(64, 48), (128, 96)]


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("pictures", "--pictures kodak"),
        ("video", "--clips clips --pictures kodak"),
        ("crops", "--clips clips --pictures kodak"),
        ("long", "--clips clips"),
        ("real", "--clips clips"),
        ("fill", "--clips clips --pictures kodak --cache cache"),
        ("decoder_attention", "--photos photos"),
    ],
)
def test_every_evaluation_can_run(name: str, folders: str) -> None:
    assert evaluate.new_parser().parse_args([name, *folders.split()]).evaluation == name
    assert callable(import_module(f"scripts.evaluate.{name}").run)


def test_evaluations_know_the_reductions() -> None:
    assert list(REDUCTIONS) == evaluate.REDUCTIONS
