"""A whole job on real clips keeps every frame, its time and the audio, and leaves nothing half-written."""

import hashlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import MakeVideo
from tests.helpers import as_frames, check_same, upscale_nearest
from tests.moving import pan
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OptionError, OutputError, SourceError
from vidx4.files.own_folder import LOCK, SIGNATURE
from vidx4.frames import FrameBatch
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalBackend, LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.request import Request
from vidx4.jobs.run import run, upscale_video
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.video import TimeRange

SAMPLES = Path(__file__).parents[2] / "samples"
LONDON, NASA, SIGNER, BEAR = (
    SAMPLES / name for name in ("london.mp4", "nasa.mp4", "signer.mkv", "bear.webm")
)
FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)


def times(path: Path) -> list[Fraction]:
    source = probe(path)
    return [pts * source.time_base for pts in source.pts]


def audio_packets(path: Path) -> list[list[tuple[Any, ...]]]:
    """Return what each audio track holds: times and payloads of its packets."""
    with av.open(str(path)) as container:
        tracks: dict[int, list[tuple[Any, ...]]] = {s.index: [] for s in container.streams.audio}
        for packet in container.demux():
            if packet.size and packet.stream_index in tracks:
                seconds = [None if t is None else t * packet.time_base for t in (packet.pts, packet.duration)]
                tracks[packet.stream_index].append((*seconds, hashlib.sha256(bytes(packet)).digest()))
    return list(tracks.values())


@pytest.mark.slow
@pytest.mark.parametrize("clip", [LONDON, NASA, SIGNER, BEAR], ids=lambda clip: clip.stem)
def test_every_frame_its_time_and_the_audio_are_kept(clip: Path, tmp_path: Path) -> None:
    plan = plan_video(
        clip, tmp_path / f"out{'.mkv' if clip.suffix != '.mp4' else '.mp4'}", Request(encode=FAST)
    )
    report = run(Job(plan, LocalExecutor(upscale_nearest), 8))
    source, output = probe(clip), probe(plan.output)
    assert (output.width, output.height) == (4 * source.width, 4 * source.height)
    assert times(plan.output) == times(clip)
    assert audio_packets(plan.output) == audio_packets(clip)
    assert report.num_frames == source.num_frames
    assert report.damage == ()
    assert list(tmp_path.iterdir()) == [plan.output]


def test_equal_jobs_give_equal_files(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(num_frames=6, width=96, height=64)
    outputs = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    upscaler = Upscaler.load("compact", device="cpu")
    for output in outputs:
        upscale_video(path, output, request=Request(encode=FAST), upscaler=upscaler)
    check_same(outputs[0], outputs[1].read_bytes())


def test_the_batch_size_changes_pixels_by_one_level_at_most(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(num_frames=5, width=160, height=120)
    lossless = EncodeOptions(codec="ffv1")
    upscaler = Upscaler.load("compact", device="cpu", num_inference_steps=2)
    frames = []
    for batch_size in (1, 4):
        output = tmp_path / f"{batch_size}.mkv"
        upscale_video(
            path, output, request=Request(encode=lossless), upscaler=upscaler, batch_size=batch_size
        )
        frames.append(stored_planes(output))
    assert frames[0].shape == (5, 3, 480, 640)
    assert np.abs(frames[0] - frames[1]).max() <= 1


def stored_planes(path: Path) -> np.ndarray:
    """Return the planes of luma and chroma as they are stored, (N, 3, H, W)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray() for frame in container.decode(video=0)]).astype(int)


def test_a_range_starts_at_zero_with_its_audio_in_sync(tmp_path: Path) -> None:
    span = TimeRange(Fraction(1, 2), Fraction(1))
    plan = plan_video(LONDON, tmp_path / "part.mp4", Request(span=span, encode=FAST))
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    wanted = [time for time in times(LONDON) if Fraction(1, 2) <= time < 1]
    assert times(plan.output) == [time - wanted[0] for time in wanted]
    (track,), (original,) = audio_packets(plan.output), audio_packets(LONDON)
    moved = {(time - wanted[0], payload) for time, _, payload in original}
    assert {(time, payload) for time, _, payload in track} <= moved
    heard = [time for time, length, _ in track if time + length > 0]
    assert heard[0] <= 0
    assert len(track) - len(heard) <= 2  # packets that the audio decoder needs to start


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    plan = plan_video(BEAR, tmp_path / "out.mkv", Request(encode=FAST))
    seen: list[Progress] = []
    run(Job(plan, LocalExecutor(upscale_nearest), 8), Control(seen.append))
    assert [progress.num_done for progress in seen] == [*range(8, 82, 8), 82]
    assert seen[-1].num_frames == 82
    assert seen[-1].seconds_left == 0


def test_state_is_passed_on_within_a_shot_and_dropped_at_a_cut(make_video: MakeVideo, tmp_path: Path) -> None:
    """Two shots of ten frames, in batches of four."""
    shots = torch.cat([pan(10, 1.0, 0.5), pan(10, 1.0, 0.5, "kodim23")])[..., :64, :96]
    source = make_video(frames=as_frames(shots), width=96, height=64)
    upscaler = Upscaler.load("compact", device="cpu", temporal="moving")
    sizes: list[tuple[int, bool]] = []

    def watch(batch: FrameBatch, state: ShotState | None) -> Upscaled:
        sizes.append((len(batch), state is None))
        return upscaler(batch, state)

    report = run(Job(plan_video(source, tmp_path / "out.mp4", Request(encode=FAST)), LocalExecutor(watch), 4))
    assert sizes == [(4, True), (4, False), (2, False), (4, True), (4, False), (2, False)]
    assert report.num_shots == 2


def test_following_in_a_separate_stage_changes_nothing(make_video: MakeVideo, tmp_path: Path) -> None:
    shots = torch.cat([pan(5, 1.0, 0.5), pan(4, 1.0, 0.5, "kodim23")])[..., :64, :96]
    source = make_video(frames=as_frames(shots), num_frames=9, width=96, height=64)
    upscaler = Upscaler.load("compact", device="cpu", noise_level=20)
    outputs = [tmp_path / "ahead.mkv", tmp_path / "one_by_one.mkv"]
    plans = [plan_video(source, output, Request(encode=EncodeOptions("ffv1"))) for output in outputs]
    run(LocalBackend(upscaler).job(plans[0], 2))
    run(Job(plans[1], LocalExecutor(upscaler), 2))
    check_same(outputs[0], outputs[1].read_bytes())


def test_what_is_reused_is_reported(make_video: MakeVideo, tmp_path: Path) -> None:
    """A cartoon on twos, lossless: every second frame repeats the one before it."""
    drawings = pan(5, 2.0, 1.0)[:, :, :48, :64].repeat_interleave(2, dim=0)
    pictures = as_frames(drawings)
    source = make_video(
        "source.mkv", frames=pictures, num_frames=10, codec="ffv1", pix_fmt="yuv444p", num_b_frames=0
    )
    seen: list[Progress] = []
    upscaler = Upscaler.load("compact", device="cpu")
    report = upscale_video(
        source, tmp_path / "out.mkv", request=Request(encode=FAST), upscaler=upscaler, on_progress=seen.append
    )
    assert report.share_reused == pytest.approx(0.5)
    assert seen[-1].share_reused == pytest.approx(0.5)


class Interrupted:
    """A model that fails at its second batch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.num_batches = 0

    def __call__(self, batch: FrameBatch, state: ShotState | None) -> Upscaled:
        self.num_batches += 1
        if self.num_batches == 2:
            raise self.error
        return upscale_nearest(batch, state)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken"), OutputError("full")])
def test_a_failed_first_run_leaves_nothing_behind(error: BaseException, tmp_path: Path) -> None:
    plan = plan_video(BEAR, tmp_path / "out.mkv", Request(encode=FAST))
    with pytest.raises(type(error)):
        run(Job(plan, LocalExecutor(Interrupted(error)), 8))
    assert list(tmp_path.iterdir()) == []


def test_an_output_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    output.write_text("mine")
    with pytest.raises(OutputError, match=re.escape(str(output))):
        upscale_video(BEAR, output)
    assert output.read_text() == "mine"
    run(
        Job(plan_video(BEAR, output, Request(encode=FAST, overwrite=True)), LocalExecutor(upscale_nearest), 8)
    )
    assert probe(output).num_frames == 82


@pytest.mark.slow
def test_a_second_job_on_the_same_output_is_refused(tmp_path: Path) -> None:
    plan = plan_video(BEAR, tmp_path / "out.mkv", Request(encode=FAST))

    def run_again(batch: FrameBatch, state: ShotState | None) -> Upscaled:
        with pytest.raises(OutputError, match=re.escape(str(plan.work_folder))):
            run(Job(plan, LocalExecutor(upscale_nearest), 8))
        return upscale_nearest(batch, state)

    run(Job(plan, LocalExecutor(run_again), 41))
    assert probe(plan.output).num_frames == 82


def test_remains_of_a_killed_job_are_replaced_and_other_files_kept(tmp_path: Path) -> None:
    plan = plan_video(BEAR, tmp_path / "out.mkv", Request(encode=FAST))
    plan.work_folder.mkdir()
    for name in ("00000000.nut", ".00000000.nut.unfinished", "mine.txt"):
        (plan.work_folder / name).write_text("left")
    (plan.work_folder / LOCK).write_bytes(SIGNATURE)
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    assert probe(plan.output).num_frames == 82
    assert sorted(path.name for path in plan.work_folder.iterdir()) == ["lock", "mine.txt"]


def test_the_default_output_is_beside_the_source(tmp_path: Path) -> None:
    clip = tmp_path / "a film.mp4"
    clip.write_bytes(LONDON.read_bytes())
    assert plan_video(clip).output == tmp_path / "a film_x4.mp4"


@pytest.mark.parametrize("span", [TimeRange(Fraction(99)), TimeRange(Fraction(1), Fraction(1))])
def test_an_empty_range_is_refused(span: TimeRange) -> None:
    with pytest.raises(OptionError, match=f"{re.escape(str(LONDON))} has no frames|must be later"):
        plan_video(LONDON, Path("out.mp4"), Request(span=span))


def test_a_range_that_ends_before_it_starts_is_named_so() -> None:
    span = TimeRange(Fraction(1), Fraction(1, 2))
    with pytest.raises(OptionError, match=r"--stop \(0.5 s\).*--start \(1 s\)"):
        plan_video(LONDON, Path("out.mp4"), Request(span=span))


def test_a_bad_encoding_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cinepak"):
        plan_video(LONDON, tmp_path / "out.mp4", Request(encode=EncodeOptions(codec="cinepak")))


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no film")
    with pytest.raises(SourceError):
        plan_video(text)


def test_the_plan_warns_of_converted_streams(tmp_path: Path) -> None:
    plan = plan_video(NASA, tmp_path / "out.mkv")
    streams = [warning.split(")")[0] for warning in plan.warnings]
    assert streams == ["Stream 2 (mov_text subtitle eng", "Stream 5 (mov_text subtitle eng"]
    assert all("subrip" in warning for warning in plan.warnings)


def test_the_plan_warns_of_streams_that_a_range_drops(tmp_path: Path) -> None:
    plan = plan_video(NASA, tmp_path / "out.mp4", Request(span=TimeRange(Fraction(1), Fraction(2))))
    (warning,) = plan.warnings
    assert warning.startswith("Stream 0 (h264 video eng) ")


def test_numbered_pictures_are_read_by_a_pattern(tmp_path: Path) -> None:
    for number in range(1, 4):
        Image.new("RGB", (32, 24), (60 * number, 20, 200)).save(tmp_path / f"a_{number:03d}.png")
    plan = plan_video(tmp_path / "a_%03d.png", tmp_path / "out.mp4", Request(encode=FAST))
    assert run(Job(plan, LocalExecutor(upscale_nearest), 4)).num_frames == 3
    assert probe(plan.output).num_frames == 3
