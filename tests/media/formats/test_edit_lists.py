"""MP4 and QuickTime hold exactly when each stream starts, whatever its clock."""

from fractions import Fraction
from math import floor
from pathlib import Path

import pytest
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from tests.helpers import nearest
from tests.video_builder import chapters, frames, scene, write
from vidx4.frames import FrameBatch
from vidx4.media.decode import read_frames
from vidx4.media.encode import encode_part
from vidx4.media.formats.edit_lists import MAX_TIMESCALE, movie_timescale
from vidx4.media.mux import join
from vidx4.media.options import EncodeOptions
from vidx4.media.output import plan_output
from vidx4.media.probe import probe
from vidx4.video import WHOLE, TimeRange

PRIME, LARGE_PRIME = 1_000_000_007, 2_147_483_629
"""Clocks that have no common multiple with another below `MAX_TIMESCALE`."""


def test_few_ticks_are_enough_for_plain_starts() -> None:
    assert movie_timescale([Fraction(0), Fraction(0)], [12800, 48000]) == 1000
    assert movie_timescale([Fraction(1, 25), Fraction(64, 48000)], [12800, 48000]) == 3000


@pytest.mark.parametrize(
    "timescales", [(90000, 44100), (2397, 44100, 1000), (PRIME, 48000), (LARGE_PRIME, 44100)]
)
def test_every_start_is_read_as_it_was(timescales: tuple[int, ...]) -> None:
    starts = [Fraction(12_345_677 + index, each) for index, each in enumerate(timescales)]
    movie = movie_timescale(starts, timescales)
    assert movie <= MAX_TIMESCALE
    for start, each in zip(starts, timescales, strict=True):
        written = floor(start * movie)
        assert round(Fraction(written, movie) * each) == start * each


def test_long_chapters_can_be_counted() -> None:
    starts, hour = [Fraction(1, 90000), Fraction(1, 44100)], Fraction(3600)
    assert movie_timescale(starts, [90000, 44100]) == 4_410_000
    movie = movie_timescale(starts, [90000, 44100], hour)
    assert 2 * 90000 <= movie <= MAX_TIMESCALE / hour
    assert movie_timescale([Fraction(1, PRIME)], [PRIME], hour) == MAX_TIMESCALE // hour


def test_chapters_of_hours_are_kept(tmp_path: Path) -> None:
    """The clock that holds both starts exactly has too many ticks for a chapter of an hour."""

    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        chapters(container, (0, 3600), (3600, 7200))
        return []

    path = write(
        tmp_path / "in.mov",
        frames(scene(3)),
        time_base=Fraction(1, 90000),
        pts=[1, 270_000_000, 540_000_000],
        audio_start=Fraction(1, 48000),
        num_audio=0,
        prepare=prepare,
    )
    source, output = probe(path), tmp_path / "out.mp4"
    written = plan_output(source, output, encode=EncodeOptions(encoder_preset="ultrafast", crf=30))
    batches = [nearest(FrameBatch.of([frame])) for frame in read_frames(source)]
    encode_part(tmp_path / "part.nut", batches, source, written.target)
    assert join([tmp_path / "part.nut"], written) == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("span", [WHOLE, TimeRange(Fraction(1, 30), Fraction(1, 7))], ids=["whole", "span"])
@pytest.mark.parametrize("timescale", [2397, 90000, PRIME, LARGE_PRIME])
def test_outputs_keep_odd_starts(tmp_path: Path, timescale: int, span: TimeRange, suffix: str) -> None:
    step = timescale // 25
    path = write(
        tmp_path / "in.mp4",
        frames(scene(5)),
        time_base=Fraction(1, timescale),
        pts=[timescale // 3 + step * index for index in range(5)],
        audio_start=Fraction(4_999, 12_345),
        num_audio=2,
    )
    source, output = probe(path), tmp_path / f"out{suffix}"
    written = plan_output(source, output, span, EncodeOptions(encoder_preset="ultrafast", crf=30))
    batches = [nearest(FrameBatch.of([frame])) for frame in read_frames(source, span)]
    encode_part(tmp_path / "part.nut", batches, source, written.target)
    assert join([tmp_path / "part.nut"], written) == ()
    if span.is_whole:
        assert probe(output).pts == source.pts
