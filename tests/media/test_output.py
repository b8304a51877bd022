"""The clock of an output."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from tests.helpers import nearest, packets
from tests.video_builder import chapters, frames, scene, text_packet, write
from vidx4.frames import FrameBatch
from vidx4.media.decode import read_frames
from vidx4.media.encode import encode_part
from vidx4.media.mux import join
from vidx4.media.options import EncodeOptions
from vidx4.media.output import Output, plan_output
from vidx4.media.probe import probe

HOURS = 36_000
FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)
Late = Callable[[str, Fraction], Path]


def enlarge(path: Path, output: Path) -> Output:
    source = probe(path)
    written = plan_output(source, output, encode=FAST)
    part = output.with_name("part")
    encode_part(
        part, [nearest(FrameBatch.of([frame])) for frame in read_frames(source)], source, written.target
    )
    assert join([part], written) == ()
    return written


def _add_text(container: OutputContainer, video: VideoStream) -> list[Stream]:
    return [container.add_mux_stream("subrip")]


def _fill_text(container: OutputContainer, streams: Sequence[Stream]) -> None:
    for stream in streams:
        chapters(container, (HOURS, HOURS + 0.2), (HOURS + 0.2, HOURS + 0.4))
        container.mux(text_packet(stream, "Hello", HOURS + 0.1, HOURS + 0.3))


def starts(path: Path) -> list[float]:
    """Return the second at which each stream of a file starts."""
    with av.open(str(path)) as container:
        return [float((stream.start_time or 0) * (stream.time_base or 1)) for stream in container.streams]


@pytest.fixture
def late(tmp_path: Path) -> Late:
    """Return a function that writes a recording whose clock begins late, with sound 0.2 s later."""

    def make(suffix: str, begin: Fraction) -> Path:
        time_base = Fraction(1, 1000) if suffix == ".mkv" else Fraction(1, 90000)
        pts = [round((begin + Fraction(index, 25)) / time_base) for index in range(10)]
        return write(
            tmp_path / f"late{suffix}",
            frames(scene(10)),
            time_base=time_base,
            pts=pts,
            audio_start=begin + Fraction(1, 5),
            prepare=_add_text if suffix == ".mkv" else lambda container, video: (),
            fill=_fill_text,
        )

    return make


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_late_clock_begins_anew(late: Late, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out{suffix}"
    path = late(".ts", Fraction(HOURS))
    assert enlarge(path, output).starts_late
    given, found = starts(path), starts(output)
    assert min(found) == pytest.approx(0, abs=1e-4)
    assert found[1] - found[0] == pytest.approx(given[1] - given[0], abs=1e-4)
    assert probe(output).stop_pts * probe(output).time_base < 1


def test_text_and_chapters_are_moved_with_it(late: Late, tmp_path: Path) -> None:
    path, output = late(".mkv", Fraction(HOURS)), tmp_path / "out.mp4"
    enlarge(path, output)
    shift = probe(path).pts[0] * probe(path).time_base - probe(output).pts[0] * probe(output).time_base
    with av.open(str(output)) as container:
        _, chapter = container.chapters()
        start = chapter["start"] * Fraction(chapter["time_base"] or 1)
        text = next(stream.index for stream in container.streams if stream.type == "subtitle")
    assert float(start + shift) == pytest.approx(HOURS + 0.2, abs=0.001)
    shown = [pts for pts, _, data in packets(output, text) if b"Hello" in data]
    assert [float(pts + shift) for pts in shown] == pytest.approx([HOURS + 0.1], abs=0.001)


@pytest.mark.parametrize(("suffix", "begin"), [(".mkv", HOURS), (".ts", HOURS), (".mp4", 10), (".mov", 3)])
def test_other_clocks_are_kept(late: Late, tmp_path: Path, suffix: str, begin: int) -> None:
    path, output = late(".ts", Fraction(begin)), tmp_path / f"out{suffix}"
    assert not enlarge(path, output).starts_late
    assert starts(output) == pytest.approx(starts(path), abs=0.001)
