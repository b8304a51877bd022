"""Small videos that are hard to keep whole, each in another way, made on the spot.

`HARD_VIDEOS` has a function for each, which writes it into a folder and returns the file.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.container import OutputContainer
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tests.video_builder import (
    chapters,
    frames,
    panning_shots,
    pulled_down,
    scene,
    text_packet,
    variable_pts,
    woven,
    write,
)

ASS_HEADER = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Alignment
Style: Default,Serif,20,&H00FFFFFF,2

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
TWO_HOURS = 7200

WriteVideo = Callable[[Path], Path]
HARD_VIDEOS: dict[str, WriteVideo] = {}


def hard_video(function: WriteVideo) -> WriteVideo:
    """List a function in `HARD_VIDEOS`."""
    HARD_VIDEOS[function.__name__] = function
    return function


@hard_video
def interlaced(folder: Path) -> Path:
    fields = woven(list(scene(48)))
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    return write(folder / "interlaced.mp4", frames(fields), options=options)


@hard_video
def interlaced_without_flags(folder: Path) -> Path:
    fields = woven(list(scene(48)), top_first=False)
    return write(folder / "interlaced_without_flags.mkv", frames(fields), time_base=Fraction(1, 1000))


@hard_video
def telecined(folder: Path) -> Path:
    pictures = pulled_down(list(scene(40)))
    rate = Fraction(30000, 1001)
    return write(folder / "telecined.mp4", frames(pictures), time_base=Fraction(1, 30000), rate=rate)


@hard_video
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


@hard_video
def late(folder: Path) -> Path:
    """Write a recording whose clock has run for two hours."""
    pts = [90000 * TWO_HOURS + 3600 * index for index in range(20)]
    return write(folder / "late.ts", frames(scene(20)), time_base=Fraction(1, 90000), pts=pts)


@hard_video
def late_mp4(folder: Path) -> Path:
    pts = [12800 * TWO_HOURS + 512 * index for index in range(20)]
    return write(folder / "late_mp4.mp4", frames(scene(20)), pts=pts)


@hard_video
def variable(folder: Path) -> Path:
    """Write frames with jitter, a gap of a second, and a start that is not zero."""
    pts = [700, 1211, 1725, 2236, 2740, 15540, 16050, 16561, 17075, 17590, 18100, 18612]
    return write(folder / "variable.mp4", frames(scene(12)), pts=pts, num_audio=2)


@hard_video
def early(folder: Path) -> Path:
    """Write frames before zero, as an edit list makes them."""
    pts = [512 * index for index in range(-3, 17)]
    return write(folder / "early.mp4", frames(scene(20)), pts=pts)


@hard_video
def ten_bits_422(folder: Path) -> Path:
    tags: dict[str, Any] = {"colorspace": 9, "color_primaries": 9, "color_trc": 14, "color_range": 1}
    pictures = frames(scene(12), "yuv422p10le")
    return write(folder / "ten_bits_422.mov", pictures, codec="prores_ks", audio_codec="pcm_s24le", **tags)


@hard_video
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


@hard_video
def mirrored(folder: Path) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        video.set_display_rotation(90, hflip=True)
        return []

    ratio = Fraction(16, 15)
    return write(folder / "mirrored.mov", frames(scene(12)), prepare=prepare, sample_aspect_ratio=ratio)


@hard_video
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


@hard_video
def program_stream(folder: Path) -> Path:
    return write(
        folder / "program_stream.mpg",
        frames(scene(20)),
        codec="mpeg2video",
        time_base=Fraction(1, 25),
        audio_codec="mp2",
        options={"bf": "2"},
    )


@hard_video
def text_track(folder: Path) -> Path:
    """Write MP4 subtitles, a second track of them, and chapters."""

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


def episode(
    folder: Path, lengths: Sequence[int] = (40, 9, 30, 12, 80, 7, 16, 21), name: str = "episode.mkv"
) -> Path:
    """Write a video of many shots, with a variable rate, three sound tracks and subtitles."""

    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        subtitles = container.add_mux_stream("subrip")
        subtitles.metadata["language"], subtitles.time_base = "eng", Fraction(1, 1000)
        return [subtitles]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        for number in range(4):
            container.mux(text_packet(streams[0], f"Line {number}", 2.0 * number, 2.0 * number + 1.5))

    pts = variable_pts(sum(lengths))
    return write(folder / name, panning_shots(lengths), pts=pts, num_audio=3, prepare=prepare, fill=fill)
