"""Clips to measure on: ground truth with its motion."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from vidx4.frames import SCALE


@dataclass(frozen=True)
class Step:
    """How the picture moves from one frame of the truth to the next."""

    flow: np.ndarray
    """Offset of each later pixel to its place in the earlier frame, x then y, float32, (H, W, 2)."""
    seen: np.ndarray
    """Whether the pixel was visible there, bool, (H, W)."""


@dataclass(frozen=True)
class Clip:
    """A few frames of ground truth."""

    name: str
    frames: np.ndarray
    """Frames, RGB, uint8, (T, H, W, 3); sides are multiples of 8."""
    steps: tuple[Step, ...]
    """Motion from each frame to the next."""
    is_pan: bool = False
    """Whether the whole picture moves alike, so that detail that sticks to the screen can be found."""


REAL = {
    "bbb": ("bbb_720p_5.1.mp4", 33, 640, 360),
    "city": ("city_cc0_mpeg2.mpg", 20, 640, 360),
    "ducks": ("ducks_720p_aac.mp4", 10, 640, 360),
    "lab": ("lab_pal_sd_sar16-15.mp4", 60, 480, 384),
    "elephants": ("elephants_dream_damaged.mkv", 40, 640, 360),
    "bottles": ("bottles_640x360.mp4", 200, 448, 248),
}
"""File, first frame, and the size to reduce it to, at which even a coded picture is sharp."""

Pose = Callable[[float], tuple[np.ndarray, np.ndarray]]
"""Function from time, in frames from the middle one, to the matrix and shift from frame to picture."""


def pan(dx: float, dy: float) -> Pose:
    """Move by so many pixels per frame."""
    return lambda t: (np.eye(2), np.array([dx, dy]) * t)


def zoom(rate: float) -> Pose:
    """Come nearer by a share of the distance per frame."""
    return lambda t: (np.eye(2) * (1 - rate * t), np.zeros(2))


def _turn(rate: float) -> Pose:
    def pose(t: float) -> tuple[np.ndarray, np.ndarray]:
        sin, cos = np.sin(rate * t), np.cos(rate * t)
        return np.array([[cos, -sin], [sin, cos]]), np.zeros(2)

    return pose


CAMERA_MOVES: dict[str, tuple[str, Pose]] = {
    "pan": ("kodim05.png", pan(5.0, 3.0)),
    "slow_pan": ("kodim08.png", pan(-2.0, 0.0)),
    "zoom": ("kodim13.png", zoom(0.012)),
    "turn": ("kodim21.png", _turn(0.015)),
}
OCCLUSION = "kodim20.png", "kodim23.png"
"""A picture that stands still, and another of which a disc moves over it."""
FRAME_SIZE = 512, 320
"""Width and height of clips that are made from pictures."""
DISC_RADIUS = 70
DISC_SPEED = 9.0
"""Pixels per frame."""


def load_clips(
    folder: Path, pictures: Path, num_frames: int, only: Collection[str] | None = None
) -> Iterator[Clip]:
    """Yield the real clips in a folder, then clips made by moving over Kodak's pictures.

    Args:
        folder: the folder with the files of `REAL`.
        pictures: the folder with Kodak's pictures.
        num_frames: frames of each clip, if the file has as many.
        only: names of the clips to yield; None for all.
    """
    for name, (file, start, width, height) in REAL.items():
        if only is None or name in only:
            frames = read(folder / file, start, num_frames, width, height)
            yield Clip(name, frames, tuple(_measured_step(a, b) for a, b in pairwise(frames)))
    for name, (file, pose) in CAMERA_MOVES.items():
        if only is None or name in only:
            yield from_picture(name, _open(pictures / file), pose, num_frames)
    if only is None or "occlusion" in only:
        background, foreground = (_open(pictures / file) for file in OCCLUSION)
        yield _occlusion(background, foreground, num_frames)


def read(path: Path, start: int, num_frames: int, width: int, height: int) -> np.ndarray:
    """Read frames of a video, reduced to a size that they cover, uint8, (T, H, W, 3)."""
    with av.open(str(path)) as container:
        frames = (Image.fromarray(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0))
        return np.stack(
            [_reduced_to(frame, width, height) for frame in islice(frames, start, start + num_frames)]
        )


def _reduced_to(picture: Image.Image, width: int, height: int) -> np.ndarray:
    """Reduce a picture to cover a size, and crop it to that."""
    scale = max(width / picture.width, height / picture.height)
    picture = picture.resize(
        (round(scale * picture.width), round(scale * picture.height)), Image.Resampling.BICUBIC
    )
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return np.asarray(picture.crop((left, top, left + width, top + height)))


def _open(path: Path) -> np.ndarray:
    picture = np.asarray(Image.open(path).convert("RGB"))
    return picture if picture.shape[1] > picture.shape[0] else np.rot90(picture)


def _measured_step(last: np.ndarray, frame: np.ndarray) -> Step:
    """Estimate the motion of a real clip; visible is what the flow there and back agrees on."""
    before, after = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (last, frame))
    flow, there = measure_flow(after, before), measure_flow(before, after)
    back = fetch(there, flow, cv2.INTER_LINEAR)
    tolerance = 0.01 * (np.square(flow).sum(-1) + np.square(back).sum(-1)) + 0.5
    return Step(flow, (np.square(flow + back).sum(-1) < tolerance) & _inside(flow))


def measure_flow(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the optical flow from one gray picture to another, uint8 (H, W) -> float32 (H, W, 2)."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    flow: np.ndarray = estimator.calc(start, end, np.zeros((*start.shape, 2), np.float32))
    return flow


def fetch(picture: np.ndarray, flow: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Warp a picture backwards: each pixel comes from the place its flow leads to, (H, W, ...)."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    fetched: np.ndarray = cv2.remap(
        picture, x + flow[..., 0], y + flow[..., 1], interpolation, borderMode=cv2.BORDER_REPLICATE
    )
    return fetched


def _inside(flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width]
    x, y = x + flow[..., 0], y + flow[..., 1]
    inside: np.ndarray = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    return inside


def from_picture(name: str, picture: np.ndarray, pose: Pose, num_frames: int) -> Clip:
    """Move a camera over a picture, uint8, (H, W, 3), from its middle; pans have `pan` in their names."""
    times = np.arange(num_frames) - (num_frames - 1) / 2
    frames = np.stack([_viewed(picture, *pose(t)) for t in times])
    flows = [_flow(pose(a), pose(b)) for a, b in pairwise(times)]
    return Clip(name, frames, tuple(Step(flow, _inside(flow)) for flow in flows), is_pan="pan" in name)


def _viewed(picture: np.ndarray, matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    places = (_places() @ matrix.T + shift + (width / 2, height / 2) - 0.5).astype(np.float32)
    return cv2.remap(
        np.ascontiguousarray(picture),
        places[..., 0],
        places[..., 1],
        cv2.INTER_LANCZOS4,
        borderMode=cv2.BORDER_REFLECT,
    )


def _places() -> np.ndarray:
    """Return the centres of pixels relative to the middle of the frame, x then y, (H, W, 2)."""
    width, height = FRAME_SIZE
    y, x = np.mgrid[:height, :width]
    return np.stack([x - width / 2 + 0.5, y - height / 2 + 0.5], axis=-1)


def _flow(earlier: tuple[np.ndarray, np.ndarray], later: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    (matrix, shift), (later_matrix, later_shift) = earlier, later
    places = _places()
    shown = places @ later_matrix.T + later_shift
    flow: np.ndarray = ((shown - shift) @ np.linalg.inv(matrix).T - places).astype(np.float32)
    return flow


def _occlusion(background: np.ndarray, foreground: np.ndarray, num_frames: int) -> Clip:
    """Move a disc of one picture over another, which stands still."""
    centers = [np.array([DISC_SPEED * (i - (num_frames - 1) / 2), 20.0]) for i in range(num_frames)]
    behind = _viewed(background, np.eye(2), np.zeros(2))
    discs = [np.hypot(*np.moveaxis(_places() - center, -1, 0)) < DISC_RADIUS for center in centers]
    fronts = [_viewed(foreground, np.eye(2), -center) for center in centers]
    frames = [np.where(disc[..., None], front, behind) for disc, front in zip(discs, fronts, strict=True)]
    steps = []
    for i, (last, disc) in enumerate(pairwise(discs)):
        flow = np.where(disc[..., None], centers[i] - centers[i + 1], 0).astype(np.float32)
        was_disc = fetch(last.astype(np.float32), flow, cv2.INTER_NEAREST) > 0
        steps.append(Step(flow, was_disc == disc))
    return Clip("occlusion", np.stack(frames), tuple(steps))


def reduce_clean(frames: np.ndarray, kernel: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    """Reduce frames four times by antialiased interpolation, uint8, (T, H, W, 3)."""
    size = frames.shape[2] // SCALE, frames.shape[1] // SCALE
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, kernel)) for frame in frames])
