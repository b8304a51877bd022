"""Check what enlarged copies keep of their sources.

    python -m scripts.stress.containers table               what each container keeps, as a Markdown table
    python -m scripts.stress.containers clips FOLDER ...    enlarge and verify all videos of folders
    python -m scripts.stress.containers memory              peak memory for a minute and for half an hour

`clips` adds the hard videos of the tests. Pixels are repeated four times in place of a model, so all of this
takes minutes; everything else is the program.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av
from av.packet import Packet
from av.stream import Stream

from scripts.stress.properties import LOST, PROPERTIES, Judge
from tests.hard_videos import HARD_VIDEOS
from tests.helpers import upscale_nearest
from vidx4.diffusion import host
from vidx4.errors import ContainerError, OutputError, Vidx4Error
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.checks import verify_output
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe
from vidx4.media.streams import choose_suffix
from vidx4.video import WHOLE, TimeRange

CLIP = Path(__file__).parents[2] / "samples" / "bear.webm"
"""A clip of 320x240."""
CONTAINERS = (".mp4", ".mov", ".mkv", ".webm", ".ts")
LARGE = 1280 * 720
"""Pixels of a frame from which on videos are enlarged for half a second only."""
PRESETS = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "10"}


def enlarge(path: Path, output: Path, span: TimeRange = WHOLE) -> tuple[str, ...]:
    """Enlarge a video, which verifies the output; return the warnings and the damage."""
    output.unlink(missing_ok=True)  # one of another video is not replaced
    is_deep = probe(path).bit_depth > 8
    codec = "av1" if output.suffix == ".webm" else "hevc" if is_deep else "h264"
    options = EncodeOptions(codec, encoder_preset=PRESETS[codec], crf=40)
    plan = plan_video(path, output, Request(span=span, encode=options, overwrite=True))
    report = run(Job(plan, LocalExecutor(upscale_nearest), 8), restart=True)
    return (*plan.warnings, *report.damage)


def table() -> None:
    """Print what each container keeps."""
    print(f"| | {' | '.join(CONTAINERS)} |\n|---|{'---|' * len(CONTAINERS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, write, judge in PROPERTIES:
            cells = [_cell(write(folder, suffix), folder / f"out{suffix}", judge) for suffix in CONTAINERS]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _cell(path: Path, output: Path, judge: Judge) -> str:
    """Enlarge a video; return what became of the property that it is about."""
    try:
        warnings = enlarge(path, output)
    except ContainerError:
        return "refused"
    except OutputError as error:
        return f"{LOST}: {error}"
    found = judge(path, output)
    return "dropped, with a warning" if found == LOST and warnings else found


def clips(folders: Sequence[Path]) -> bool:
    """Enlarge and verify all videos of some folders; return whether everything that can be read is kept."""
    with tempfile.TemporaryDirectory() as temporary:
        hard = [write(Path(temporary)) for write in HARD_VIDEOS.values()]
        paths = [path for folder in folders for path in sorted(folder.iterdir())]
        print("| clip | output | frames | checks | |\n|---|---|--:|--:|---|")
        all_kept = True
        for path in (*paths, *hard):
            row, is_kept = _clip(path, Path(temporary))
            print(row, flush=True)
            all_kept &= is_kept
    return all_kept


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
        return f"| {path.name} | {output.suffix} | - | {LOST} | {error} |", False
    plan = plan_video(path, output, Request(span=span, overwrite=True))
    num_frames = probe(output).num_frames
    checks = verify_output(plan.written, output)
    output.unlink()
    lost = [f"{check.subject} is {check.found}." for check in checks if not check.is_kept]
    row = f"| {path.name} | {output.suffix} | {num_frames} | {len(checks)} | {' '.join((*notes, *lost))} |"
    return row, not lost


def memory(minutes: float, rate: int) -> None:
    """Print the peak memory of a short and a long video, and their ratio."""
    short, long = peak_memory(1, rate), peak_memory(minutes, rate)
    print("| minutes | frames | peak memory |\n|--:|--:|--:|")
    for length, peak in ((1, short), (minutes, long)):
        print(f"| {length:g} | {round(60 * length * rate)} | {peak / 1024:.0f} MiB |")
    print(f"ratio {long / short:.3f}")


def peak_memory(minutes: float, rate: int) -> int:
    """Enlarge a loop in a process of its own; return its peak resident memory in KiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_loop(CLIP, Path(folder) / "loop.mkv", minutes, rate)
        program = [sys.executable, "-m", "scripts.stress.containers"]
        command = [*program, "one", str(path), str(Path(folder) / "out.mkv")]
        return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def write_loop(clip: Path, path: Path, minutes: float, rate: int) -> Path:
    """Write a clip's frames over and over, without sound, for so many minutes."""
    with av.open(str(clip)) as container, av.open(str(path), "w") as output:
        copy = output.add_stream_from_template(container.streams.video[0], opaque=True)
        payloads = [(bytes(packet), packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
        for index, (payload, is_keyframe) in zip(
            range(round(60 * minutes * rate)), cycle(payloads), strict=False
        ):
            packet: Packet[Stream] = Packet(payload)
            packet.stream, packet.time_base = copy, Fraction(1, rate)
            packet.pts = packet.dts = index
            packet.is_keyframe = is_keyframe
            output.mux(packet)
    return path


def one(path: Path, output: Path) -> None:
    """Enlarge a video; print the peak resident memory of this process in KiB."""
    enlarge(path, output)
    print(host.peak_memory() // 1024)


def main() -> None:
    """Parse the arguments and run one command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("table")
    commands.add_parser("clips").add_argument("folders", nargs="*", type=Path)
    peak = commands.add_parser("memory")
    peak.add_argument("--minutes", type=float, default=30)
    peak.add_argument("--rate", type=int, default=10, help="frames a second")
    single = commands.add_parser("one", help="one video, for `memory`")
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
