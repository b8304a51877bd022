from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import joined, recording
from tests.helpers import upscale_nearest
from vidx4.errors import OutputError, SourceError
from vidx4.frames import Frame
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media import decode
from vidx4.media import source as sources
from vidx4.media.frame_count import count_decoded, count_packets
from vidx4.media.probe import probe
from vidx4.video import Source

Reader = Callable[..., Iterator[Any]]
Fault = Callable[[Iterator[Any]], Iterator[Any]]


def film(folder: Path) -> Path:
    piece = recording(folder / "piece.ts", 20)
    return joined(folder / "film.ts", piece, piece)


def drop_one(frames: Iterator[Any]) -> Iterator[Any]:
    return (frame for index, frame in enumerate(frames) if index != 7)


def drop_the_rest(frames: Iterator[Any]) -> Iterator[Any]:
    return islice(frames, 20)


def upscale(folder: Path, path: Path, *, strict: bool = False) -> None:
    plan = plan_video(path, folder / "copy.mp4", Request(strict=strict))
    run(Job(plan, LocalExecutor(upscale_nearest), 4), ignore_disk_space=True)


@pytest.mark.parametrize("fault", [drop_one, drop_the_rest])
@pytest.mark.parametrize("strict", [False, True])
def test_frames_that_the_reader_drops_are_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault, strict: bool
) -> None:
    read = decode._stored_frames
    monkeypatch.setattr(decode, "_stored_frames", lambda *args: fault(read(*args)))
    with pytest.raises((OutputError, SourceError)):
        upscale(tmp_path, film(tmp_path), strict=strict)
    assert not (tmp_path / "copy.mp4").exists()


@pytest.mark.parametrize("fault", [drop_one, drop_the_rest])
def test_frames_that_probing_drops_are_missed_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    def probed(*args: Any) -> Source:
        source = probe(*args)
        return replace(source, pts=tuple(fault(iter(source.pts))), packet_frames=None)

    monkeypatch.setattr(sources, "probe", probed)
    plan = plan_video(film(tmp_path), tmp_path / "copy.mp4")
    assert [check.subject for check in plan.rehearsal.lost] == ["frames of the source"]


def test_a_frame_that_is_given_twice_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = decode.read_frames

    def twice(*args: Any, **options: Any) -> Iterator[Frame]:
        for index, frame in enumerate(read(*args, **options)):
            yield frame
            if index == 7:
                yield frame

    monkeypatch.setattr("vidx4.jobs.pipeline.read_frames", twice)
    with pytest.raises((OutputError, ValueError)):
        upscale(tmp_path, film(tmp_path))
    assert not (tmp_path / "copy.mp4").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".webm"])
def test_packets_and_decoder_count_alike(tmp_path: Path, suffix: str) -> None:
    codec = (
        {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}
        if suffix == ".webm"
        else {}
    )
    path = recording(tmp_path / f"film{suffix}", 40, num_audio=0, **codec)
    assert count_packets(path, 0) == count_decoded(path, 0).num_frames == probe(path).num_frames == 40
