"""A result goes where its user names a place for it: a file, or a folder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import MakeVideo
from tests.helpers import stop_after, upscale_nearest
from vidx4.errors import OptionError, OutputError
from vidx4.jobs.destination import Destination, file_to_write
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.still.upscale import plan_picture
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe

FAST = Request(encode=EncodeOptions(encoder_preset="ultrafast", crf=40))
AGAIN = Request(encode=FAST.encode, overwrite=True)
PLAIN, PLAIN_AGAIN = Request(), Request(overwrite=True)  # PNG has no presets


def numbered(folder: Path, name: str, numbers: Sequence[int]) -> Path:
    """Write numbered pictures of 32x24, each of another level of grey."""
    folder.mkdir()
    for index, number in enumerate(numbers):
        Image.fromarray(np.full((24, 32, 3), 10 + index, np.uint8)).save(folder / (name % number))
    return folder


def job(path: Path, output: Path, request: Request = FAST) -> Job:
    return Job(plan_video(path, output, request), LocalExecutor(upscale_nearest), 4)


@pytest.mark.parametrize("text", ["out/", ".", "./", "..", "/"])
def test_a_folder_gets_a_file_of_the_usual_name(text: str) -> None:
    assert Destination.parse(text).file("film_x4.mp4") == Path(text, "film_x4.mp4")


def test_a_folder_that_exists_needs_no_slash(tmp_path: Path) -> None:
    assert file_to_write(tmp_path, Path("film_x4.mp4")) == tmp_path / "film_x4.mp4"
    assert file_to_write(tmp_path / "new", Path("film_x4.mp4")) == tmp_path / "new"
    assert file_to_write(None, Path("film_x4.mp4")) == Path("film_x4.mp4")


def test_a_name_that_is_empty_is_refused() -> None:
    with pytest.raises(OptionError, match="empty"):
        Destination.parse("")


def test_a_video_stays_a_video_in_a_folder(make_video: MakeVideo, tmp_path: Path) -> None:
    path, new = make_video("film.mp4", num_frames=2), Destination(tmp_path / "new", is_folder=True)
    assert plan_video(path, new).output == tmp_path / "new" / "film_x4.mp4"
    request = Request(encode=EncodeOptions(codec="prores"))
    assert plan_video(path, new, request).output == tmp_path / "new" / "film_x4.mov"
    assert plan_video(path, tmp_path).output == tmp_path / "film_x4.mp4"


def test_pictures_stay_pictures_in_a_folder(tmp_path: Path) -> None:
    frames = numbered(tmp_path / "frames", "%d.png", range(2))
    (tmp_path / "new").mkdir()
    assert plan_video(frames, tmp_path / "new").output == tmp_path / "new" / "%06d.png"
    assert plan_picture(frames / "1.png", tmp_path / "new") == tmp_path / "new" / "1_x4.png"
    with pytest.raises(OutputError, match="pattern"):
        plan_picture(frames / "1.png", tmp_path / "new" / "%06d.png")


def test_a_video_of_its_own_is_never_replaced(make_video: MakeVideo, tmp_path: Path) -> None:
    film, episode = make_video("1.mp4", num_frames=4), make_video("2.mp4", num_frames=4)
    before = episode.read_bytes()
    for request in (FAST, AGAIN):
        with pytest.raises(OutputError, match=r"was not made from .*vidx4 batch"):
            plan_video(film, episode, request)
    large = make_video("large.mp4", width=256, height=192, num_frames=60)  # a copy's size, but too long
    with pytest.raises(OutputError, match="was not made from"):
        plan_video(film, large, AGAIN)
    assert episode.read_bytes() == before


def test_a_video_of_its_own_is_replaced_if_it_can_only_be_meant_as_output(
    make_video: MakeVideo,
) -> None:
    film, episode = make_video("1.mp4", num_frames=4), make_video("2.mp4", num_frames=4)
    certain = Destination(episode, is_certain=True)
    assert plan_video(film, certain, AGAIN).output == episode
    with pytest.raises(OutputError):
        plan_video(film, certain, FAST)
    with pytest.raises(OutputError, match="the source itself"):
        plan_video(film, Destination(film, is_certain=True), AGAIN)


def test_an_earlier_result_is_replaced(make_video: MakeVideo, tmp_path: Path) -> None:
    film, output = make_video("film.mp4", num_frames=4), tmp_path / "big.mp4"
    run(job(film, output))
    with pytest.raises(OutputError, match="--overwrite"):
        plan_video(film, output, FAST)
    assert plan_video(film, output, AGAIN).output == output
    (tmp_path / "film_x4.mp4").write_bytes(film.read_bytes())  # the name tells
    assert plan_video(film, None, AGAIN).output.name == "film_x4.mp4"
    (tmp_path / "broken.mp4").write_text("no video")
    assert plan_video(film, tmp_path / "broken.mp4", AGAIN).output.name == "broken.mp4"


def test_pictures_of_their_own_are_never_replaced(make_video: MakeVideo, tmp_path: Path) -> None:
    film, frames = make_video(num_frames=2), numbered(tmp_path / "frames", "%06d.png", range(1, 4))
    with pytest.raises(OutputError, match="not empty"):
        plan_video(film, frames / "%06d.png", PLAIN_AGAIN)
    with pytest.raises(OutputError, match="was not made from"):
        plan_picture(frames / "000001.png", frames / "000002.png", overwrite=True)
    pattern = tmp_path / "new" / "%06d.png"
    run(job(film, pattern, PLAIN))
    assert plan_video(film, pattern, PLAIN_AGAIN).output == pattern


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("img_%04d.png", [0, 1, *range(5, 73), 9999, 12345]),
        ("img_%04d.png", [1, *range(1000, 1075)]),
        ("%d.png", [8, 9, *range(11, 80), 100]),
    ],
)
def test_a_pattern_with_gaps_is_enlarged_and_resumed(name: str, numbers: list[int], tmp_path: Path) -> None:
    """More than one part, with gaps in each, after a stop in between."""
    pattern = numbered(tmp_path / "gap", name, numbers) / name
    output = tmp_path / "gap.mkv"
    assert any("missing" in warning for warning in plan_video(pattern, output, FAST).warnings)
    stop_after(job(pattern, output), 1)
    report = run(job(pattern, output))
    assert (report.num_frames, probe(output).num_frames) == (len(numbers), len(numbers))
    assert 0 < report.num_new < len(numbers)


@pytest.mark.parametrize("name", ["Film: part 1", "file:film", "100%", "%d", "[a]*?", " a\nb. ", "~", "🎬"])
def test_names_are_only_names(
    name: str, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video("film.mp4", num_frames=2).rename(f"{name}.mp4")
    assert run(job(Path(f"{name}.mp4"), Path(f"big {name}.mp4"))).num_frames == 2
    frames = numbered(Path(name), "%d.png", range(2))
    assert run(job(frames, Path(f"out {name}") / "%d.png", PLAIN)).num_frames == 2
    assert run(job(frames / "%d.png", Path(f"from {name}.mkv"))).num_frames == 2
