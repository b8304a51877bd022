"""Shots for a labelled set: pieces of clips, cameras over stills, and drawn scenes on twos and threes."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT = 256, 192

LIVE_CLIPS = {
    "development": {
        "bear_320x240.webm": [(0, 80)],
        "bottles_640x360.mp4": [(0, 300)],
        "canon_mjpeg_320.avi": [(0, 41)],
        "city_cc0_mpeg2.mpg": [(0, 116), (116, 190)],
        "cyclist_400x300.avi": [(0, 16)],
        "ducks_720p_aac.mp4": [(0, 100)],
        "face_srt.mkv": [(0, 30)],
        "lab_pal_sd_sar16-15.mp4": [(0, 250)],
        "london_320x240_60fps.mp4": [(0, 600)],
        "nasa_webb_2v2a2s.mp4": [(0, 126), (152, 198), (204, 324)],
        "sdr_10bit_vp9_426x240.webm": [(0, 39), (43, 66)],
        "signer_face_vga_vfr.mkv": [(0, 64)],
        "speedway_jpeg2000.mj2": [(0, 199)],
        "vfr_518x488.mp4": [(0, 160)],
    },
    "report": {
        "bikes.mp4": [(0, 30), (30, 76), (76, 137), (137, 187), (187, 242)],
        "carphone_pristine.mp4": [(0, 120)],
        "hdr10_av1_mdcv_clli.mp4": [(0, 60)],
        "sony_a7m3_1080i50.mts": [(0, 13)],
    },
}
"""Ranges of frames within one shot of each clip, found by looking at them."""
ANIMATED_CLIPS = {
    "development": {
        "bbb_480x360_10s.mp4": [(0, 40), (46, 135), (141, 239)],
        "bbb_720p_5.1.mp4": [(0, 131)],
    },
    "report": {"elephants_dream_damaged.mkv": [(9, 24), (24, 71)]},
}
DRAWN = "Deevad+peppercarrot"
REPORTED_EPISODES = ("ep04", "ep07", "ep10", "ep12", "ep17", "ep20")
STILLS_OF_FILMS = {"f/0350.jpg": "report", "c/0351.jpg": "report", "e/0349.jpg": "development"}
"""Stills of animated films among the pictures, and the half that each is in."""
TEXT = ("c/0595.jpg", "d/0596.jpg", "e/0597.jpg")

Frames = list[np.ndarray]
"""RGB, uint8, (HEIGHT, WIDTH, 3) each."""


@dataclass(frozen=True)
class Scene:
    """Something to film: a part of a clip, or a still."""

    name: str
    frames: tuple[np.ndarray, ...]
    """One for a still; larger than a shot, so that a shot can be any crop."""
    is_drawn: bool = False

    @property
    def is_still(self) -> bool:
        """Whether motion must be added."""
        return len(self.frames) == 1

    @property
    def source(self) -> str:
        """The clip or picture that it is from."""
        return self.name.split()[0]


@dataclass(frozen=True)
class Material:
    """The scenes of one half."""

    live: Sequence[Scene]
    animated: Sequence[Scene]

    def fold(self, index: int, count: int) -> "Material":
        """Return one of `count` parts; no scene, clip or picture is in two of them."""
        return Material(*(_fold(scenes, index, count) for scenes in (self.live, self.animated)))


def _fold(scenes: Sequence[Scene], index: int, count: int) -> list[Scene]:
    names = list(dict.fromkeys(scene.source for scene in scenes if not scene.is_still))
    return [
        scene
        for scene in scenes
        if (_digest(scene.source)[2] if scene.is_still else names.index(scene.source)) % count == index
    ]


def load_development(clips: Path, photos: Path) -> Material:
    """Read the scenes that train and tune; every photograph among the pictures is one."""
    live = [*_clip_scenes(clips, LIVE_CLIPS["development"], is_drawn=False)]
    animated = [
        *_clip_scenes(clips, ANIMATED_CLIPS["development"], is_drawn=True),
        *_drawings(photos, "development"),
    ]
    for name, source in _listed(photos):
        if name in TEXT or name in STILLS_OF_FILMS or source.startswith(DRAWN):
            continue
        picture = _reduced(_read_picture(photos / name))
        live.append(Scene(name, (picture,)))
        if _digest(name)[1] % 4 == 0:
            animated.append(Scene(f"{name} painted", (_painted(picture),), is_drawn=True))
    return Material(live, animated)


def load_report(clips: Path, photos: Path, kodak: Path) -> Material:
    """Read the scenes that are only reported on: Kodak's pictures, other clips, and other drawings."""
    pictures = {path.name: _reduced(_read_picture(path)) for path in sorted(kodak.glob("kodim*.png"))}
    if not pictures:
        raise SystemExit(f"{kodak} has no pictures kodim*.png")
    return Material(
        [
            *_clip_scenes(clips, LIVE_CLIPS["report"], is_drawn=False),
            *(Scene(name, (picture,)) for name, picture in pictures.items()),
        ],
        [
            *_clip_scenes(clips, ANIMATED_CLIPS["report"], is_drawn=True),
            *_drawings(photos, "report"),
            *(Scene(f"{name} painted", (_painted(each),), is_drawn=True) for name, each in pictures.items()),
        ],
    )


def _drawings(photos: Path, half: str) -> Iterator[Scene]:
    for name, source in _listed(photos):
        if _half_of_drawing(name, source) == half:
            yield Scene(name, (_reduced(_read_picture(photos / name)),), is_drawn=True)


def _listed(photos: Path) -> list[tuple[str, str]]:
    with (photos / "MANIFEST.csv").open(encoding="utf-8", newline="") as manifest:
        return [(row["file"], row["source"]) for row in csv.DictReader(manifest)]


def _half_of_drawing(name: str, source: str) -> str | None:
    if name in STILLS_OF_FILMS:
        return STILLS_OF_FILMS[name]
    if source.startswith(DRAWN):
        return "report" if any(f"_{episode}_" in source for episode in REPORTED_EPISODES) else "development"
    return None


def _digest(name: str) -> bytes:
    return sha256(name.encode()).digest()


def _clip_scenes(folder: Path, clips: dict[str, list[tuple[int, int]]], is_drawn: bool) -> Iterator[Scene]:
    for name, ranges in clips.items():
        frames = _read_clip(folder / name, max(stop for _, stop in ranges))
        for start, stop in ranges:
            yield Scene(f"{name} {start}", tuple(frames[start:stop]), is_drawn)


def _read_clip(path: Path, stop: int) -> Frames:
    frames: Frames = []
    with av.open(str(path)) as container:
        try:
            for frame in container.decode(video=0):
                frames.append(_reduced(frame.to_ndarray(format="rgb24")))
                if len(frames) == stop:
                    break
        except av.FFmpegError:
            pass  # some are damaged further on
    return frames


def _read_picture(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"{path} can't be read")
    return np.ascontiguousarray(picture[..., ::-1])


def _reduced(picture: np.ndarray) -> np.ndarray:
    """Reduce a picture so that it covers twice a shot's size at most."""
    scale = max(2 * WIDTH / picture.shape[1], 2 * HEIGHT / picture.shape[0])
    if scale >= 1:
        return picture
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    reduced: np.ndarray = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return reduced


def _painted(picture: np.ndarray) -> np.ndarray:
    """Turn a photograph into something like a painted background: flat areas and dark outlines."""
    flat = cv2.pyrMeanShiftFiltering(np.ascontiguousarray(picture), 8, 24)
    edges = cv2.Canny(cv2.GaussianBlur(flat, (0, 0), 1.5), 60, 140)
    painted: np.ndarray = np.where(edges[..., None] > 0, flat // 3, flat).astype(np.uint8)
    return painted


@dataclass(frozen=True)
class View:
    """What part of a scene is filmed, and when; two views of one scene are similar shots."""

    x: float
    """Middle, as a share of the room that the zoom leaves."""
    y: float
    zoom: float
    """1 shows the whole height or width."""
    is_mirrored: bool = False
    start: float = 0.0
    """As a share of the scene's frames."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "View":
        """Draw a view."""
        x, y, start = rng.uniform(size=3)
        return cls(x, y, rng.uniform(1.1, 1.8), bool(rng.uniform() < 0.5), start)


Pose = Callable[[float], tuple[float, float, float, float]]
"""From a time in frames to a shift in pixels, x and y, a factor to the zoom, and the length of the blur."""


def film(scene: Scene, view: View, pose: Pose, num_frames: int, hold: int = 1, pose_hold: int = 1) -> Frames:
    """Film a scene.

    Args:
        scene: what to film.
        view: where the camera begins.
        pose: how it moves.
        num_frames: the length of the shot.
        hold: frames for which the scene stays: 2 for animation on twos.
        pose_hold: frames for which the camera stays, a divisor of `hold`.
    """
    start = round(view.start * max(0, len(scene.frames) - num_frames))
    frames: Frames = []
    for i in range(num_frames):
        time = i // hold * hold
        frame = scene.frames[_bounced(start + time, len(scene.frames))]
        if i % pose_hold:
            frames.append(frames[-1])
        else:
            frames.append(_framed(frame, view, pose(i)))
    return frames


def _bounced(index: int, count: int) -> int:
    """Return an index that runs back and forth over `count` frames."""
    period = max(1, 2 * (count - 1))
    return min(index % period, period - index % period) if count > 1 else 0


def _framed(frame: np.ndarray, view: View, pose: tuple[float, float, float, float]) -> np.ndarray:
    dx, dy, factor, blur = pose
    height, width = frame.shape[:2]
    scale = max(WIDTH / width, HEIGHT / height) * view.zoom  # pixels of the shot for one of the scene
    middle_x = view.x * (width - WIDTH / scale) + WIDTH / scale / 2
    middle_y = view.y * (height - HEIGHT / scale) + HEIGHT / scale / 2
    scale *= factor
    left, top = middle_x - WIDTH / scale / 2, middle_y - HEIGHT / scale / 2
    sign = -1 if view.is_mirrored else 1
    matrix = np.array([[sign / scale, 0, left + dx / scale], [0, 1 / scale, top + dy / scale]])
    if view.is_mirrored:
        matrix[0, 2] += WIDTH / scale
    shot: np.ndarray = cv2.warpAffine(
        np.ascontiguousarray(frame),
        matrix,
        (WIDTH, HEIGHT),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return cv2.blur(shot, (max(1, round(blur)), 1)) if blur > 1 else shot


@cache
def _ellipse(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    distance: np.ndarray = np.hypot((x - width / 2) / (width / 2), (y - height / 2) / (height / 2))
    return distance


def paste_cel(
    frame: np.ndarray, cel: np.ndarray, center: tuple[float, float], radii: tuple[int, int]
) -> np.ndarray:
    """Paste an ellipse of a picture with a dark outline over a frame, as a figure on a cel."""
    width, height = 2 * radii[0], 2 * radii[1]
    left, top = round(center[0]) - radii[0], round(center[1]) - radii[1]
    x0, y0, x1, y1 = max(0, left), max(0, top), min(WIDTH, left + width), min(HEIGHT, top + height)
    if x0 >= x1 or y0 >= y1:
        return frame
    distance = _ellipse(width, height)[y0 - top : y1 - top, x0 - left : x1 - left, None]
    figure = cv2.resize(cel, (width, height))[y0 - top : y1 - top, x0 - left : x1 - left]
    result = frame.copy()
    part = np.where(distance < 0.9, figure, 20)
    result[y0:y1, x0:x1] = np.where(distance < 1, part, result[y0:y1, x0:x1])
    return result
