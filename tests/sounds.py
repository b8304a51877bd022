"""Audio files, and the samples decoded from them."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from numpy.typing import NDArray

from vidx4.media.container import BITEXACT, AnyPacket
from vidx4.media.tracks.timeline import Cut
from vidx4.video import WHOLE, TimeRange

Read = Callable[[InputContainer, Stream, Stream, Cut], Iterator[AnyPacket]]
WHOLE_CUT = Cut(Fraction(0), Fraction(100), WHOLE, Fraction(0))


def part(start: Fraction, stop: Fraction) -> Cut:
    """Return the cut from one second to another."""
    return Cut(start, stop, TimeRange(start, stop), start)


def write_sound(
    path: Path,
    codec: str,
    rate: int = 44100,
    layout: str = "stereo",
    seconds: float = 2,
    gap: int = 0,
    options: dict[str, str] | None = None,
) -> None:
    """Write a sweep; `gap` samples are missing after the first half second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        assert isinstance(stream, AudioStream)
        resampler = AudioResampler(stream.format, layout, rate)
        times = np.arange(round(seconds * rate)) / rate
        phases = 2 * np.pi * (300 + 400 * times) * times
        wave = np.stack([0.5 * np.sin(phases + n) for n in range(len(stream.layout.channels))])
        for start in range(0, len(times), 1000):
            samples = np.ascontiguousarray(wave[:, start : start + 1000].astype(np.float32))
            frame = AudioFrame.from_ndarray(samples, "fltp", layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = start + (gap if start >= rate // 2 else 0)
            for each in resampler.resample(frame):
                container.mux(stream.encode(each))
        container.mux(stream.encode(None))


def rewrite(
    source: Path,
    target: Path,
    cut: Cut,
    add: Callable[[OutputContainer, Stream], Stream],
    read: Read,
) -> None:
    """Write the first stream of a file to another, by functions under test."""
    with av.open(str(source)) as original, av.open(str(target), "w", container_options=BITEXACT) as output:
        stream = original.streams[0]
        copy = add(output, stream)
        output.start_encoding()
        for packet in read(original, stream, copy, cut):
            output.mux(packet)


def hear(path: Path) -> tuple[Fraction, NDArray[np.float64]]:
    """Decode a sound; return its start in seconds, and its samples from -1 to 1, (channels, n)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    pieces = [_values(frame) for frame in frames]
    assert frames[0].pts is not None
    return frames[0].pts * Fraction(frames[0].time_base or 1), np.concatenate(pieces, axis=1)


def _values(frame: AudioFrame) -> NDArray[np.float64]:
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    return np.asarray(samples / half - (1 if samples.dtype.kind == "u" else 0), np.float64)
