"""Videos of many kinds, enlarged by repeating pixels: verified, and read by an FFmpeg other than PyAV's."""

import re
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import pytest

from scripts.stress.containers import enlarge
from scripts.stress.properties import LOST, PROPERTIES, Property
from tests.hard_videos import HARD_VIDEOS
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.media.checks import verify_output
from vidx4.media.probe import probe
from vidx4.media.source import read_source
from vidx4.media.streams import choose_suffix
from vidx4.video import Fields, TimeRange

SAMPLES = Path(__file__).parents[2] / "samples"
FURTHER_CONTAINERS = {
    "variable": (".mkv", ".mov", ".ts"),
    "early": (".mkv",),
    "late_mp4": (".ts",),
    "old_avi": (".mp4", ".ts"),
    "ten_bits_422": (".mp4", ".mkv"),
    "transparent": (".webm", ".mp4"),
}
"""Containers that some videos are also written to."""


@pytest.mark.parametrize("name", HARD_VIDEOS)
def test_everything_is_kept(name: str, tmp_path: Path) -> None:
    """A job ends well only if its output is verified, so this is all that needs checking."""
    path = HARD_VIDEOS[name](tmp_path)
    own = choose_suffix(probe(path))
    for suffix in (own, *FURTHER_CONTAINERS.get(name, ())):
        enlarge(path, tmp_path / f"out{suffix}")


@pytest.mark.parametrize(
    "name", ["early", "late_mp4", "attachments_and_ass", "old_avi", "ten_bits_422", "text_track"]
)
def test_a_range_is_kept(name: str, tmp_path: Path) -> None:
    path = HARD_VIDEOS[name](tmp_path)
    span = TimeRange(Fraction(1, 5), Fraction(1, 2))
    enlarge(path, tmp_path / f"out{choose_suffix(probe(path))}", span)


@dataclass(frozen=True)
class Listing:
    """The contents of a file according to another FFmpeg."""

    streams: list[str]
    """Kind and language of each stream."""
    num_frames: int
    sound: list[str]
    """Checksums of the packets of each audio track."""


def read_listing(path: Path) -> Listing:
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    printed = subprocess.run([ffmpeg, "-hide_banner", "-i", str(path)], capture_output=True, text=True).stderr
    streams = re.findall(r"Stream #0:\d+(?:\[\w+\])?(?:\((\w+)\))?: (\w+)", printed)
    frames = _run(
        ffmpeg,
        "-i",
        str(path),
        "-map",
        f"0:{probe(path).video_index}",
        "-fps_mode",
        "passthrough",
        "-f",
        "framecrc",
        "-",
    )
    sound = []
    for index in range(sum(kind == "Audio" for _, kind in streams)):
        packets = _run(ffmpeg, "-i", str(path), "-map", f"0:a:{index}", "-c", "copy", "-f", "framemd5", "-")
        # The column of the content; after it, how much to skip depends on how edit lists are rounded.
        sound.append(" ".join(line.split(",")[5].strip() for line in packets if not line.startswith("#")))
    kinds = [
        f"{kind} {language if language != 'und' else ''}".strip()
        for language, kind in streams
        if kind != "Data"
    ]
    return Listing(sorted(kinds), len([line for line in frames if not line.startswith("#")]), sound)


def _run(*command: str) -> list[str]:
    run = subprocess.run(
        [*command[:1], "-v", "error", *command[1:]], capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("variable", "early", "late_mp4", "text_track", "mirrored", "attachments_and_ass", "transparent"),
        *("interlaced", "program_stream", "nasa.mp4", "bear.webm"),
    ],
)
def test_another_decoder_agrees(name: str, tmp_path: Path) -> None:
    path = HARD_VIDEOS[name](tmp_path) if name in HARD_VIDEOS else SAMPLES / name
    output = tmp_path / f"out{choose_suffix(probe(path))}"
    enlarge(path, output)
    given, kept = read_listing(path), read_listing(output)
    assert kept.num_frames == given.num_frames == probe(path).num_frames
    assert kept.streams == given.streams
    assert kept.sound == given.sound


def test_another_decoder_sees_pulldown_undone(tmp_path: Path) -> None:
    path = HARD_VIDEOS["telecined"](tmp_path)
    enlarge(path, tmp_path / "out.mp4")
    assert read_source(path).fields == Fields.FILM
    assert [read_listing(each).num_frames for each in (path, tmp_path / "out.mp4")] == [50, 40]


@pytest.mark.parametrize("row", [row for row in PROPERTIES if "sound" not in row[0]], ids=lambda row: row[0])
def test_matroska_keeps_every_property(row: Property, tmp_path: Path) -> None:
    _, write, judge = row
    path, output = write(tmp_path, ".mkv"), tmp_path / "out.mkv"
    enlarge(path, output)
    assert judge(path, output) != LOST


def test_every_promise_has_a_check(tmp_path: Path) -> None:
    path, output = HARD_VIDEOS["attachments_and_ass"](tmp_path), tmp_path / "out.mkv"
    enlarge(path, output)
    plan = plan_video(path, output, Request(overwrite=True))
    subjects = " ".join(check.subject for check in verify_output(plan.written, output))
    for promise in (
        "frames",
        "time",
        "size",
        "colour matrix",
        "content",
        "chapter",
        "attachment",
        "metadata",
        "language",
    ):
        assert promise in subjects
