"""Detections are matched with cuts one to one; transitions and interruptions count as documented."""

import json

import numpy as np
import pytest

from scripts.evaluate.cuts import markdown, plain, score_film
from scripts.evaluate.joined import Film, Span, make_films
from scripts.evaluate.shots import HEIGHT, WIDTH, Material, Scene


def film() -> Film:
    blank = np.zeros((2, 2, 3), np.uint8)
    return Film(
        "film",
        is_animated=False,
        style="clean",
        frames=[blank] * 100,
        cuts=[Span(20, 21, "other"), Span(60, 61, "crop")],
        gradual=[Span(30, 41, "dissolve")],
        ignored=[Span(50, 52, "insert")],
        events=[Span(80, 85, "flash")],
    )


@pytest.mark.parametrize(
    ("found", "precision", "recall"),
    [
        ([0, 20, 60], 1.0, 1.0),
        ([21, 59], 1.0, 1.0),  # within the tolerance
        ([20, 21, 60], 2 / 3, 1.0),  # the second is no other cut
        ([20, 35, 60], 1.0, 1.0),  # one in a dissolve
        ([20, 33, 38, 60], 2 / 3, 1.0),  # two in a dissolve
        ([20, 51, 60], 1.0, 1.0),  # at an interruption
        ([20], 1.0, 0.5),
        ([20, 82], 1 / 2, 0.5),
    ],
)
def test_detections_are_matched_with_cuts(found: list[int], precision: float, recall: float) -> None:
    score = score_film(film(), found)
    assert score.precision == pytest.approx(precision)
    assert score.recall == pytest.approx(recall)


def test_false_detections_are_counted_by_what_happens_there() -> None:
    score = score_film(film(), [82, 95])
    assert score.false == {"flash": 1, "clean": 1}
    assert '"flash": 1' in json.dumps(plain({"detector": {False: score}}))
    assert "| false: flash | 1 |" in markdown({"detector": {False: score, True: score_film(film(), [])}})


@pytest.mark.parametrize("found", [[0, 20, 60], [0, 20, 60, 90]])
def test_a_jump_within_a_scene_counts_neither_way(found: list[int]) -> None:
    with_jump = film()
    with_jump.cuts.append(Span(90, 91, "again, short"))
    score = score_film(with_jump, found)
    assert (score.precision, score.recall) == (1.0, 1.0)
    assert score.recall_with_jumps == pytest.approx((len(found) - 1) / 3)


def test_no_clip_or_picture_is_in_two_folds() -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    clips = [Scene(f"{name} {start}", (frame, frame)) for name in ("a.mp4", "b.mkv") for start in (0, 9)]
    live = [*clips, *(Scene(f"{i}.jpg", (frame,)) for i in range(20))]
    painted = [Scene(f"{i}.jpg painted", (frame,), is_drawn=True) for i in range(20)]
    material = Material(live, [*clips, *painted])
    parts = [material.fold(i, 2) for i in range(2)]
    first, second = ({scene.source for scene in (*part.live, *part.animated)} for part in parts)
    assert first
    assert second
    assert not first & second
    assert sum(len(part.live) for part in parts) == len(live)


def test_films_are_joined_at_the_labelled_frames() -> None:
    colors = np.random.default_rng(0).integers(0, 256, (12, 12, 16, 3), np.uint8)
    pictures = [color.repeat(2 * HEIGHT // 12, 0).repeat(2 * WIDTH // 16, 1) for color in colors]
    live = [
        Scene("clip", (pictures[0],) * 2),
        *(Scene(str(i), (each,)) for i, each in enumerate(pictures[1:])),
    ]
    made, again = (next(make_films(Material(live, live), 1, seed=3)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(made.frames, again.frames, strict=True))
    assert made.cuts
    for cut in made.cuts:
        last, first = (made.frames[i].astype(int) for i in (cut.start - 1, cut.start))
        assert np.abs(first - last).mean() > 5
