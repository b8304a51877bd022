"""Small videos that are hard to keep whole, each in another way, made on the spot.

`MADE` holds a function for each; it writes into a folder and returns the file.
"""

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
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidx4.media.display.aperture import to_box
from vidx4.media.formats.boxes import add_to_sample_entry
from vidx4.media.probe import probe
from vidx4.video import Margins

WIDTH, HEIGHT = 96, 64
MARGINS = Margins(left=4, top=8, right=12, bottom=6)
SAMPLE_RATE, SAMPLES = 48000, 1024
ASS_HEADER = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment
Style: Default,Serif,20,&H00FFFFFF,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
TWO_HOURS = 7200

Executor = Callable[[Path], Path]
MADE: dict[str, Executor] = {}


def made(make: Executor) -> Executor:
    MADE[make.__name__] = make
    return make


def scene(num_frames: int, *, start: int = 0) -> Iterator[np.ndarray]:
    """Yield a smooth texture that moves two pixels a frame, (H, W, 3) in 16 bits."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float64)
    for index in range(start, start + num_frames):
        shift = x + 2 * index
        waves = [np.sin(shift / 9) + np.cos(y / 7), np.sin(shift / 5 + y / 11), np.cos((shift - y) / 8)]
        yield np.stack([32768 + 12000 * wave for wave in waves], axis=-1).clip(0, 65535).astype(np.uint16)


def with_aperture(path: Path) -> Path:
    """Say in an MP4 or QuickTime file that only what is inside of `MARGINS` is to be shown."""
    source = probe(path)
    path.write_bytes(add_to_sample_entry(path.read_bytes(), to_box(MARGINS, source.width, source.height)))
    return path


def shots(lengths: Sequence[int], width: int = 24, height: int = 16) -> list[VideoFrame]:
    """Return frames of shots that pan over coarse patterns of another colour each, of 100 frames at most."""
    colors, chance = ((1, 0.5, 0.1), (0.1, 0.4, 1), (0.3, 1, 0.2)), np.random.default_rng(5)
    pictures = []
    for number, length in enumerate(lengths):
        coarse = (chance.integers(0, 65535, (30, 20, 1)) * colors[number % 3]).astype(np.uint16)
        wide = coarse.repeat(4, axis=0).repeat(4, axis=1)
        pictures += [wide[i : i + height, i // 2 : i // 2 + width] for i in range(length)]
    return list(frames(map(np.ascontiguousarray, pictures)))


def uneven(num_frames: int) -> list[int]:
    """Return the times of frames that come 12.5 to 33 a second, in 1/12800 seconds."""
    steps = np.random.default_rng(5).choice([384, 512, 1024], size=num_frames)
    return [0, *np.cumsum(steps).tolist()[:-1]]


def show(
    folder: Path, lengths: Sequence[int] = (40, 9, 30, 12, 80, 7, 16, 21), name: str = "show.mkv"
) -> Path:
    """Write many shots with a variable rate, three sound tracks and subtitles."""

    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        subtitles = container.add_mux_stream("subrip")
        subtitles.metadata["language"], subtitles.time_base = "eng", Fraction(1, 1000)
        return [subtitles]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        for number in range(4):
            container.mux(text_packet(streams[0], f"Line {number}", 2.0 * number, 2.0 * number + 1.5))

    pts = uneven(sum(lengths))
    return write(folder / name, shots(lengths), pts=pts, num_audio=3, prepare=prepare, fill=fill)


def frames(pictures: Iterable[np.ndarray], pix_fmt: str = "yuv420p") -> Iterator[VideoFrame]:
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
    """Write a video with sound; `prepare` adds to it before its header is written, `fill` their packets."""
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
    packet: Packet[Stream] = Packet(text.encode())
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = round(1000 * start)
    packet.duration = round(1000 * (stop - start))
    return packet


def chapters(container: OutputContainer, *bounds: tuple[float, float]) -> None:
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


@made
def interlaced(folder: Path) -> Path:
    fields = woven(list(scene(48)))
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    return write(folder / "interlaced.mp4", frames(fields), options=options)


@made
def interlaced_without_flags(folder: Path) -> Path:
    fields = woven(list(scene(48)), top_first=False)
    return write(folder / "interlaced_without_flags.mkv", frames(fields), time_base=Fraction(1, 1000))


@made
def telecined(folder: Path) -> Path:
    pictures = pulled_down(list(scene(40)))
    rate = Fraction(30000, 1001)
    return write(folder / "telecined.mp4", frames(pictures), time_base=Fraction(1, 30000), rate=rate)


@made
def attachments_and_ass(folder: Path) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        container.metadata["title"], container.metadata["artist"] = "A film", "Somebody"
        container.add_attachment("font.ttf", "font/ttf", b"glyphs" * 100)
        chapters(container, (0, 0.4), (0.4, 1))
        ass = container.add_stream("ass")
        ass.codec_context.subtitle_header = ASS_HEADER.encode()
        srt = container.add_mux_stream("subrip")
        for stream, language in ((ass, "jpn"), (srt, "eng")):
            stream.metadata["language"], stream.time_base = language, Fraction(1, 1000)
        srt.disposition = Disposition.forced
        return [ass, srt]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        container.mux(text_packet(streams[0], "0,0,Default,,0,0,0,,{\\i1}Signs{\\i0}", 0.1, 0.5))
        container.mux(text_packet(streams[1], "<i>One</i> line", 0.2, 0.6))

    return write(
        folder / "attachments_and_ass.mkv",
        frames(scene(25)),
        time_base=Fraction(1, 1000),
        num_audio=2,
        prepare=prepare,
        fill=fill,
    )


@made
def late(folder: Path) -> Path:
    """Time stamps of a recording that ran for two hours."""
    pts = [90000 * TWO_HOURS + 3600 * index for index in range(20)]
    return write(folder / "late.ts", frames(scene(20)), time_base=Fraction(1, 90000), pts=pts)


@made
def late_mp4(folder: Path) -> Path:
    pts = [12800 * TWO_HOURS + 512 * index for index in range(20)]
    return write(folder / "late_mp4.mp4", frames(scene(20)), pts=pts)


@made
def variable(folder: Path) -> Path:
    """Jitter, a gap of a second, and a start that is not zero."""
    pts = [700, 1211, 1725, 2236, 2740, 15540, 16050, 16561, 17075, 17590, 18100, 18612]
    return write(folder / "variable.mp4", frames(scene(12)), pts=pts, num_audio=2)


@made
def early(folder: Path) -> Path:
    """Frames before zero, as an edit list brings them."""
    pts = [512 * index for index in range(-3, 17)]
    return write(folder / "early.mp4", frames(scene(20)), pts=pts)


@made
def ten_bits_422(folder: Path) -> Path:
    tags: dict[str, Any] = {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1}
    pictures = frames(scene(12), "yuv422p10le")
    return write(folder / "ten_bits_422.mov", pictures, codec="prores_ks", audio_codec="pcm_s24le", **tags)


@made
def transparent(folder: Path) -> Path:
    pictures = (np.dstack([picture >> 8, np.full(picture.shape[:2], 128)]) for picture in scene(12))
    rgba = (VideoFrame.from_ndarray(each.astype(np.uint8), format="rgba") for each in pictures)
    yuva = [frame.reformat(format="yuva420p") for frame in rgba]
    options = {"auto-alt-ref": "0"}
    return write(
        folder / "transparent.webm",
        yuva,
        codec="libvpx-vp9",
        time_base=Fraction(1, 1000),
        num_audio=1,
        audio_codec="libopus",
        options=options,
    )


@made
def mirrored(folder: Path) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        video.set_display_rotation(90, hflip=True)
        return []

    ratio = Fraction(16, 15)
    return write(folder / "mirrored.mov", frames(scene(12)), prepare=prepare, sample_aspect_ratio=ratio)


@made
def old_avi(folder: Path) -> Path:
    rate = Fraction(30000, 1001)
    return write(
        folder / "old_avi.avi",
        frames(scene(15)),
        codec="mpeg4",
        time_base=1 / rate,
        rate=rate,
        audio_codec="pcm_u8",
        options={"b": "800000"},
    )


@made
def program_stream(folder: Path) -> Path:
    return write(
        folder / "program_stream.mpg",
        frames(scene(20)),
        codec="mpeg2video",
        time_base=Fraction(1, 25),
        audio_codec="mp2",
        options={"bf": "2"},
    )


@made
def text_track(folder: Path) -> Path:
    """Subtitles as MP4 has them, chapters, and a second text track."""

    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        chapters(container, (0, 0.5), (0.5, 0.8))
        container.metadata["title"] = "A film"
        streams = [container.add_mux_stream("mov_text") for _ in range(2)]
        for stream, language in zip(streams, ("eng", "fra"), strict=True):
            stream.metadata["language"], stream.time_base = language, Fraction(1, 1000)
        return streams

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        for stream in streams:
            for number in range(2):
                text = f"Line {number} of {stream.index}"
                packet = text_packet(
                    stream, "\0" + chr(len(text)) + text, 0.1 + 0.3 * number, 0.3 + 0.3 * number
                )
                container.mux(packet)

    return write(folder / "text_track.mp4", frames(scene(20)), prepare=prepare, fill=fill)
