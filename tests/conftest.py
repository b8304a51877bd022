"""Fixtures: small videos of every kind and small models, made on the spot."""

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tests import sd_x4
from tests.helpers import Load
from vidx4.diffusion.upscaler import Upscaler

AUDIO_RATE = 48000
AUDIO_SAMPLES = 1024
MakeVideo = Callable[..., Path]

# Tests send these to programs that they start, which ignore what is ignored here, as it is under `nohup`.
for _each in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_each) == signal.SIG_IGN:
        signal.signal(_each, signal.SIG_DFL)

# Tiny networks gain nothing from threads, and two test processes would fight over the cores.
torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none, unless one is required."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        if os.environ.get("VIDX4_REQUIRE_GPU") == "1":
            pytest.fail("VIDX4_REQUIRE_GPU=1, but there is no CUDA device")
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _restore_random_state() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Return a function that writes a video below a temporary folder and returns its path."""

    def make(name: str = "source.mp4", **options: object) -> Path:
        path = tmp_path / name
        write_video(path, **options)  # type: ignore[arg-type]
        return path

    return make


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the topology of sd-x4, tiny and random."""
    return sd_x4.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=["compact", "sd-x4 topology"])
def load(request: pytest.FixtureRequest, tiny_folder: Path) -> Load:
    """Return what loads each of the models with options."""
    name = "compact" if request.param == "compact" else str(tiny_folder)

    def load_model(**options: Any) -> Upscaler:
        defaults = {"num_inference_steps": 2, "device": "cpu", "dtype": "float32"}
        return Upscaler.load(name, **(defaults | options))

    return load_model


def write_video(
    path: Path,
    *,
    num_frames: int = 20,
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    rate: int = 25,
    width: int = 64,
    height: int = 48,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    num_b_frames: int = 2,
    num_audio: int = 1,
    frames: Sequence[VideoFrame] | None = None,
    options: dict[str, str] | None = None,
    **tags: object,
) -> None:
    """Write a video.

    Args:
        path: its suffix chooses the container.
        num_frames: how many frames.
        pts: when each is shown; None for a constant rate from 0 on.
        time_base: seconds per unit of `pts`.
        rate: frames per second.
        width: of the picture.
        height: of the picture.
        codec: an encoder's name.
        pix_fmt: what is encoded.
        num_b_frames: how many frames in a row refer to a later one.
        num_audio: the number of audio tracks.
        frames: the pictures; None for a gradient that moves.
        options: of the encoder.
        tags: attributes of the codec's context, such as `colorspace`.
    """
    step = max(1, round(1 / (rate * time_base)))
    pts = [index * step for index in range(num_frames)] if pts is None else pts
    muxing = {"video_track_timescale": str(time_base.denominator), "movie_timescale": str(AUDIO_RATE)}
    is_mp4 = path.suffix in (".mp4", ".mov")
    with av.open(str(path), "w", container_options=muxing if is_mp4 else {}) as container:
        video = container.add_stream(codec, rate=rate, options={"g": "10", **(options or {})})
        assert isinstance(video, VideoStream)
        context = video.codec_context
        context.width, context.height, context.pix_fmt = width, height, pix_fmt
        context.time_base = video.time_base = time_base
        context.max_b_frames = num_b_frames
        for key, value in tags.items():
            setattr(context, key, value)
        audio = [_add_audio(container, index) for index in range(num_audio)]
        for frame, when in zip(frames or gradient(width, height, len(pts)), pts, strict=True):
            frame.pts, frame.time_base = when, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for index, stream in enumerate(audio):
            _write_audio(container, stream, index, seconds=float((pts[-1] + step) * time_base))


def gradient(width: int, height: int, num_frames: int) -> list[VideoFrame]:
    """Return a gradient that moves and grows brighter from frame to frame."""
    y, x = np.mgrid[:height, :width]
    pictures = [np.stack([x * 2 + 4 * n, y * 3, 0 * x + 8 * n], axis=-1) % 256 for n in range(num_frames)]
    return [VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24") for picture in pictures]


def _add_audio(container: OutputContainer, index: int) -> AudioStream:
    stream = container.add_stream("aac", rate=AUDIO_RATE)
    assert isinstance(stream, AudioStream)
    stream.metadata["language"] = ("eng", "fra")[index % 2]
    return stream


def _write_audio(container: OutputContainer, stream: AudioStream, index: int, seconds: float) -> None:
    for start in range(0, round(seconds * AUDIO_RATE), AUDIO_SAMPLES):
        phase = np.arange(start, start + AUDIO_SAMPLES) * (440 * (index + 1) * 2 * np.pi / AUDIO_RATE)
        samples = np.sin(phase, dtype=np.float32)[None].repeat(2, axis=0)
        frame = AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
