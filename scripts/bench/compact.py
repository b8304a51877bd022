"""The bundled model against those that people use today, at three sizes, each in a process of its own.

`scripts.evaluate.methods` says where the others come from.
"""

import argparse

from scripts.bench.pictures import pan
from scripts.bench.tables import Row, write
from scripts.evaluate import methods

SIZES = (160, 120), (320, 240), (640, 480)
BASELINE = "animevideov3"
"""Method that the others are compared with."""
FAST = BASELINE, "span", "compact", "compact temporal=off", "compact steps=4"
SLOW = "x4plus"
"""Method that gets one frame only and no warm-up, which would be little beside its own time."""
NUM_REPEATS = 3
"""Runs of each fast method after its warm-up; the fastest counts."""


def run(arguments: argparse.Namespace) -> None:
    """Measure the bundled model against others."""
    tables = {
        f"{width}x{height} (times faster than {BASELINE})": compare(width, height, arguments.frames)
        for width, height in SIZES
    }
    write(arguments.out, "compact", tables)


def compare(width: int, height: int, num_frames: int) -> list[Row]:
    """Compare the time and memory that methods take for a frame of a pan."""
    frames = pan(num_frames, width, height).permute(0, 2, 3, 1).numpy()
    runs = {method: methods.run(method, [frames[:2], *NUM_REPEATS * [frames]]) for method in FAST}
    seconds = {method: min(each.seconds[1:]) for method, each in runs.items()}
    runs[SLOW] = methods.run(SLOW, [frames[:1]])
    seconds[SLOW] = runs[SLOW].seconds[0]
    return [
        Row(method, seconds[method], seconds[BASELINE] / seconds[method], peak_memory=each.peak_memory)
        for method, each in runs.items()
    ]
