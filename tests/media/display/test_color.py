from itertools import product
from typing import Any

import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vidx4.appearance import ColorDescription
from vidx4.errors import SourceError
from vidx4.media.display.color import Converter, check_colors, complete

BARS = [
    *((235, 20, 30), (30, 200, 40), (20, 40, 220), (200, 200, 20), (20, 200, 210), (210, 30, 200)),
    *((224, 172, 140), (120, 80, 60), (0, 0, 0), (255, 255, 255), (128, 128, 128), (64, 64, 64)),
]
LEFT, CENTER, TOP_LEFT = 1, 2, 3
FORMATS = {8: "yuv{}p", 10: "yuv{}p10le"}


def chart() -> NDArray[np.uint16]:
    """Return a test chart of bars, a ramp and noise, in 16 bits, (H, W, 3)."""
    bars = np.array(BARS).reshape(2, 6, 3).repeat(16, 0).repeat(16, 1)
    ramp = np.linspace(0, 255, 96)[None, :, None].repeat(32, 0).repeat(3, 2)
    noise = np.random.default_rng(0).integers(0, 256, (32, 96, 3))
    return (np.concatenate([bars, ramp, noise]) * 257).astype(np.uint16)


def means(frame: VideoFrame) -> NDArray[np.float64]:
    """Return the mean of each channel, in [0, 255]."""
    pixels = frame.to_ndarray()
    peak = 255 if pixels.dtype == np.uint8 else 65535
    return np.asarray(pixels.reshape(-1, 3).mean(axis=0) * (255 / peak), np.float64)


def larger(frame: VideoFrame) -> VideoFrame:
    pixels: Any = np.ascontiguousarray(frame.to_ndarray().repeat(4, 0).repeat(4, 1))
    return VideoFrame.from_ndarray(pixels, format=frame.format.name)


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("full_range", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 5, 6, 9])
def test_a_round_trip_keeps_the_mean(matrix: int, full_range: bool, depth: int) -> None:
    converter, rgb_format = Converter(), "rgb24" if depth == 8 else "rgb48le"
    picture = VideoFrame.from_ndarray(chart(), format="rgb48le")
    for chroma, location in product((420, 422, 444), (LEFT, CENTER, TOP_LEFT)):
        color = ColorDescription(matrix, 1, 1, full_range, location if chroma != 444 else 0)
        pix_fmt = FORMATS[depth].format(chroma)
        source = converter.to_yuv(picture, color, pix_fmt)
        given = converter.to_rgb(source, color, rgb_format)
        output = converter.to_yuv(larger(given), color, pix_fmt)
        found = converter.to_rgb(output, color, rgb_format)
        assert (output.format.name, output.width) == (pix_fmt, 4 * source.width)
        assert np.abs(means(found) - means(given)).max() <= 0.2
        assert np.abs(means(given) - means(picture)).max() <= 1.5  # chroma is clipped at saturated edges


@pytest.mark.parametrize("location", [LEFT, CENTER, TOP_LEFT])
@pytest.mark.parametrize("wrong", [False, True])
def test_chroma_stays_where_it_is(location: int, wrong: bool) -> None:
    """An edge between red and grey of the same luma: the wrong siting moves it by a quarter pixel or more."""
    color = ColorDescription(6, 6, 6, False, location)
    converter = Converter()
    x = np.arange(64)[None, :, None].repeat(64, 0)
    red, gray = np.array([180, 60, 90]), np.array([99, 99, 99])
    edge = VideoFrame.from_ndarray(np.where(x < 31, red, gray).astype(np.uint8), format="rgb24")
    stored = converter.to_yuv(edge, color, "yuv420p")
    other = {LEFT: CENTER, CENTER: TOP_LEFT, TOP_LEFT: CENTER}[location]
    read_as = ColorDescription(6, 6, 6, False, other if wrong else location)
    moved = _edge(converter.to_rgb(stored, read_as, "rgb24")) - _edge(edge)
    assert (abs(moved) > 0.2) if wrong else (abs(moved) < 0.1)


def _edge(frame: VideoFrame) -> float:
    """Return the position of a falling edge of redness, in pixels."""
    pixels = frame.to_ndarray().astype(float)
    redness = (pixels[..., 0] - pixels[..., 1]).mean(axis=0)
    return float((redness / redness[4:20].mean()).sum())


@pytest.mark.parametrize(
    "pix_fmt", ["yuv410p", "yuv411p", "yuv440p", "yuva420p", "nv12", "gray", "yuvj422p", "gbrp"]
)
def test_uncommon_formats_are_read(pix_fmt: str) -> None:
    pixels = np.full((64, 64, 3), 0, np.uint8) + np.array([90, 90, 90], np.uint8)
    frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)
    color = ColorDescription(6, 6, 6, pix_fmt.startswith("yuvj"), LEFT)
    found = Converter().to_rgb(frame, color, "rgb24").to_ndarray()
    assert np.abs(found.astype(int) - 90).max() <= 2


@pytest.mark.parametrize(
    ("pix_fmt", "peak"), [("gbrp", 255), ("gbrp10le", 1023), ("rgb48be", 65535), ("p010le", None)]
)
def test_uncommon_formats_are_written(pix_fmt: str, peak: int | None) -> None:
    picture = VideoFrame.from_ndarray(chart(), format="rgb48le")
    stored = Converter().to_yuv(picture, ColorDescription(1, 1, 1, False, LEFT), pix_fmt)
    assert stored.format.name == pix_fmt
    if peak:
        assert np.abs(means(stored.reformat(format="rgb48le")) - means(picture)).max() < 0.2


def test_a_picture_is_resized() -> None:
    stored = Converter().to_yuv(
        VideoFrame.from_ndarray(chart(), format="rgb48le"),
        ColorDescription(1, 1, 1, False, LEFT),
        "yuv420p",
        (64, 50),
    )
    assert (stored.width, stored.height) == (64, 50)


def test_odd_sizes_stay() -> None:
    picture = VideoFrame.from_ndarray(chart()[:61, :95], format="rgb48le")
    color = ColorDescription(1, 1, 1, False, LEFT)
    back = Converter().to_rgb(Converter().to_yuv(picture, color, "yuv420p"), color, "rgb24")
    assert (back.width, back.height) == (95, 61)


def test_ten_bits_are_not_cut_to_eight() -> None:
    color = ColorDescription(1, 1, 1, False, LEFT)
    ramp = np.arange(0, 65536, 64, dtype=np.uint16)[None, :, None].repeat(4, 0).repeat(3, 2)
    picture = VideoFrame.from_ndarray(np.ascontiguousarray(ramp), format="rgb48le")
    back = (
        Converter().to_rgb(Converter().to_yuv(picture, color, "yuv420p10le"), color, "rgb48le").to_ndarray()
    )
    assert len(np.unique(back[..., 1])) > 800


@pytest.mark.parametrize(
    ("stated", "pix_fmt", "height", "expected"),
    [
        ((), "yuv420p", 480, (6, 6, 6, LEFT)),
        ((), "yuv420p", 576, (5, 5, 6, LEFT)),
        ((), "yuv444p", 577, (1, 1, 1, 0)),
        ((9,), "yuv420p10le", 240, (9, 9, 14, LEFT)),
        ((9, 9, 16), "yuv420p10le", 1080, (9, 9, 16, LEFT)),
        ((2, 9), "yuv422p", 240, (9, 9, 14, LEFT)),
        ((0,), "gbrp", 1080, (1, 1, 1, 0)),
        ((6, 6, 6, False, CENTER), "yuv420p", 240, (6, 6, 6, CENTER)),
    ],
)
def test_unstated_properties_are_filled_in(
    stated: tuple[Any, ...], pix_fmt: str, height: int, expected: tuple[int, ...]
) -> None:
    color = complete(ColorDescription(*stated), pix_fmt, height)
    assert (color.matrix, color.primaries, color.transfer, color.chroma_location) == expected


@pytest.mark.parametrize("matrix", [8, 10, 14])
def test_an_unknown_matrix_is_refused(matrix: int) -> None:
    with pytest.raises(SourceError, match=rf"a\.mp4.*\b{matrix}\b"):
        check_colors(ColorDescription(matrix), "yuv420p", "a.mp4")


def test_a_pixel_format_that_the_scaler_lacks_is_refused() -> None:
    with pytest.raises(SourceError, match=r"a\.mp4.*\bgbrap32le\b"):
        check_colors(ColorDescription(1, 1, 1), "gbrap32le", "a.mp4")
