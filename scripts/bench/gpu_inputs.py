"""Make what the parts of `scripts/gpu` work on, unless it is there: random weights of sd-x4, and a tiny clip.

python -m scripts.bench.gpu_inputs --model FOLDER --clip VIDEO [--small]
"""

import argparse
from pathlib import Path


def main() -> None:
    """Make what is missing; only a small clip can be made."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    if not arguments.clip.exists():
        if not arguments.small:
            raise SystemExit(f"{arguments.clip} is missing.")
        make_clip(arguments.clip)
    if not arguments.model.exists():
        # Imported only if it is needed, since importing PyTorch and diffusers takes seconds.
        from scripts.bench.architecture import REAL, SMALL, save_random_model

        save_random_model(arguments.model, SMALL if arguments.small else REAL)


def make_clip(path: Path) -> None:
    """Write a clip of four small frames, which appears whole or not at all."""
    from tests.video_files import write_video

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_stem(f"{path.stem}.partial")
    write_video(partial, num_frames=4)
    partial.replace(path)


if __name__ == "__main__":
    main()
