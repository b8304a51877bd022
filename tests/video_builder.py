"""Videos built frame by frame: textures that move, fields, sound, subtitles, chapters."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidx4.appearance import Margins
from vidx4.media.display.aperture import to_box
from vidx4.media.formats.boxes import add_to_sample_entry
from vidx4.media.probe import probe

WIDTH, HEIGHT = 96, 64
MARGINS = Margins(left=4, top=8, right=12, bottom=6)
"""Margins that `with_aperture` asks players to hide."""
SAMPLE_RATE, SAMPLES = 48000, 1024


def scene(num_frames: int, *, start: int = 0) -> Iterator[np.ndarray]:
    """Yield a smooth texture that moves two pixels a frame, (H, W, 3) in 16 bits."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    for index in range(start, start + num_frames):
        shift = x + 2 * index
        waves = [np.sin(shift / 9) + np.cos(y / 7), np.sin(shift / 5 + y / 11), np.cos((shift - y) / 8)]
        yield np.stack([32768 + 12000 * wave for wave in waves], axis=-1).clip(0, 65535).astype(np.uint16)


def with_aperture(path: Path) -> Path:
    """Give an MP4 or QuickTime file a clean aperture: players should hide `MARGINS`."""
    source = probe(path)
    path.write_bytes(add_to_sample_entry(path.read_bytes(), to_box(MARGINS, source.width, source.height)))
    return path


def panning_shots(lengths: Sequence[int], width: int = 24, height: int = 16) -> list[VideoFrame]:
    """Return frames of shots, each a pan over a coarse pattern of its own; at most 100 frames a shot."""
    colors, rng = ((1, 0.5, 0.1), (0.1, 0.4, 1), (0.3, 1, 0.2)), np.random.default_rng(5)
    pictures = []
    for number, length in enumerate(lengths):
        coarse = (rng.integers(0, 65535, (30, 20, 1)) * colors[number % 3]).astype(np.uint16)
        wide = coarse.repeat(4, axis=0).repeat(4, axis=1)
        pictures += [wide[i : i + height, i // 2 : i // 2 + width] for i in range(length)]
    return list(frames(map(np.ascontiguousarray, pictures)))


def variable_pts(num_frames: int) -> list[int]:
    """Return times of frames at a rate that varies from 12.5 to 33 a second, in 1/12800 s."""
    steps = np.random.default_rng(5).choice([384, 512, 1024], size=num_frames)
    return [0, *np.cumsum(steps).tolist()[:-1]]


def frames(pictures: Iterable[np.ndarray], pix_fmt: str = "yuv420p") -> Iterator[VideoFrame]:
    """Convert pictures, (H, W, 3) in 16 bits, to frames of a pixel format."""
    for picture in pictures:
        yield VideoFrame.from_ndarray(picture, format="rgb48le").reformat(format=pix_fmt)


def woven(pictures: Sequence[np.ndarray], *, top_first: bool = True) -> Iterator[np.ndarray]:
    """Weave two pictures into the fields of one frame."""
    for early, late in zip(pictures[::2], pictures[1::2], strict=True):
        frame = early.copy()
        frame[int(top_first) :: 2] = late[int(top_first) :: 2]
        yield frame


def pulled_down(pictures: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Spread four frames of film over the fields of five (3:2 pulldown)."""
    for a, b, c, d in zip(*(pictures[index::4] for index in range(4)), strict=True):
        for top, bottom in ((a, a), (b, b), (b, c), (c, d), (d, d)):
            frame = top.copy()
            frame[1::2] = bottom[1::2]
            yield frame


def write(
    path: Path,
    pictures: Iterable[VideoFrame],
    *,
    codec: str = "libx264",
    time_base: Fraction = Fraction(1, 12800),
    rate: Fraction = Fraction(25),
    pts: Sequence[int] | None = None,
    num_audio: int = 1,
    audio_codec: str = "aac",
    audio_start: Fraction = Fraction(0),
    options: dict[str, str] | None = None,
    prepare: Callable[[OutputContainer, VideoStream], Iterable[Stream]] = lambda container, video: (),
    fill: Callable[[OutputContainer, Sequence[Stream]], None] = lambda container, streams: None,
    **tags: Any,
) -> Path:
    """Write a video with sound, and with whatever else a test needs.

    Args:
        path: the file; its suffix chooses the container.
        pictures: the frames.
        codec: name of the video encoder.
        time_base: seconds per unit of `pts`.
        rate: frames per second.
        pts: time of each frame; None for a constant rate from 0 on.
        num_audio: number of audio tracks.
        audio_codec: name of the audio encoder.
        audio_start: earliest start of the sound, in seconds.
        options: options of the video encoder.
        prepare: adds metadata and streams before the header is written; returns the streams.
        fill: writes the packets of those streams.
        tags: attributes of the video encoder's context, such as `colorspace`.
    """
    pictures = list(pictures)
    step = round(1 / (rate * time_base))
    pts = [step * index for index in range(len(pictures))] if pts is None else pts
    muxing = {"video_track_timescale": str(time_base.denominator)} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", container_options=muxing) as container:
        video = container.add_stream(codec, rate=rate, options={"g": "12", **(options or {})})
        assert isinstance(video, VideoStream)
        context = video.codec_context
        context.width, context.height = pictures[0].width, pictures[0].height
        context.pix_fmt = pictures[0].format.name
        context.time_base = video.time_base = time_base
        for key, value in tags.items():
            setattr(context, key, value)
        audio = [_audio(container, audio_codec, index) for index in range(num_audio)]
        extra = list(prepare(container, video))
        fill(container, extra)
        for frame, when in zip(pictures, pts, strict=True):
            frame.pts, frame.time_base = when, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for stream in audio:
            seconds = (pts[-1] + step) * time_base
            _write_audio(container, stream, max(audio_start, pts[0] * time_base), seconds)
    return path


def _audio(container: OutputContainer, codec: str, index: int) -> AudioStream:
    stream = container.add_stream(codec, rate=SAMPLE_RATE)
    assert isinstance(stream, AudioStream)
    stream.layout = "stereo"
    stream.metadata["language"] = ("eng", "fra", "deu")[index % 3]
    stream.metadata["title"] = f"Sound {index}"
    return stream


def _write_audio(container: OutputContainer, stream: AudioStream, start: Fraction, stop: Fraction) -> None:
    for first in range(round(start * SAMPLE_RATE), round(stop * SAMPLE_RATE), SAMPLES):
        phase = np.arange(first, first + SAMPLES) * (440 * (1 + stream.index) * 2 * np.pi / SAMPLE_RATE)
        samples = (np.sin(phase)[None].repeat(2, axis=0) * 0.5).astype(np.float32)
        frame = AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def text_packet(stream: Stream, text: str, start: float, stop: float) -> "Packet[Stream]":
    """Return a packet of a subtitle stream, shown from one second to another."""
    packet: Packet[Stream] = Packet(text.encode())
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = round(1000 * start)
    packet.duration = round(1000 * (stop - start))
    return packet


def chapters(container: OutputContainer, *bounds: tuple[float, float]) -> None:
    """Give a file chapters with these starts and ends, in seconds."""
    container.set_chapters(
        [
            {
                "id": number,
                "start": round(1000 * start),
                "end": round(1000 * stop),
                "time_base": Fraction(1, 1000),
                "metadata": {"title": f"Chapter {number}"},
            }
            for number, (start, stop) in enumerate(bounds, start=1)
        ]
    )
