from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from tests.sounds import WHOLE_CUT, part, rewrite
from vidx4.media.formats.containers import format_of
from vidx4.media.tracks.convert import add_converted, conversion, converted
from vidx4.media.tracks.timeline import Cut

MILLISECOND = Fraction(1, 1000)
Cue = tuple[int, int, str]


def write_cues(path: Path, codec: str, cues: Sequence[Cue]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_mux_stream(codec, time_base=MILLISECOND)
        for start, stop, text in cues:
            packet = Packet(text.encode())
            packet.stream, packet.time_base, packet.duration = stream, MILLISECOND, stop - start
            packet.pts = packet.dts = start
            container.mux(packet)
    return path


def read_cues(path: Path) -> list[Cue]:
    """Return the texts with their times in milliseconds, those of MP4 without styles; pauses are skipped."""
    cues = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        is_mp4 = stream.codec_context.codec.canonical_name == "mov_text"
        for packet in container.demux(stream):
            text = bytes(packet)
            if is_mp4:
                text = text[2 : 2 + int.from_bytes(text[:2], "big")]
            if packet.pts is not None and text:
                start = packet.pts * packet.time_base
                stop = start + (packet.duration or 0) * packet.time_base
                cues.append((round(start * 1000), round(stop * 1000), text.decode()))
    return cues


def convert(source: Path, target: Path, cut: Cut = WHOLE_CUT) -> list[Cue]:
    with av.open(str(source)) as container:
        codec = container.streams[0].codec_context.codec.canonical_name
    found = conversion(codec, format_of(target.suffix))
    assert found

    def add(output: OutputContainer, stream: Stream) -> Stream:
        return add_converted(output, stream, found.codec)

    rewrite(source, target, cut, add, converted)
    return read_cues(target)


def there_and_back(folder: Path, by: str, *texts: str) -> list[str]:
    """Convert SubRip to another container's format and back."""
    cues = [(1000 * n, 1000 * n + 500, text) for n, text in enumerate(texts)]
    convert(write_cues(folder / "source.mkv", "subrip", cues), folder / f"way{by}")
    return [text for *_, text in convert(folder / f"way{by}", folder / "back.mkv")]


@pytest.mark.parametrize("by", [".mp4", ".mov", ".webm"])
@pytest.mark.parametrize(
    "text",
    [
        "Plain",
        "two\nlines",
        "日本語 字幕 😀 é",
        "<b>bold</b>, <i>slanted</i>, <u>underlined</u>",
        "😀 <i>after an emoji</i>",
        "a < b & c > d, &amp;",
        '<font color="#ff0000">red</font> and white',
    ],
)
def test_text_and_styles_are_kept(tmp_path: Path, by: str, text: str) -> None:
    assert there_and_back(tmp_path, by, text) == [text]


def test_mp4_keeps_any_colour(tmp_path: Path) -> None:
    text = '<font color="#ff8001">orange</font>'
    assert there_and_back(tmp_path, ".mp4", text) == [text]
    assert there_and_back(tmp_path, ".webm", text) == ["orange"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\r\ntwo\r\n", "one\ntwo"),
        (r"{\an8}at the top", "at the top"),
        (r"{\i1}slanted{\i0} or not", "<i>slanted</i> or not"),
        ("<I>loud</I>", "<i>loud</i>"),
        ("<b>left open", "<b>left open</b>"),
        ("<b><i>crossed</b></i>", "<i><b>crossed</b></i>"),
        ('<font face="Arial" color=yellow>named</font>', '<font color="#ffff00">named</font>'),
        ("\ufeffmarked", "marked"),
    ],
)
def test_common_variants_of_subrip_are_read(tmp_path: Path, text: str, expected: str) -> None:
    assert there_and_back(tmp_path, ".mp4", text) == [expected]


def test_empty_texts_are_dropped(tmp_path: Path) -> None:
    cues = [(500, 900, "a"), (1000, 1500, ""), (1500, 1600, " \n"), (4000, 4500, "b")]
    write_cues(tmp_path / "source.mkv", "subrip", cues)
    expected = [(500, 900, "a"), (4000, 4500, "b")]
    assert convert(tmp_path / "source.mkv", tmp_path / "target.mp4") == expected
    assert convert(tmp_path / "target.mp4", tmp_path / "back.mkv") == expected


def test_overlapping_texts_are_shown_together(tmp_path: Path) -> None:
    cues = [(0, 4000, "long"), (1000, 3000, "<i>second</i>"), (2000, 2500, "third"), (4000, 5000, "last")]
    write_cues(tmp_path / "source.mkv", "subrip", cues)
    assert convert(tmp_path / "source.mkv", tmp_path / "target.mp4") == [
        (0, 1000, "long"),
        (1000, 2000, "long\nsecond"),
        (2000, 2500, "long\nsecond\nthird"),
        (2500, 3000, "long\nsecond"),
        (3000, 4000, "long"),
        (4000, 5000, "last"),
    ]
    assert convert(tmp_path / "target.mp4", tmp_path / "back.mkv")[1][2] == "long\n<i>second</i>"
    assert convert(tmp_path / "source.mkv", tmp_path / "target.webm")[0] == (0, 4000, "long")


def test_text_without_a_duration_lasts_until_the_next(tmp_path: Path) -> None:
    write_cues(tmp_path / "source.mkv", "subrip", [(0, 0, "a"), (700, 700, "b")])
    found = convert(tmp_path / "source.mkv", tmp_path / "target.mp4")
    assert found == [(0, 700, "a"), (700, 4700, "b")]


def test_overlong_text_is_cut_at_a_character(tmp_path: Path) -> None:
    write_cues(tmp_path / "source.mkv", "subrip", [(0, 500, "<i>é</i>" + "字" * 30_000)])
    ((_, _, text),) = convert(tmp_path / "source.mkv", tmp_path / "target.mp4")
    assert text == "é" + "字" * 21_844


def test_text_is_trimmed_to_a_part(tmp_path: Path) -> None:
    cues = [(0, 900, "before"), (500, 1500, "into"), (2000, 2400, "inside"), (2800, 4000, "out of")]
    write_cues(tmp_path / "source.mkv", "subrip", [*cues, (5000, 5500, "after")])
    cut = part(Fraction(1), Fraction(3))
    expected = [(0, 500, "into"), (1000, 1400, "inside"), (1800, 2000, "out of")]
    assert convert(tmp_path / "source.mkv", tmp_path / "target.mp4", cut) == expected
    assert convert(tmp_path / "source.mkv", tmp_path / "target.webm", cut) == expected
