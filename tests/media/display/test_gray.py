from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from tests.color_videos import gray_frame
from vidx4.media.display.gray import gray_to_rgb

LIMITED, FULL = 1, 2


def values(bits: int) -> NDArray[Any]:
    """Return grey values from 0 to the peak, (H, W)."""
    ramp = np.linspace(0, 2**bits - 1, 16 * 24).reshape(16, 24)
    return ramp.astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("color_range", [0, LIMITED, FULL])
@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("pix_fmt", ["rgb24", "rgb48le"])
def test_each_colour_is_the_grey(pix_fmt: str, bits: int, color_range: int) -> None:
    stored = values(bits)
    frame = gray_frame(stored, "gray" if bits == 8 else f"gray{bits}le")
    frame.color_range, frame.pts = color_range, 7
    rgb = gray_to_rgb(frame, pix_fmt)
    black, white = (0, 2**bits - 1) if color_range != LIMITED else (16 << bits - 8, 235 << bits - 8)
    levels = ((stored.astype(float) - black) / (white - black)).clip(0, 1)
    expected = np.rint(levels * (255 if pix_fmt == "rgb24" else 65535))
    assert rgb.pts == 7
    assert np.array_equal(rgb.to_ndarray(), expected[..., None].repeat(3, axis=2))


@pytest.mark.parametrize(("pix_fmt", "white"), [("monob", 1), ("monow", 0)])
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
def test_one_bit_is_black_or_white(pix_fmt: str, white: int, color_range: int) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (16, 24))
    frame = gray_frame(np.packbits(bits, axis=1), pix_fmt)
    frame.color_range = color_range
    expected = np.where(bits == white, 255, 0)[..., None].repeat(3, axis=2)
    assert np.array_equal(gray_to_rgb(frame, "rgb24").to_ndarray(), expected)


def test_alpha_is_left_out() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (16, 24, 2)).astype(np.uint8)
    # Two samples of one byte are one of two bytes.
    frame = gray_frame(stored.view("<u2")[..., 0], "ya8")
    assert np.array_equal(gray_to_rgb(frame, "rgb24").to_ndarray()[..., 1], stored[..., 0])


@pytest.mark.parametrize("pix_fmt", ["grayf32le", "grayf32be", "yaf32le"])
def test_floating_point_is_cut_to_the_range(pix_fmt: str) -> None:
    levels = np.array([[-1, 0, 0.25, 1, 7, np.nan]]).repeat(4, axis=0)
    num_channels = 1 + pix_fmt.startswith("ya")
    frame = VideoFrame(6, 4, pix_fmt)
    plane = frame.planes[0]
    rows = np.zeros((4, plane.line_size // 4), ">f4" if pix_fmt.endswith("be") else "<f4")
    rows[:, : 6 * num_channels : num_channels] = levels
    plane.update(rows.tobytes())
    assert gray_to_rgb(frame, "rgb24").to_ndarray()[2, :, 1].tolist() == [0, 0, 64, 255, 255, 0]
