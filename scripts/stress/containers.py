"""Tell what enlarged copies keep of their sources.

    python -m scripts.stress.containers table               what each container keeps, as a table
    python -m scripts.stress.containers clips FOLDER ...    all videos of folders, and the made ones, verified
    python -m scripts.stress.containers memory              peak memory for a minute and for half an hour

Pixels are repeated four times in place of a model, so both are done in minutes; the rest is the program.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import astuple
from fractions import Fraction
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import av
import torch
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from tests.hard_videos import MADE, chapters, frames, scene, text_packet, with_aperture, write
from vidx4.errors import OutputError, Vidx4Error
from vidx4.frames import SCALE, FrameBatch
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.checks import verify_output
from vidx4.media.display.hdr import is_same_hdr
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe
from vidx4.media.streams import choose_suffix
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.video import WHOLE, TimeRange

CLIP = Path(__file__).parents[2] / "samples" / "bear.webm"
"""320x240."""
CONTAINERS = (".mp4", ".mov", ".mkv", ".webm", ".ts")
LARGE = 1280 * 720
"""Videos from this many pixels on are enlarged for half a second only."""
PRESETS = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "10"}
HDR10 = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"

Judge = Callable[[Path, Path], str]


def nearest(batch: FrameBatch, state: ShotState | None) -> Upscaled:
    """Repeat every pixel four by four times."""
    pixels = batch.data.numpy().repeat(SCALE, axis=2).repeat(SCALE, axis=3)
    return Upscaled(FrameBatch(torch.from_numpy(pixels), batch.pts), state)


def enlarge(path: Path, output: Path, span: TimeRange = WHOLE) -> tuple[str, ...]:
    """Enlarge a video, which verifies the output; return what was said of it."""
    deep = probe(path).bit_depth > 8
    codec = "av1" if output.suffix == ".webm" else "hevc" if deep else "h264"
    options = EncodeOptions(codec, encoder_preset=PRESETS[codec], crf=40)
    plan = plan_video(path, output, Request(span=span, encode=options, overwrite=True))
    report = run(Job(plan, LocalExecutor(nearest), 8), restart=True)
    return (*plan.warnings, *report.damage)


def clips(folders: Sequence[Path]) -> bool:
    """Enlarge and verify all videos of some folders; return whether all that can be read are kept."""
    with tempfile.TemporaryDirectory() as temporary:
        made = [make(Path(temporary)) for make in MADE.values()]
        paths = [path for folder in folders for path in sorted(folder.iterdir())]
        print("| clip | output | frames | checks | |\n|---|---|--:|--:|---|")
        is_well = True
        for path in (*paths, *made):
            row, is_kept = _clip(path, Path(temporary))
            print(row, flush=True)
            is_well &= is_kept
    return is_well


def _clip(path: Path, folder: Path) -> tuple[str, bool]:
    try:
        source = probe(path)
    except Vidx4Error as error:
        return f"| {path.name} | - | - | - | {error} |".replace(str(path), "it"), True
    output = folder / f"out_{path.stem}{choose_suffix(source)}"
    span = WHOLE
    if source.width * source.height >= LARGE and source.duration > 1:
        span = TimeRange(Fraction(1, 4), Fraction(3, 4))
    try:
        notes = enlarge(path, output, span)
    except Vidx4Error as error:
        return f"| {path.name} | {output.suffix} | - | lost | {error} |", False
    plan = plan_video(path, output, Request(span=span, overwrite=True))
    num_frames = probe(output).num_frames
    checks = verify_output(plan.written, output)
    output.unlink()
    lost = [f"{check.subject} is {check.found}." for check in checks if not check.is_kept]
    row = f"| {path.name} | {output.suffix} | {num_frames} | {len(checks)} | {' '.join((*notes, *lost))} |"
    return row, not lost


def table() -> None:
    """Print what each container keeps."""
    print(f"| | {' | '.join(CONTAINERS)} |\n|---|{'---|' * len(CONTAINERS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, make, judge in PROPERTIES:
            cells = [_judged(make(folder, suffix), folder / f"out{suffix}", judge) for suffix in CONTAINERS]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _judged(path: Path, output: Path, judge: Judge) -> str:
    try:
        notes = enlarge(path, output)
    except OutputError as error:
        return "refused" if "can't hold" in str(error) or "can't tell" in str(error) else f"lost: {error}"
    if any("left out" in note for note in notes):
        return "left out, told"
    found = judge(path, output)
    return "left out, told" if found == "lost" and any("holds no" in note for note in notes) else found


def _times(path: Path, output: Path) -> str:
    source, copy = probe(path), probe(output)
    shift = copy.pts[0] * copy.time_base - source.pts[0] * source.time_base
    worst = max(
        abs(a * source.time_base + shift - b * copy.time_base)
        for a, b in zip(source.pts, copy.pts, strict=True)
    )
    moved = "" if abs(shift) <= Fraction(1, 1000) else f", {float(shift):+.0f} s"
    return f"exact{moved}" if worst == 0 else f"within {copy.time_base} s{moved}"


def _stream_kept(kind: str, path: Path, output: Path) -> str:
    given, kept = (_payloads(each, kind) for each in (path, output))
    if not kept:
        return "lost"
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
    return "kept" if read(path) == read(output) else "lost"


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


def _shape(path: Path) -> object:
    return probe(path).sample_aspect_ratio


def _aperture(path: Path, output: Path) -> str:
    given, kept = (astuple(probe(each).margins) for each in (path, output))
    return "kept" if tuple(SCALE * width for width in given) == kept else "lost"


def _matrix(path: Path, output: Path) -> str:
    source, copy = probe(path), probe(output)
    if source.display_matrix == copy.display_matrix:
        return "kept"
    turned = (copy.height, copy.width) == (SCALE * source.width, SCALE * source.height)
    return "applied" if turned and copy.display_matrix is None else "lost"


def _colors(path: Path) -> object:
    color = probe(path).color
    return color.matrix, color.primaries, color.transfer, color.full_range


def _hdr(path: Path, output: Path) -> str:
    return "kept" if is_same_hdr(probe(path).hdr, probe(output).hdr) else "lost"


def _plain(folder: Path, name: str = "plain.mp4", **options: object) -> Path:
    return write(folder / name, frames(scene(8)), **{"num_audio": 0, **options})  # type: ignore[arg-type]


def _sound(codec: str, folder: Path, suffix: str) -> Path:
    return _plain(folder, f"{codec}.mkv", num_audio=1, audio_codec=codec, time_base=Fraction(1, 1000))


def _text(codec: str, folder: Path, suffix: str) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        stream = container.add_mux_stream(codec)
        stream.time_base = Fraction(1, 1000)
        return [stream]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        if codec == "mov_text":
            container.mux(text_packet(streams[0], "\0\4Text", 0.1, 0.2))
        else:
            container.mux(text_packet(streams[0], "Text", 0.1, 0.2))

    name = f"{codec}{'.mp4' if codec == 'mov_text' else '.mkv'}"
    time_base = Fraction(1, 12800 if codec == "mov_text" else 1000)
    return _plain(folder, name, prepare=prepare, fill=fill, time_base=time_base)


def _described(folder: Path, suffix: str) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        container.metadata["title"] = "A film"
        chapters(container, (0, 0.1), (0.1, 0.3))
        return []

    return _plain(
        folder,
        "described.mkv",
        prepare=prepare,
        time_base=Fraction(1, 1000),
        num_audio=1,
        audio_codec="libopus" if suffix == ".webm" else "aac",
    )


def _with_font(folder: Path, suffix: str) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        container.add_attachment("font.ttf", "font/ttf", b"glyphs")
        return []

    return _plain(folder, "font.mkv", prepare=prepare, time_base=Fraction(1, 1000))


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

    return _plain(folder, "cover.mkv", prepare=prepare, time_base=Fraction(1, 1000))


def _turned(folder: Path, suffix: str) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        video.set_display_rotation(90, hflip=True)
        return []

    return _plain(folder, "turned.mp4", prepare=prepare)


def _tagged(folder: Path, suffix: str) -> Path:
    return _plain(folder, "tagged.mp4", colorspace=9, color_primaries=9, color_trc=14, color_range=2)


def _hdr10(folder: Path, suffix: str) -> Path:
    params = f"log-level=error:hdr10=1:master-display={HDR10}:max-cll=1000,400"
    tags: dict[str, Any] = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}
    pictures = frames(scene(8), "yuv420p10le")
    return write(
        folder / "hdr10.mkv", pictures, codec="libx265", num_audio=0, time_base=Fraction(1, 1000),
        options={"x265-params": params}, **tags,
    )  # fmt: skip


def _anamorphic(folder: Path, suffix: str) -> Path:
    return _plain(folder, "shape.mp4", sample_aspect_ratio=Fraction(16, 15))


def _cropped(folder: Path, suffix: str) -> Path:
    return with_aperture(_plain(folder, "cropped.mp4"))


def _variable(folder: Path, suffix: str) -> Path:
    return _plain(folder, "variable.mp4", pts=[12345, 12901, 13400, 14007, 14500, 20000, 20513, 21111])


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


def loop(clip: Path, path: Path, minutes: float, rate: int) -> Path:
    """Write a clip's frames over and over, without sound, for so many minutes."""
    with av.open(str(clip)) as container, av.open(str(path), "w") as output:
        copy = output.add_stream_from_template(container.streams.video[0], opaque=True)
        payloads = [(bytes(packet), packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
        for index, (payload, _) in zip(range(round(60 * minutes * rate)), cycle(payloads), strict=False):
            packet: Packet[Stream] = Packet(payload)
            packet.stream, packet.time_base = copy, Fraction(1, rate)
            packet.pts = packet.dts = index
            packet.is_keyframe = payloads[index % len(payloads)][1]
            output.mux(packet)
    return path


def peak_memory(minutes: float, rate: int) -> int:
    """Enlarge a loop in a process of its own; return its peak resident memory in KiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = loop(CLIP, Path(folder) / "loop.mkv", minutes, rate)
        program = [sys.executable, "-m", "scripts.stress.containers"]
        command = [*program, "one", str(path), str(Path(folder) / "out.mkv")]
        return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def one(path: Path, output: Path) -> None:
    enlarge(path, output)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def memory(minutes: float, rate: int) -> None:
    """Print the peak memory of a short and a long video, and their ratio."""
    short, long = peak_memory(1, rate), peak_memory(minutes, rate)
    print("| minutes | frames | peak memory |\n|--:|--:|--:|")
    for length, peak in ((1, short), (minutes, long)):
        print(f"| {length:g} | {round(60 * length * rate)} | {peak / 1024:.0f} MiB |")
    print(f"ratio {long / short:.3f}")


Row = tuple[str, Callable[[Path, str], Path], Judge]
PROPERTIES: list[Row] = [
    ("times of frames", _variable, _times),
    *((f"{name} sound", partial(_sound, codec), partial(_stream_kept, "audio")) for name, codec in SOUNDS),
    *((f"{name} subtitles", partial(_text, codec), partial(_stream_kept, "subtitle")) for name, codec in TEXTS),  # noqa: E501
    ("fonts", _with_font, partial(_equal, _attachment)),
    ("cover", _with_cover, partial(_equal, _cover)),
    ("chapters", _described, partial(_equal, _chapters)),
    ("title", _described, partial(_equal, _title)),
    ("titles of streams", _described, partial(_equal, _stream_title)),
    ("languages", _described, partial(_equal, _language)),
    ("shape of pixels", _anamorphic, partial(_equal, _shape)),
    ("clean aperture", _cropped, _aperture),
    ("rotation, mirror", _turned, _matrix),
    ("colour tags, range", _tagged, partial(_equal, _colors)),
    ("HDR10 metadata", _hdr10, _hdr),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("table")
    commands.add_parser("clips").add_argument("folders", nargs="*", type=Path)
    peak = commands.add_parser("memory")
    peak.add_argument("--minutes", type=float, default=30)
    peak.add_argument("--rate", type=int, default=10, help="frames a second")
    single = commands.add_parser("one")
    single.add_argument("path", type=Path)
    single.add_argument("output", type=Path)
    arguments = parser.parse_args()
    match arguments.command:
        case "table":
            table()
        case "clips":
            sys.exit(not clips(arguments.folders))
        case "memory":
            memory(arguments.minutes, arguments.rate)
        case "one":
            one(arguments.path, arguments.output)


if __name__ == "__main__":
    main()
