"""Properties of a video that containers may keep: a source with each, and a judge of its copy."""

from collections.abc import Callable, Sequence
from dataclasses import astuple
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from tests.captioned import captioned, decoded_captions
from tests.video_builder import chapters, frames, scene, text_packet, with_aperture, write
from vidx4.appearance import Projection, Sphere, Stereo, StereoLayout
from vidx4.frames import SCALE
from vidx4.media.display.hdr import is_same_hdr
from vidx4.media.display.immersive import to_boxes
from vidx4.media.formats.boxes import append_to_sample_entry
from vidx4.media.probe import probe

HDR10 = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
MILLISECOND = Fraction(1, 1000)
LOST = "lost"

Source = Callable[[Path, str], Path]
"""Writes a video into a folder, for a copy with a suffix such as `.mp4`; returns the file."""
Judge = Callable[[Path, Path], str]
"""Compares a source and its copy; returns a table cell, `LOST` if the copy lacks the property."""
Property = tuple[str, Source, Judge]

SOUNDS = (
    ("AAC", "aac"),
    ("AC-3", "ac3"),
    ("Opus", "libopus"),
    ("MP3", "libmp3lame"),
    ("FLAC", "flac"),
    ("16-bit PCM", "pcm_s16le"),
    ("8-bit PCM", "pcm_u8"),
)
TEXTS = (("SRT", "subrip"), ("MP4 text", "mov_text"), ("WebVTT", "webvtt"), ("ASS", "ass"))


def _times(path: Path, output: Path) -> str:
    source, copy = probe(path), probe(output)
    shift = copy.pts[0] * copy.time_base - source.pts[0] * source.time_base
    worst = max(
        abs(a * source.time_base + shift - b * copy.time_base)
        for a, b in zip(source.pts, copy.pts, strict=True)
    )
    moved = "" if abs(shift) <= MILLISECOND else f", {float(shift):+.0f} s"
    return f"exact{moved}" if worst == 0 else f"within {copy.time_base} s{moved}"


def _stream(kind: str, path: Path, output: Path) -> str:
    given, kept = (_payloads(each, kind) for each in (path, output))
    if not kept:
        return LOST
    codecs = [next(s.codec for s in probe(each).streams if s.kind == kind) for each in (path, output)]
    if given == kept:
        return "byte for byte"
    return f"as {codecs[1]}" if codecs[0] != codecs[1] else "the same content"


def _payloads(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams if stream.type == kind]
        return (
            [bytes(p) for p in container.demux(streams[:1]) if p.size and bytes(p) != b"\0\0"]
            if streams
            else []
        )


def _equal(read: Callable[[Path], object], path: Path, output: Path) -> str:
    return "kept" if read(path) == read(output) else LOST


def _title(path: Path) -> object:
    with av.open(str(path)) as container:
        return container.metadata.get("title")


def _stream_title(path: Path) -> object:
    with av.open(str(path)) as container:
        metadata = container.streams.audio[0].metadata
        return metadata.get("title") or metadata.get("handler_name")


def _language(path: Path) -> object:
    with av.open(str(path)) as container:
        return container.streams.audio[0].metadata.get("language")


def _chapters(path: Path) -> object:
    with av.open(str(path)) as container:
        times = [
            (c["start"] * Fraction(c["time_base"] or 1), c["metadata"].get("title"))
            for c in container.chapters()
        ]
        return [(round(1000 * time), title) for time, title in times]


def _attachment(path: Path) -> object:
    with av.open(str(path)) as container:
        return [bytes(stream.data or b"") for stream in container.streams.attachments]


def _cover(path: Path) -> object:
    with av.open(str(path)) as container:
        covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
        return [bytes(next(container.demux(cover))) for cover in covers]


def _pixel_shape(path: Path) -> object:
    return probe(path).sample_aspect_ratio


def _aperture(path: Path, output: Path) -> str:
    given, kept = (astuple(probe(each).margins) for each in (path, output))
    return "kept" if tuple(SCALE * width for width in given) == kept else LOST


def _rotation(path: Path, output: Path) -> str:
    source, copy = probe(path), probe(output)
    if source.display_matrix == copy.display_matrix:
        return "kept"
    turned = (copy.height, copy.width) == (SCALE * source.width, SCALE * source.height)
    return "applied" if turned and copy.display_matrix is None else LOST


def _colors(path: Path) -> object:
    color = probe(path).color
    return color.matrix, color.primaries, color.transfer, color.full_range


def _hdr(path: Path, output: Path) -> str:
    return "kept" if is_same_hdr(probe(path).hdr, probe(output).hdr) else LOST


def _sphere_and_stereo(path: Path) -> object:
    source = probe(path)
    return source.sphere, source.stereo


def _captions(path: Path) -> object:
    return [triplets for _, triplets in decoded_captions(path)]


def _plain(folder: Path, name: str = "plain.mp4", **options: object) -> Path:
    return write(folder / name, frames(scene(8)), **{"num_audio": 0, **options})  # type: ignore[arg-type]


def _with_sound(codec: str, folder: Path, suffix: str) -> Path:
    return _plain(folder, f"{codec}.mkv", num_audio=1, audio_codec=codec, time_base=MILLISECOND)


def _with_subtitles(codec: str, folder: Path, suffix: str) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        stream = container.add_mux_stream(codec)
        stream.time_base = MILLISECOND
        return [stream]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        if codec == "mov_text":
            container.mux(text_packet(streams[0], "\0\4Text", 0.1, 0.2))
        else:
            container.mux(text_packet(streams[0], "Text", 0.1, 0.2))

    name = f"{codec}{'.mp4' if codec == 'mov_text' else '.mkv'}"
    time_base = Fraction(1, 12800 if codec == "mov_text" else 1000)
    return _plain(folder, name, prepare=prepare, fill=fill, time_base=time_base)


def _with_metadata(folder: Path, suffix: str) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        container.metadata["title"] = "A film"
        chapters(container, (0, 0.1), (0.1, 0.3))
        return []

    return _plain(
        folder,
        "described.mkv",
        prepare=prepare,
        time_base=MILLISECOND,
        num_audio=1,
        audio_codec="libopus" if suffix == ".webm" else "aac",
    )


def _with_font(folder: Path, suffix: str) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        container.add_attachment("font.ttf", "font/ttf", b"glyphs")
        return []

    return _plain(folder, "font.mkv", prepare=prepare, time_base=MILLISECOND)


def _with_cover(folder: Path, suffix: str) -> Path:
    picture = write(
        folder / "cover.avi",
        frames(scene(1), "yuvj420p"),
        codec="mjpeg",
        num_audio=0,
        time_base=Fraction(1, 25),
        color_range=2,
    )
    with av.open(str(picture)) as container:
        jpeg = bytes(next(container.demux(video=0)))

    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        container.add_attachment("cover.jpg", "image/jpeg", jpeg)
        return []

    return _plain(folder, "cover.mkv", prepare=prepare, time_base=MILLISECOND)


def _rotated(folder: Path, suffix: str) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        video.set_display_rotation(90, hflip=True)
        return []

    return _plain(folder, "turned.mp4", prepare=prepare)


def _with_color_tags(folder: Path, suffix: str) -> Path:
    return _plain(folder, "tagged.mp4", colorspace=9, color_primaries=9, color_trc=14, color_range=2)


def _with_hdr10(folder: Path, suffix: str) -> Path:
    params = f"log-level=error:hdr10=1:master-display={HDR10}:max-cll=1000,400"
    tags: dict[str, Any] = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    pictures = frames(scene(8), "yuv420p10le")
    return write(
        folder / "hdr10.mkv", pictures, codec="libx265", num_audio=0, time_base=MILLISECOND,
        options={"x265-params": params}, **tags,
    )  # fmt: skip


def _immersive(folder: Path, suffix: str) -> Path:
    path = _plain(folder, "immersive.mp4")
    sphere = Sphere(Projection.EQUIRECTANGULAR, orientation=(90 << 16, 0, 0))
    append_to_sample_entry(path, to_boxes(sphere, Stereo(StereoLayout.TOP_BOTTOM)))
    return path


def _with_captions(folder: Path, suffix: str) -> Path:
    return captioned(folder / "captioned.mpg")


def _anamorphic(folder: Path, suffix: str) -> Path:
    return _plain(folder, "shape.mp4", sample_aspect_ratio=Fraction(16, 15))


def _with_aperture(folder: Path, suffix: str) -> Path:
    return with_aperture(_plain(folder, "cropped.mp4"))


def _variable_rate(folder: Path, suffix: str) -> Path:
    return _plain(folder, "variable.mp4", pts=[12345, 12901, 13400, 14007, 14500, 20000, 20513, 21111])


PROPERTIES: list[Property] = [
    ("times of frames", _variable_rate, _times),
    *((f"{name} sound", partial(_with_sound, codec), partial(_stream, "audio")) for name, codec in SOUNDS),
    *((f"{name} subtitles", partial(_with_subtitles, codec), partial(_stream, "subtitle")) for name, codec in TEXTS),  # noqa: E501
    ("fonts", _with_font, partial(_equal, _attachment)),
    ("cover", _with_cover, partial(_equal, _cover)),
    ("chapters", _with_metadata, partial(_equal, _chapters)),
    ("title", _with_metadata, partial(_equal, _title)),
    ("titles of streams", _with_metadata, partial(_equal, _stream_title)),
    ("languages", _with_metadata, partial(_equal, _language)),
    ("shape of pixels", _anamorphic, partial(_equal, _pixel_shape)),
    ("clean aperture", _with_aperture, _aperture),
    ("rotation, mirror", _rotated, _rotation),
    ("colour tags, range", _with_color_tags, partial(_equal, _colors)),
    ("HDR10 metadata", _with_hdr10, _hdr),
    ("360 degrees, stereo", _immersive, partial(_equal, _sphere_and_stereo)),
    ("closed captions", _with_captions, partial(_equal, _captions)),
]  # fmt: skip
