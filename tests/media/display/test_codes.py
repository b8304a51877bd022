import pytest
from av.video.format import VideoFormat

from vidx4.appearance import ColorDescription
from vidx4.media.display.codes import is_gray, is_rgb, is_yuv, odd_codes, understood


@pytest.mark.parametrize(
    ("codes", "pix_fmt", "expected", "odd"),
    [
        ((1, 1, 1), "yuv420p", (1, 1, 1), ()),
        ((2, 2, 2), "yuv420p", (2, 2, 2), ()),
        ((0, 1, 1), "yuv444p", (2, 1, 1), ("matrix 0",)),
        ((0, 2, 2), "gbrp", (0, 2, 2), ()),
        ((0, 2, 2), "gray", (0, 2, 2), ()),
        ((3, 0, 0), "yuv420p", (2, 2, 2), ("matrix 3", "primaries 0", "transfer 0")),
        ((255, 22, 22), "yuv420p", (2, 2, 2), ("matrix 255", "primaries 22", "transfer 22")),
        ((22, 22, 3), "rgb24", (2, 2, 2), ("primaries 22", "transfer 3")),
        ((9, 10, 9), "yuv420p10le", (9, 10, 9), ()),
        ((8, 1, 18), "yuv420p", (8, 1, 18), ()),
        ((12, 1, 1), "yuv420p", (1, 1, 1), ()),
        ((12, 9, 16), "yuv420p10le", (9, 9, 16), ()),
        ((12, 5, 1), "yuv420p", (12, 5, 1), ()),
        ((2, 10, 17), "xyz12le", (2, 1, 1), ()),
    ],
)
def test_codes_without_a_meaning_are_unspecified(
    codes: tuple[int, int, int], pix_fmt: str, expected: tuple[int, int, int], odd: tuple[str, ...]
) -> None:
    stated = ColorDescription(*codes)
    color = understood(stated, pix_fmt)
    assert (color.matrix, color.primaries, color.transfer) == expected
    assert odd_codes(stated, pix_fmt) == odd


@pytest.mark.parametrize(
    ("pix_fmts", "kind"),
    [
        (("rgb24", "gbrap10le", "pal8", "xyz12le", "bgr0"), is_rgb),
        (("gray", "gray12be", "ya8", "monow", "grayf32le"), is_gray),
        (("yuv420p", "yuva444p10le", "nv12", "yuyv422", "p010le"), is_yuv),
    ],
)
def test_a_pixel_format_is_of_one_kind(pix_fmts: tuple[str, ...], kind: object) -> None:
    for pix_fmt in pix_fmts:
        stored = VideoFormat(pix_fmt)
        assert [each for each in (is_rgb, is_gray, is_yuv) if each(stored)] == [kind]
