from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from tests.clocks import recording
from tests.hard_videos import attachments_and_ass
from tests.video_builder import frames, scene, write
from vidx4.errors import DiskFullError, OutputError
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.run import start
from vidx4.media import checks, headers, rehearse
from vidx4.media.output import Output

Make = Callable[[Path], Path]


def with_sound(folder: Path) -> Path:
    return recording(folder / "film.mp4", 30, num_audio=2)


def with_flac(folder: Path) -> Path:
    return write(folder / "film.mkv", frames(scene(12)), audio_codec="flac")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_nothing_is_lost_of_an_ordinary_file(tmp_path: Path, suffix: str) -> None:
    film = with_sound(tmp_path)
    plan = plan_video(film, tmp_path / f"copy{suffix}")
    assert plan.rehearsal.lost == ()
    assert plan.rehearsal.warnings == ()
    assert list(tmp_path.iterdir()) == [film]


def test_a_few_packets_of_each_stream_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[list[int]] = []
    verify = checks.verify_output

    def noting(output: Output, path: Path, missing: tuple[int, ...]) -> Any:
        with av.open(str(path)) as container:
            numbers.append([sum(p.size > 0 for p in container.demux(s)) for s in container.streams.video])
        return verify(output, path, missing)

    monkeypatch.setattr(rehearse, "verify_output", noting)
    assert plan_video(with_sound(tmp_path), tmp_path / "copy.mkv").warnings == ()
    assert numbers == [[1]]


def test_a_stream_that_is_not_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = headers.add_copies

    def add_fewer(container: OutputContainer, original: InputContainer, output: Output) -> dict[int, Stream]:
        streams = replace(output.streams, carried=output.streams.carried[:-1])
        return add(container, original, replace(output, streams=streams))

    monkeypatch.setattr("vidx4.media.mux.add_copies", add_fewer)
    # Only the stream that is there may be read for the copy, as if the muxer had dropped the other.
    plan = plan_video(with_sound(tmp_path), tmp_path / "copy.mkv")
    assert [check.subject for check in plan.rehearsal.lost] == ["audio 2"]
    assert_refused_before_the_work(plan)


def assert_refused_before_the_work(plan: Plan) -> None:
    with (
        pytest.raises(OutputError, match="keep everything"),
        start(Job(plan, LocalExecutor(model=_unused), 4)),
    ):
        pass
    assert not plan.work_folder.exists()


def _unused(*args: Any) -> Any:
    raise AssertionError("A frame was made.")


def test_a_tag_that_is_not_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe = headers.describe_output

    def forget(container: OutputContainer, original: InputContainer, output: Output) -> None:
        describe(container, original, output)
        container.metadata.clear()

    monkeypatch.setattr("vidx4.media.mux.describe_output", forget)
    plan = plan_video(attachments_and_ass(tmp_path), tmp_path / "copy.mkv")
    assert plan.rehearsal.lost == ()
    assert any("artist" in warning.lower() for warning in plan.warnings)


@pytest.mark.parametrize(("make", "suffix"), [(attachments_and_ass, ".mp4"), (with_flac, ".mov")])
def test_a_codec_that_the_container_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make, suffix: str
) -> None:
    monkeypatch.setattr("vidx4.media.streams.holds", lambda suffix, source, stream: True)
    with pytest.raises(OutputError, match="can't be written"):
        _ = plan_video(make(tmp_path), tmp_path / f"copy{suffix}").warnings
    assert not (tmp_path / f"copy{suffix}.vidx4").exists()


def test_pictures_are_rehearsed_without_a_container(tmp_path: Path) -> None:
    plan = plan_video(with_sound(tmp_path), tmp_path / "frames" / "%06d.png")
    assert plan.rehearsal.lost == ()
    assert not (tmp_path / "frames").exists()


def test_a_full_folder_of_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*args: Any) -> None:
        raise DiskFullError("part can't be written: No space left on device.")

    monkeypatch.setattr(rehearse, "encode_part", no_room)
    with pytest.raises(DiskFullError, match="folder of temporary files, is full"):
        _ = plan_video(with_sound(tmp_path), tmp_path / "copy.mp4").warnings
