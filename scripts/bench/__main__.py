"""Measure the cost of things: ratios within one run, as JSON and Markdown.

python -m scripts.bench temporal [--clip VIDEO]    what reuse saves, and what consistency costs
python -m scripts.bench compact                    the bundled model against those that people use today
python -m scripts.bench denoiser [--sizes 128x128 ...] [--steps N]     sd-x4 against diffusers
python -m scripts.bench pipeline [--clip VIDEO] [--model NAME]         the whole command, stage by stage
python -m scripts.bench scale                      time and memory against frames, pixels, tiles and batches
python -m scripts.bench memory                     large frames of sd-x4 in a limited memory
python -m scripts.bench operations [--sizes 320x240 ...]               what a frame of sd-x4 takes, counted
python -m scripts.bench plan [--sizes 320x240 ...]                     how frames of sd-x4 fit GPUs, simulated
python -m scripts.bench cluster [--workers 1 2] [--minutes 1 5]        a job on Ray against one without
python -m scripts.bench gpu [--minutes 10]     the tests and benchmarks that need a GPU, as scripts/gpu

Each is a module of this package, which says more. Each takes `--out FOLDER`, and less than eight minutes on
two cores. All but `temporal`, `compact`, `operations` and `plan` take `--device`; all of those but
`cluster` take `--dtype`.
"""

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from vidx4.cli.progress_bar import INTERRUPTED

SAMPLES = Path(__file__).parents[2] / "samples"
BENCHMARKS = {
    "temporal": "what reuse saves, and what keeping a shot consistent costs",
    "compact": "the bundled model against those that people use today",
    "denoiser": "sd-x4 at its real size against diffusers",
    "pipeline": "the whole command, stage by stage, and without a model",
    "scale": "time and memory against frames, pixels, tiles and batches",
    "memory": "large frames of sd-x4 in a limited memory",
    "operations": "what a frame of sd-x4 takes at its real size, counted",
    "plan": "how sd-x4 cuts up frames to fit GPUs, simulated, and what diffusers would take",
    "cluster": "a job on Ray against one without",
    "gpu": "the tests and benchmarks that need a GPU, one after another, as scripts/gpu",
}
"""Names of modules, each with a `run(arguments)`, which are imported only when they run."""
SIZES = [(160, 120), (320, 240), (640, 480)]
COMPARISONS = ("equal", "float32", "unguided", "defaults", "compiled")
SCALES = ("frames", "pixels", "tiles", "batches", "decoder")
MEMORY = ("plan", "step", "decoder")
"""What some of them can be limited to."""


def main() -> None:
    """Parse the arguments and run one benchmark."""
    arguments = new_parser().parse_args()
    try:
        import_module(f"scripts.bench.{arguments.benchmark}").run(arguments)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(INTERRUPTED)


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of all arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="benchmark", required=True)
    parts = {name: commands.add_parser(name, help=help) for name, help in BENCHMARKS.items()}
    for part in parts.values():
        part.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for the results")
    parts["temporal"].add_argument("--frames", type=int, default=24)
    parts["temporal"].add_argument("--clip", type=Path, default=SAMPLES / "nasa.mp4")
    parts["compact"].add_argument("--frames", type=int, default=6)
    for name in ("denoiser", "operations", "plan"):
        parts[name].add_argument("--sizes", nargs="+", type=size, help="such as 128x128")
    parts["denoiser"].add_argument("--steps", type=int, help="default: 20, on a CPU 2")
    parts["denoiser"].add_argument(
        "--compare", nargs="+", choices=COMPARISONS, help="default: all that apply"
    )
    parts["denoiser"].add_argument("--compiler", default="inductor", help="a backend of torch.compile")
    parts["pipeline"].add_argument("--clip", type=Path, default=SAMPLES / "london.mp4")
    parts["pipeline"].add_argument("--model", default="compact")
    parts["pipeline"].add_argument("--speed", default="quality", help="quality, balanced or fast")
    parts["pipeline"].add_argument("--stop", type=float, help="seconds of the clip that are enlarged")
    parts["scale"].add_argument("--frames", type=int, default=24, help="and ten times as many")
    parts["scale"].add_argument("--sizes", nargs="+", type=size, default=SIZES, help="of frames for `pixels`")
    parts["scale"].add_argument("--tables", nargs="+", choices=SCALES, default=SCALES)
    parts["memory"].add_argument("--tables", nargs="+", choices=MEMORY, default=MEMORY)
    parts["memory"].add_argument("--sizes", nargs="+", type=size, help="of frames whose plan is checked")
    parts["cluster"].add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parts["cluster"].add_argument("--minutes", nargs="+", type=int, default=[1, 5], help="lengths of films")
    parts["cluster"].add_argument("--device", default="cpu", help="auto, cpu or cuda")
    parts["gpu"].set_defaults(out=Path(os.environ.get("OUT", "evaluation")))
    parts["gpu"].add_argument("--minutes", type=float, default=10, help="then the next call resumes")
    for name in ("denoiser", "memory"):
        parts[name].add_argument("--model", type=Path, help="folder that keeps the random weights")
    for name in ("denoiser", "memory", "gpu"):
        parts[name].add_argument("--small", action="store_true", help="a model that a CPU runs in seconds")
    for name in ("denoiser", "pipeline", "scale", "memory", "gpu"):
        parts[name].add_argument("--device", default="auto", help="auto, cpu or cuda")
        parts[name].add_argument("--dtype", default="auto", help="auto, float32, float16 or bfloat16")
    return parser


def size(text: str) -> tuple[int, int]:
    """Read a width and a height, such as 320x240."""
    width, height = text.split("x")
    return int(width), int(height)


if __name__ == "__main__":
    main()
