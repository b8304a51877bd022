"""Degradations of old video: alike in strength, in step with the truth, and equal for equal seeds."""

import numpy as np
import pytest

from scripts.evaluate.clips import reduce_clean
from scripts.training.defects import TO_YUV, blurred
from scripts.training.degradations import KINDS, degrade
from scripts.training.transcode import QUANTIZERS, transcode


def scene(num_frames: int = 6, height: int = 192, width: int = 192, speed: int = 8) -> np.ndarray:
    """Return a pan over soft spots of any colour, uint8, (T, H, W, 3)."""
    rng = np.random.default_rng(0)
    spots = blurred(rng.standard_normal((1, height, width + speed * num_frames, 3), np.float32), 6, 6)[0]
    picture = (128 + 50 * spots / spots.std()).clip(0, 255).astype(np.uint8)
    return np.stack([picture[:, speed * t : speed * t + width] for t in range(num_frames)])


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.square(a.astype(float) - b).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_pictures(kind: str) -> None:
    frames = scene()
    for seed in range(6):
        a, b = (degrade(frames, kind, 0.5, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, degrade(frames, kind, 0.5, np.random.default_rng(seed + 100)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(6, 192, 192), (1, 64, 64), (2, 320, 512), (24, 360, 640)])
def test_pictures_are_four_times_smaller(kind: str, shape: tuple[int, int, int]) -> None:
    num_frames, height, width = shape
    low_res = degrade(scene(*shape), kind, 1.0, np.random.default_rng(1))
    assert low_res.shape == (num_frames, height // 4, width // 4, 3)
    assert low_res.dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_damage_grows_with_severity(kind: str) -> None:
    frames = scene()
    clean = reduce_clean(frames)

    def damage(severity: float) -> float:
        seeds = range(10)
        return float(
            np.mean([error(degrade(frames, kind, severity, np.random.default_rng(s)), clean) for s in seeds])
        )

    assert damage(0.1) < damage(0.5) < damage(1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_shows_its_own_truth(kind: str) -> None:
    frames = scene()
    clean = reduce_clean(frames)
    for seed in range(12):
        low_res = degrade(frames, kind, 0.5, np.random.default_rng(seed))
        nearest = [int(np.argmin([error(shown, truth) for truth in clean])) for shown in low_res]
        assert nearest == list(range(len(frames)))


def test_tape_keeps_less_of_colours_than_of_luma() -> None:
    frames = scene()
    clean = reduce_clean(frames)

    def sharpness(pictures: np.ndarray) -> np.ndarray:
        """Return how much of each of luma and chroma a blur along lines takes away."""
        yuv = pictures @ TO_YUV.T
        detail: np.ndarray = np.square(yuv - blurred(yuv, 2, 0)).mean((0, 1, 2))
        return detail

    tapes = [degrade(frames, "vhs", 0.3, np.random.default_rng(seed)) for seed in range(8)]
    luma, *chroma = np.mean([sharpness(tape) for tape in tapes], axis=0) / sharpness(clean)
    assert max(chroma) < 0.7 * luma


@pytest.mark.parametrize("codec", QUANTIZERS)
@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_codecs_return_frames_in_their_order(codec: str, num_b_frames: int) -> None:
    frames = scene(8, 48, 64, speed=3)
    for quantizer in QUANTIZERS[codec]:
        decoded = transcode(frames, codec, quantizer, num_b_frames)
        nearest = [int(np.argmin([error(shown, truth) for truth in frames])) for shown in decoded]
        assert nearest == list(range(len(frames)))
