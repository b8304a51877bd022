"""Shots joined at known places: hard cuts, gradual transitions, and what must not be taken for a cut."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from scripts.evaluate.shots import (
    HEIGHT,
    WIDTH,
    Frames,
    Material,
    Pose,
    Scene,
    View,
    film,
    paste_cel,
)
from scripts.evaluate.wear import STYLES

LEAST_CHANGE = 8.0
"""Mean change in 8-bit levels, without noise and marks, below which no join is made: nobody would see it."""
SHORTEST_GRADUAL = 3
"""Frames of a dissolve, fade or wipe that is one; a shorter one is a soft cut, and must be found."""
LONGEST_INTERRUPTION = 2
"""Frames of another scene after which the first returns that are no shot of their own."""
LONGEST_FAST_MOVE = 14
"""Frames of a fast pan or zoom; it would leave its still otherwise."""


@dataclass(frozen=True)
class Span:
    """Frames from `start` up to `stop` of one kind of event."""

    start: int
    stop: int
    kind: str


@dataclass
class Film:
    """Joined shots, and what is known of them."""

    name: str
    is_animated: bool
    style: str
    frames: Frames = field(default_factory=list)
    cuts: list[Span] = field(default_factory=list)
    """First frames of new scenes; of a soft cut, all frames of which the first can be."""
    gradual: list[Span] = field(default_factory=list)
    """Dissolves, fades and wipes: frames that show two scenes, or the first whole one of the second."""
    ignored: list[Span] = field(default_factory=list)
    """Interruptions of one or two frames: a cut there is neither right nor wrong."""
    events: list[Span] = field(default_factory=list)
    """What must not be taken for a cut."""


def make_films(material: Material, count: int, seed: int) -> Iterator[Film]:
    """Yield films, alternately live and animated, in all styles in turn; the same ones for the same seed."""
    return (make_film(material, i, seed) for i in range(count))


def make_film(material: Material, index: int, seed: int) -> Film:
    """Make one of the films of a seed."""
    rng = np.random.default_rng([seed, index])
    style = list(STYLES)[index // 2 % len(STYLES)]
    return _make_film(material, rng, f"{index:03}", index % 2 == 1, style)


def _make_film(
    material: Material, rng: np.random.Generator, name: str, is_animated: bool, style: str
) -> Film:
    made = Film(name, is_animated, style)
    scenes = material.animated if is_animated else material.live
    shot = _Shot.draw(rng, scenes)
    for _ in range(int(rng.integers(7, 12))):
        frames, events = shot.filmed(rng, scenes)
        _append(made, frames, events, shot.relation, rng)
        shot = shot.following(rng, scenes)
    made.frames = STYLES[style](made.frames, rng)
    return made


RELATIONS = {"other": 0.5, "crop": 0.2, "reverse": 0.12, "again": 0.1, "side": 0.08}
"""How a shot follows the one before, with its share: another scene; the same scene nearer or wider; the same
palette seen from the other side; the same scene with the same camera at another time, nearer; beside it."""


@dataclass(frozen=True)
class _Shot:
    scene: Scene
    view: View
    move: str
    num_frames: int
    relation: str = "other"

    @classmethod
    def draw(cls, rng: np.random.Generator, scenes: Sequence[Scene]) -> "_Shot":
        moving = [scene for scene in scenes if not scene.is_still]
        still = [scene for scene in scenes if scene.is_still]
        pool = moving if rng.uniform() < (0.3 if scenes[0].is_drawn else 0.45) else still
        scene = pool[rng.integers(len(pool))]
        return cls(scene, View.draw(rng), _draw_move(rng, scene), _draw_length(rng))

    def following(self, rng: np.random.Generator, scenes: Sequence[Scene]) -> "_Shot":
        relation = str(rng.choice(list(RELATIONS), p=list(RELATIONS.values())))
        view = self.view
        if relation == "other":
            return _Shot.draw(rng, scenes)
        if relation == "crop":
            view = replace(view, zoom=view.zoom * rng.uniform(1.35, 2.2))
        elif relation == "reverse":
            view = replace(View.draw(rng), is_mirrored=not view.is_mirrored)
        elif relation == "again":
            view = replace(view, start=(view.start + 0.5) % 1, zoom=view.zoom * rng.uniform(1.15, 1.35))
        else:
            view = replace(view, x=(view.x + 0.5) % 1, zoom=max(view.zoom, 1.6))
        if view.zoom > 3:
            view = replace(view, zoom=1.2)
        return _Shot(self.scene, view, _draw_move(rng, self.scene), _draw_length(rng), relation)

    def filmed(self, rng: np.random.Generator, scenes: Sequence[Scene]) -> tuple[Frames, list[Span]]:
        hold = int(rng.choice([1, 2, 3], p=[0.2, 0.4, 0.4])) if self.scene.is_drawn else 1
        pose, pose_hold = MOVES[self.move](rng), hold if self.move in CALM else 1
        frames = film(self.scene, self.view, pose, self.num_frames, hold, pose_hold)
        events = [] if self.move in CALM else [Span(0, self.num_frames, self.move)]
        if self.scene.is_drawn and self.scene.is_still:
            frames = _with_cels(rng, frames, scenes)
        elif rng.uniform() < 0.12 and self.num_frames > 10:
            frames, event = _with_passer_by(rng, frames, scenes)
            events.append(event)
        if self.scene.is_still and not self.scene.is_drawn:
            frames = [_noisy(rng, frame, 1.5) for frame in frames]
        return frames, events


def _draw_length(rng: np.random.Generator) -> int:
    return int(rng.integers(3, 11)) if rng.uniform() < 0.2 else int(rng.integers(11, 42))


CALM = ("still", "pan", "zoom", "hand")


def _draw_move(rng: np.random.Generator, scene: Scene) -> str:
    calm, hard = 0.8, ("whip", "shake", "fast zoom", "fast pan")
    if rng.uniform() > calm:
        return str(rng.choice(hard))
    return str(rng.choice(CALM)) if scene.is_still else str(rng.choice(["still", "still", "pan"]))


def _constant(
    rng: np.random.Generator, least: float, most: float, rate: float = 0.0, blur: float = 0.0
) -> Pose:
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(least, most)
    dx, dy = speed * np.cos(angle), speed * np.sin(angle) * 0.6
    growth = 1 + rng.uniform(-rate, rate)
    last = LONGEST_FAST_MOVE if most > 6 or rate > 0.03 else np.inf
    return lambda t: (
        dx * min(t, last),
        dy * min(t, last),
        growth ** min(t, last),
        blur * abs(dx) * (t < last),
    )


def _whip(rng: np.random.Generator) -> Pose:
    begin, length = rng.integers(3, 10), rng.integers(4, 10)
    speed = rng.uniform(0.08, 0.28) * WIDTH * rng.choice([-1, 1])

    def pose(t: float) -> tuple[float, float, float, float]:
        inside = begin <= t < begin + length
        return speed * np.clip(t - begin, 0, length), 0.0, 1.0, 0.6 * abs(speed) if inside else 0.0

    return pose


def _shake(rng: np.random.Generator, share: float) -> Pose:
    offsets = rng.normal(0, share * WIDTH, (64, 2))
    return lambda t: (*offsets[int(t) % 64], 1.0, 2.0 if share > 0.01 else 0.0)


MOVES: dict[str, Callable[[np.random.Generator], Pose]] = {
    "still": lambda rng: lambda t: (0.0, 0.0, 1.0, 0.0),
    "pan": lambda rng: _constant(rng, 0.3, 5.0),
    "zoom": lambda rng: _constant(rng, 0.0, 1.0, rate=0.015),
    "hand": lambda rng: _shake(rng, 0.003),
    "whip": _whip,
    "shake": lambda rng: _shake(rng, rng.uniform(0.015, 0.05)),
    "fast zoom": lambda rng: _constant(rng, 0.0, 1.0, rate=0.09),
    "fast pan": lambda rng: _constant(rng, 8.0, 24.0, blur=0.5),
}
"""From a generator to the movement of a camera."""


def _with_cels(rng: np.random.Generator, frames: Frames, scenes: Sequence[Scene]) -> Frames:
    """Paste one or two figures that move on twos or threes."""
    for _ in range(int(rng.integers(0, 3))):
        cel = scenes[int(rng.integers(len(scenes)))].frames[0]
        place = rng.uniform((0, 0), (WIDTH, HEIGHT))
        speed = rng.normal(0, 5, 2)
        radii = rng.integers(14, 60, 2)
        hold = int(rng.choice([2, 3]))
        pose = rng.uniform(0.85, 1.15, (len(frames), 2))
        for i in range(len(frames)):
            key = i // hold * hold
            wide, high = (radii * pose[key]).astype(int)
            x, y = place + speed * key
            frames[i] = paste_cel(frames[i], cel, (x, y), (int(wide), int(high)))
    return frames


def _with_passer_by(rng: np.random.Generator, frames: Frames, scenes: Sequence[Scene]) -> tuple[Frames, Span]:
    """Let something large and near pass through the picture."""
    cel = cv2.GaussianBlur(scenes[int(rng.integers(len(scenes)))].frames[0], (0, 0), 4)
    begin, length = int(rng.integers(2, 6)), int(rng.integers(3, min(14, len(frames) - 3)))
    radius = int(rng.integers(50, 130))
    sign = rng.choice([-1, 1])
    for i in range(length + 1):
        x = WIDTH / 2 + sign * (i / length - 0.5) * (WIDTH + 2 * radius)
        if begin + i < len(frames):
            frames[begin + i] = paste_cel(frames[begin + i], cel, (x, HEIGHT * 0.6), (radius, HEIGHT))
    return frames, Span(begin, begin + length + 1, "passer-by")


def _noisy(rng: np.random.Generator, frame: np.ndarray, deviation: float) -> np.ndarray:
    noisy: np.ndarray = (frame + rng.normal(0, deviation, frame.shape)).round().clip(0, 255).astype(np.uint8)
    return noisy


def _append(made: Film, frames: Frames, events: list[Span], relation: str, rng: np.random.Generator) -> None:
    """Join a shot to the film, or leave it out if the join would hardly be seen."""
    frames, own = _disturbed(rng, frames, made)
    if made.frames and float(np.abs(_small(made.frames[-1]) - _small(frames[0])).mean()) < LEAST_CHANGE:
        return
    if made.frames:
        length = _draw_transition(rng, min(len(frames), len(made.frames)) - 4)
        _join(made, frames, relation, *length, rng)
    start = len(made.frames) - len(frames)
    if not made.cuts and not made.gradual:
        made.frames, start = frames, 0
    for event in (*events, *own):
        span = Span(event.start + start, event.stop + start, event.kind)
        (made.ignored if event.kind == "insert" else made.events).append(span)


def _small(frame: np.ndarray) -> np.ndarray:
    small: np.ndarray = cv2.resize(frame, (32, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
    return small


def _draw_transition(rng: np.random.Generator, most: int) -> tuple[str, int]:
    if rng.uniform() < 0.78 or most < 2:
        return "cut", 0
    kind = str(rng.choice(["dissolve", "fade", "wipe"], p=[0.5, 0.2, 0.3]))
    longest = min(most, 24)
    return kind, int(rng.integers(1, longest)) if longest > 1 else 1


def _join(
    made: Film, frames: Frames, relation: str, kind: str, length: int, rng: np.random.Generator
) -> None:
    """Join frames to the film, the first `length` of which are mixed with its last."""
    start = len(made.frames) - length
    if length:
        shares = (np.arange(length) + 1) / (length + 1)
        mixed = [
            _mixed(kind, a, b, share)
            for a, b, share in zip(made.frames[start:], frames, shares, strict=False)
        ]
        made.frames = made.frames[:start] + mixed + frames[length:]
    else:
        made.frames += frames
    if length < SHORTEST_GRADUAL:
        made.cuts.append(
            Span(start, start + length + 1, f"soft {kind}" if length else _named(frames, relation))
        )
    else:
        made.gradual.append(Span(start, start + length + 1, kind))


def _named(frames: Frames, relation: str) -> str:
    return f"{relation}, short" if len(frames) <= 10 else relation


def _mixed(kind: str, a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Return `share` of `b` and the rest of `a`: mixed, by way of black, or side by side."""
    if kind == "wipe":
        column = round(share * WIDTH)
        return np.hstack([b[:, :column], a[:, column:]])
    if kind == "fade":
        picture, weight = (a, 1 - 2 * share) if share < 0.5 else (b, 2 * share - 1)
        return (picture * max(0.0, weight)).round().astype(np.uint8)
    mixed: np.ndarray = (a * (1 - share) + b * share).round().astype(np.uint8)
    return mixed


def _disturbed(rng: np.random.Generator, frames: Frames, made: Film) -> tuple[Frames, list[Span]]:
    """Add flashes, a strobe, damage or an interruption to some shots that are long enough."""
    if len(frames) < 14 or rng.uniform() > 0.36:
        return frames, []
    kind = str(rng.choice(["flash", "strobe", "damage", "insert", "light", "light"]))
    start = int(rng.integers(5, len(frames) - 7))
    length = {
        "strobe": int(rng.integers(5, len(frames) - start)),
        "insert": int(rng.integers(1, LONGEST_INTERRUPTION + 1)),
    }.get(kind, int(rng.integers(1, 4)))
    frames = list(frames)
    strength = float(rng.uniform(60, 255))
    for i in range(start, start + length):
        frames[i] = _disturb(kind, frames[i], i - start, strength, rng, made)
    if kind == "light":
        frames[start:], length = _relit(rng, frames[start:])
    return frames, [Span(start, start + length + 1, kind)]


def _relit(rng: np.random.Generator, frames: Frames) -> tuple[Frames, int]:
    """Change the light within a few frames, and perhaps its colour; return also how long that takes."""
    length = int(rng.choice([1, 1, 2, 4]))
    gain = float(rng.choice([0.3, 0.45, 0.6, 1.6, 2.0])) * rng.uniform(0.85, 1.15, 3) ** rng.integers(0, 2)
    shares = ((np.arange(len(frames)) + 1) / length).clip(0, 1)
    relit = [
        (frame * gain**share).clip(0, 255).astype(np.uint8)
        for frame, share in zip(frames, shares, strict=True)
    ]
    return relit, length + 1


def _disturb(
    kind: str, frame: np.ndarray, i: int, strength: float, rng: np.random.Generator, made: Film
) -> np.ndarray:
    if kind == "flash" or (kind == "strobe" and i // 2 % 2 == 0):
        return (frame.astype(np.int32) + round(strength * 0.7**i)).clip(0, 255).astype(np.uint8)
    if kind == "strobe":
        return frame // 3
    if kind == "insert" and len(made.frames) > 20:
        return made.frames[rng.integers(len(made.frames))]
    if kind == "damage":
        damaged = frame.copy()
        for _ in range(int(rng.integers(2, 14))):
            y, x = int(rng.integers(HEIGHT - 16)), int(rng.integers(WIDTH - 16))
            damaged[y : y + 16, x:] = np.roll(damaged[y : y + 16, x:], int(rng.integers(8, 99)), 1)
            damaged[y : y + 16, x : x + 96] = rng.integers(0, 255, 3)
        return damaged
    return frame
