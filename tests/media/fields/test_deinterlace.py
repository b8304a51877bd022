"""Interlaced and telecined video is found, and whole frames are made of it, at the right times."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.hard_videos import (
    frames,
    interlaced,
    interlaced_without_flags,
    pulled_down,
    scene,
    telecined,
    woven,
    write,
)
from vidx4.errors import OptionError
from vidx4.media import decode
from vidx4.media.decode import read_batches
from vidx4.media.fields.deinterlace import FieldMeasure, choose_fields, is_interlaced, treat
from vidx4.media.fields.detect import measure_fields
from vidx4.media.options import Deinterlace, InverseTelecine, ReadOptions
from vidx4.media.probe import probe
from vidx4.media.source import read_source
from vidx4.video import WHOLE, Fields, Source, TimeRange

NTSC = Fraction(30000, 1001)
AUTO, ON, OFF = InverseTelecine.AUTO, InverseTelecine.ON, InverseTelecine.OFF


def lossless(
    path: Path, pictures: list[np.ndarray], rate: Fraction = Fraction(25), **options: object
) -> Source:
    """Write pictures without a loss, at times of a thirty-thousandth of a second."""
    write(
        path,
        frames(pictures, "yuv444p"),
        codec="ffv1",
        rate=rate,
        time_base=Fraction(1, 30000),
        num_audio=0,
        **options,  # type: ignore[arg-type]
    )
    return probe(path)


def decoded(source: Source, span: TimeRange = WHOLE) -> torch.Tensor:
    return torch.cat([batch.data for batch in read_batches(source, 8, span)]).float()


def truth(pictures: list[np.ndarray]) -> torch.Tensor:
    eight_bits = np.stack([picture / 257 for picture in pictures])
    return torch.from_numpy(eight_bits).permute(0, 3, 1, 2).float()


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * ((a - b) / 255).square().mean().log10())


@pytest.mark.parametrize(
    ("make", "top_first", "by_flags"), [(interlaced, True, True), (interlaced_without_flags, False, False)]
)
def test_fields_are_found(
    make: Callable[[Path], Path], top_first: bool, by_flags: bool, tmp_path: Path
) -> None:
    source = probe(make(tmp_path))
    measure = measure_fields(source)
    assert source.is_interlaced == by_flags
    assert is_interlaced(source, measure)
    assert measure.top_field_first == top_first
    assert not measure.is_telecined
    assert read_source(source.path).fields == Fields.FRAME


def test_two_fields_of_one_moment_are_no_fields(tmp_path: Path) -> None:
    """Progressive frames whose headers say that they are interlaced, as 25p is broadcast as 50i."""
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = write(tmp_path / "psf.mp4", frames(scene(20)), options=options)
    assert probe(path).is_interlaced
    assert read_source(path).fields == Fields.KEEP


def test_noise_and_stills_are_no_fields(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 65536, (64, 96, 3), dtype=np.uint16) for _ in range(12)]
    still = list(scene(1)) * 12
    for name, pictures in (("noise.mp4", noise), ("still.mp4", still)):
        write(tmp_path / name, frames(pictures))
        assert read_source(tmp_path / name).fields == Fields.KEEP


def test_a_still_goes_by_its_headers(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = write(tmp_path / "still.mp4", frames(list(scene(1)) * 12), options=options)
    assert read_source(path).fields == Fields.FRAME


@pytest.mark.parametrize("top_first", [True, False])
def test_frames_are_made_whole(tmp_path: Path, top_first: bool) -> None:
    moments = list(scene(24))
    stored = lossless(tmp_path / "a.mkv", list(woven(moments, top_first=top_first)))
    source = read_source(stored.path)
    assert (source.fields, source.pts) == (Fields.FRAME, stored.pts)
    middle = slice(2, 10)
    combed, whole = (decoded(each)[middle] for each in (stored, source))
    expected = truth(moments[::2])[middle]
    assert psnr(whole, expected) > psnr(combed, expected) + 6


def test_every_field_becomes_a_frame(tmp_path: Path) -> None:
    moments = list(scene(24))
    stored = lossless(tmp_path / "a.mkv", list(woven(moments)))
    source = read_source(stored.path, ReadOptions(deinterlace=Deinterlace.FIELD))
    assert source.num_frames == 24
    assert source.frame_rate == 50
    times = [pts * source.time_base for pts in source.pts]
    assert times == [Fraction(index, 50) for index in range(24)]
    assert source.stop_pts * source.time_base == Fraction(24, 50)
    assert psnr(decoded(source)[4:20], truth(moments)[4:20]) > 30


@pytest.mark.parametrize("num_frames", [50, 49, 47, 46])
def test_pulldown_is_undone(tmp_path: Path, num_frames: int) -> None:
    film = list(scene(40))
    stored = lossless(tmp_path / "a.mkv", list(pulled_down(film))[:num_frames], NTSC)
    source = read_source(stored.path)
    assert source.fields == Fields.FILM
    assert source.frame_rate == Fraction(24000, 1001)
    cycles, rest = divmod(num_frames, 5)
    assert source.num_frames == 4 * cycles + rest
    first = stored.pts[0] * stored.time_base
    assert [pts * source.time_base - first for pts in source.pts] == [
        index * Fraction(1001, 24000) for index in range(source.num_frames)
    ]
    found = decoded(source)
    assert len(found) == source.num_frames
    assert psnr(found[4:32], truth(film)[4:32]) > 45


def test_telecined_h264_is_found(tmp_path: Path) -> None:
    source = read_source(telecined(tmp_path))
    assert (source.fields, source.num_frames) == (Fields.FILM, 40)


@pytest.mark.parametrize("fields", [Fields.FRAME, Fields.FIELD, Fields.FILM])
def test_a_part_is_as_in_the_whole(tmp_path: Path, fields: Fields) -> None:
    pictures = list(pulled_down(list(scene(48)))) if fields == Fields.FILM else list(woven(list(scene(100))))
    source = treat(lossless(tmp_path / "a.mkv", pictures, NTSC), fields, True)
    whole = decoded(source)
    for start in (0, 13, 30):
        span = TimeRange(source.seconds_of(source.pts[start]), source.seconds_of(source.pts[start + 7]))
        assert torch.equal(decoded(source, span), whole[start : start + 7])


def test_a_missing_frame_shifts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that can't be decoded: those after it keep their times and their cadence."""
    film = list(scene(48))
    source = read_source(lossless(tmp_path / "a.mkv", list(pulled_down(film)), NTSC).path)
    stored = source.untreated
    assert stored is not None
    complete = decode._stored_frames

    def with_a_hole(*arguments):
        return (frame for frame in complete(*arguments) if frame.pts != stored.pts[21])

    monkeypatch.setattr(decode, "_stored_frames", with_a_hole)
    found = decoded(source)
    assert len(found) == 48
    assert psnr(found[28:44], truth(film)[28:44]) > 45


@pytest.mark.parametrize(
    ("deinterlace", "telecine", "is_film", "expected"),
    [
        (Deinterlace.AUTO, AUTO, True, Fields.FILM),
        (Deinterlace.AUTO, OFF, True, Fields.FRAME),
        (Deinterlace.FIELD, AUTO, True, Fields.FIELD),
        (Deinterlace.OFF, AUTO, True, Fields.KEEP),
        (Deinterlace.OFF, ON, False, Fields.FILM),
        (Deinterlace.AUTO, AUTO, False, Fields.FRAME),
        (Deinterlace.OFF, OFF, False, Fields.KEEP),
    ],
)
def test_what_is_done(
    tmp_path: Path, deinterlace: Deinterlace, telecine: InverseTelecine, is_film: bool, expected: Fields
) -> None:
    source = lossless(tmp_path / "a.mkv", list(scene(10)), NTSC)
    measure = FieldMeasure(num_top_first=20, num_progressive=20, is_telecined=is_film)
    assert choose_fields(source, measure, deinterlace, telecine) == expected


def test_pulldown_of_another_rate(tmp_path: Path) -> None:
    source = lossless(tmp_path / "a.mkv", list(scene(10)))
    with pytest.raises(OptionError, match=r"29\.97.*has 25"):
        choose_fields(source, FieldMeasure(is_telecined=True), Deinterlace.AUTO, ON)
    assert choose_fields(source, FieldMeasure(is_telecined=True), Deinterlace.AUTO, AUTO) == Fields.KEEP


def test_a_word_without_meaning() -> None:
    with pytest.raises(OptionError, match=r"--deinterlace.*auto, off, frame, field"):
        ReadOptions(deinterlace="maybe")
