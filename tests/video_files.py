"""Plain videos of any codec and timing: a moving gradient, and tones."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

AUDIO_RATE = 48000
AUDIO_SAMPLES = 1024
LOSSY_OF_FFMPEG = ("h263", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4", "wmv2")
"""Encoders that drop frames to keep to a low rate (200 kb/s by default); which, depends on the cores."""


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
        num_frames: the number of frames.
        pts: time of each frame; None for a constant rate from 0 on.
        time_base: seconds per unit of `pts`.
        rate: frames per second.
        width: width of the picture.
        height: height of the picture.
        codec: name of the encoder.
        pix_fmt: pixel format to encode.
        num_b_frames: the most B-frames in a row.
        num_audio: the number of audio tracks.
        frames: the pictures; None for a moving gradient.
        options: options of the encoder.
        tags: attributes of the encoder's context, such as `colorspace`.
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
        if codec in LOSSY_OF_FFMPEG:
            context.bit_rate = 4_000_000
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
