"""Crops of real clips as they are: nobody reduced them, so there is no truth, and nothing but pictures."""

import argparse

from scripts.evaluate.cache import Runner
from scripts.evaluate.clips import read
from scripts.evaluate.crops import one_frame
from scripts.evaluate.slices import write_crops

CLIPS = {
    "bear": ("bear_320x240.webm", 320, 240),
    "canon": ("canon_mjpeg_320.avi", 320, 240),
    "nasa": ("nasa_webb_2v2a2s.mp4", 320, 180),
    "london": ("london_320x240_60fps.mp4", 320, 240),
    "bottles": ("bottles_640x360.mp4", 640, 360),
    "signer": ("signer_face_vga_vfr.mkv", 640, 480),
}
"""File, width and height."""


def run(arguments: argparse.Namespace) -> None:
    """Write `crops_real.png`: the last frame that a method makes of each clip, where there is most detail."""
    runner = Runner(arguments.cache, arguments.threads, arguments.under_load)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in arguments.only:
        file, width, height = CLIPS[name]
        frames = read(arguments.clips / file, 0, arguments.frames, width, height)
        last = len(frames) - 1
        rows.append({method: one_frame(runner, method, frames, last) for method in arguments.methods})
    write_crops(arguments.out / "crops_real.png", rows, judged_by=0)
