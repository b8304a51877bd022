"""The flags of the command line, in groups that several commands share."""

import inspect
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import typer

from vidx4.cli.terminal import Terminal
from vidx4.errors import OptionError
from vidx4.option import check_choice

if TYPE_CHECKING:
    from vidx4.diffusion.options import UpscaleOptions
    from vidx4.media.options import EncodeOptions, ReadOptions, StreamOptions
    from vidx4.video import TimeRange

Group = Callable[..., Any]
"""A function whose parameters are flags and whose result is made from them."""

_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})")


def parse_time(text: str) -> Fraction:
    """Parse seconds or [hh:]mm:ss, both with decimals."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no time: give seconds or hh:mm:ss.ms.")
    hours, minutes, seconds = match.groups(default="0")
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)


def parse_rate(text: str) -> Fraction:
    """Parse frames per second, as in 25, 23.976 or 24000/1001."""
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise typer.BadParameter(f"{text!r} is no rate: give frames per second, as in 25 or 24000/1001.")
    return rate


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 6GB, 512MiB or 0.5 GiB.

    Raises:
        OptionError: it is none.
    """
    units = {"": 1, "K": 1, "M": 2, "G": 3, "T": 4}
    number, unit = text.strip().upper(), ""
    is_binary = number.endswith("IB")
    number = number.removesuffix("IB" if is_binary else "B").rstrip()
    if number[-1:] in units:
        number, unit = number[:-1], number[-1:]
    try:
        size = float(number) * (1024 if is_binary else 1000) ** units[unit]
    except (ValueError, KeyError):
        size = 0.0
    if not (unit and 0 < size < 2**63):
        raise OptionError(f"{text!r} is no size: write 6GB, 800MB or 7.5GiB.")
    return int(size)


def parse_output(text: str) -> Path:
    """Parse the name of an output; one that ends with a slash is a folder of numbered pictures."""
    from vidx4.media.pictures.write_sequence import DEFAULT_PATTERN

    return Path(text, DEFAULT_PATTERN) if text.endswith("/") else Path(text)


def model_flags(
    model: Annotated[str, typer.Option(help="auto, compact, sd-x4, a hub repository or a folder.")] = "auto",
    prompt: Annotated[str, typer.Option(help="What the picture shows (sd-x4).")] = "",
    negative_prompt: Annotated[str, typer.Option(help="What it does not show (sd-x4).")] = "",
    speed: Annotated[
        str, typer.Option(help="quality, balanced or fast: presets of the next five options.")
    ] = "quality",
    scheduler: Annotated[str | None, typer.Option(help="ddim, dpmpp or unipc; default as the model.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps: more give more texture.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of the prompt; 1 is none.")] = None,
    guidance_stop: Annotated[
        float | None, typer.Option(help="Share of the steps, from the first on, that are guided.")
    ] = None,
    cache_interval: Annotated[
        int | None, typer.Option(help="Compute deep features in every so many steps only (sd-x4).")
    ] = None,
    noise_level: Annotated[int | None, typer.Option(help="How much to restore: 0 trusts the source.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same picture.")] = 0,
    strength: Annotated[float, typer.Option(help="From 0, the bicubic picture, to 1, the model's.")] = 1.0,
    temporal: Annotated[
        str,
        typer.Option(
            help="How frames hold together: off (each alone: it flickers), fixed (the same noise in all) or "
            "moving (noise and detail follow the motion)."
        ),
    ] = "moving",
    consistency: Annotated[
        float | None, typer.Option(help="How firmly detail follows the motion, 0 to 1; more is softer.")
    ] = None,
    steadiness: Annotated[
        float, typer.Option(help="The same for the finished picture, on top of it, 0 to 1.")
    ] = 0.0,
    reuse_threshold: Annotated[
        float, typer.Option(help="Mean difference (of 255) up to which a frame counts as the last one.")
    ] = 0.0,
    tile_size: Annotated[
        int | None, typer.Option(help="Denoise tiles of this side (of the source), each by itself.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
    compile: Annotated[
        str, typer.Option(help="Compile the denoiser first: on, off, or auto, on a GPU where it repays.")
    ] = "auto",
    max_memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Of the device, as 6GB; frames are cut up to fit."),
    ] = None,
) -> "UpscaleOptions":
    """Return what decides how a frame looks."""
    from vidx4.diffusion.options import UpscaleOptions

    return UpscaleOptions(
        model=model,
        prompt=prompt,
        negative_prompt=negative_prompt,
        speed=speed,
        scheduler=scheduler,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        guidance_stop=guidance_stop,
        cache_interval=cache_interval,
        noise_level=noise_level,
        seed=seed,
        strength=strength,
        temporal=temporal,
        consistency=consistency,
        steadiness=steadiness,
        reuse_threshold=reuse_threshold,
        tile_size=tile_size,
        device=device,
        dtype=dtype,
        compile=compile,
        max_memory=None if max_memory is None else parse_size(max_memory),
    )


Width = Annotated[
    int | None, typer.Option(min=2, help="Of the result; default 4 times, or as --height makes it.")
]
Height = Annotated[
    int | None, typer.Option(min=2, help="Of the result; default 4 times, or as --width makes it.")
]


def size_flags(width: Width = None, height: Height = None) -> tuple[int | None, int | None]:
    """Return the width and height that are wanted of the result."""
    return width, height


def encode_flags(
    codec: Annotated[
        str,
        typer.Option(
            help="auto, h264, hevc, av1, vp9, ffv1 (lossless), prores, h264_nvenc, hevc_nvenc, av1_nvenc."
        ),
    ] = "auto",
    quality: Annotated[
        int | None,
        typer.Option(help="0 to 100, alike for all codecs: higher is better and larger; default 80."),
    ] = None,
    crf: Annotated[
        int | None, typer.Option(help="Quality in the codec's own scale: lower is better.")
    ] = None,
    encoder_preset: Annotated[
        str | None, typer.Option(help="Speed of the encoder, in its own words.")
    ] = None,
    pixel_format: Annotated[
        str | None, typer.Option(help="How pixels are stored, in FFmpeg's words: yuv422p10le ...")
    ] = None,
    bit_depth: Annotated[
        int | None, typer.Option(help="8, 10, 12 or 16 bits per colour; default as the source.")
    ] = None,
    encoder_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of FFmpeg's encoder; may be given again.")
    ] = None,
    width: Width = None,
    height: Height = None,
) -> "EncodeOptions":
    """Return how the frames are compressed."""
    from vidx4.media.options import EncodeOptions

    return EncodeOptions(
        codec,
        quality,
        crf,
        encoder_preset,
        pixel_format,
        bit_depth,
        tuple(encoder_option or ()),
        width,
        height,
    )


FrameRate = Annotated[
    Fraction | None, typer.Option(parser=parse_rate, metavar="RATE", help="Of numbered pictures; default 25.")
]


def read_flags(
    video_stream: Annotated[
        int | None, typer.Option(help="Number of the video stream to enlarge; default as players choose.")
    ] = None,
    deinterlace: Annotated[
        str,
        typer.Option(
            help="Of interlaced video: auto (frame where it is found), off, frame (as many frames) or field "
            "(twice as many)."
        ),
    ] = "auto",
    inverse_telecine: Annotated[
        str, typer.Option(help="Film with 3:2 pulldown back to 24 frames a second: auto, off or on.")
    ] = "auto",
) -> "ReadOptions":
    """Return how the video is read."""
    from vidx4.media.options import Deinterlace, InverseTelecine, ReadOptions

    check_choice("--deinterlace", deinterlace, Deinterlace)
    check_choice("--inverse-telecine", inverse_telecine, InverseTelecine)
    return ReadOptions(video_stream, Deinterlace(deinterlace), InverseTelecine(inverse_telecine))


def stream_flags(
    audio: Annotated[str, typer.Option(help="Sound to keep: all, none, or numbers of streams: 1,3.")] = "all",
    subtitles: Annotated[str, typer.Option(help="Subtitles to keep: the same.")] = "all",
) -> "StreamOptions":
    """Return which other streams are wanted."""
    from vidx4.media.options import StreamOptions

    return StreamOptions(audio, subtitles)


def span_flags(
    start: Annotated[
        Fraction | None, typer.Option(parser=parse_time, metavar="TIME", help="Begin here.")
    ] = None,
    stop: Annotated[
        Fraction | None, typer.Option(parser=parse_time, metavar="TIME", help="End here.")
    ] = None,
) -> "TimeRange":
    """Return the part of the video that is wanted."""
    from vidx4.video import TimeRange

    return TimeRange(start, stop)


def terminal_flags(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> Terminal:
    """Return what speaks to the user."""
    again = [argument for argument in sys.argv[1:] if argument != "--restart"]
    return Terminal(quiet=quiet, json=json, command=shlex.join(["vidx4", *again]))


BatchSize = Annotated[int | None, typer.Option(min=1, help="Frames that are computed together.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


@dataclass(frozen=True)
class Work:
    """How a job is gone about."""

    batch_size: int | None
    overwrite: bool
    restart: bool
    force: bool
    dry_run: bool
    report: Path | None
    strict: bool


def work_flags(
    batch_size: BatchSize = None,
    overwrite: Overwrite = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, not where an earlier run ended.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Begin though the disk seems too small, and end though something is lost."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what will be done, and what it takes.")
    ] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what was done as JSON.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail where a frame can't be decoded.")] = False,
) -> Work:
    """Return how a job is gone about."""
    return Work(batch_size, overwrite, restart, force, dry_run, report, strict)


@dataclass(frozen=True)
class Where:
    """Where the model runs."""

    cluster: str | None
    """None for this process."""
    workers: int | None
    send_model: bool


def cluster_flags(
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Spread the work over GPUs and machines by Ray: local, auto (the cluster that this machine "
            "is of), or ray://HOST:PORT.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of the cluster; default one for each GPU, or for 4 CPUs where there is none."
        ),
    ] = None,
    send_model: Annotated[
        bool,
        typer.Option(
            "--send-model", help="Send the model's files to machines that can't find them themselves."
        ),
    ] = False,
) -> Where:
    """Return where the model runs."""
    if cluster is None and (workers is not None or send_model):
        raise OptionError("--workers and --send-model are of a cluster: name one with --cluster.")
    return Where(cluster, workers, send_model)


def kinds(*groups: Group) -> dict[str, type]:
    """Return the type of each flag of some groups, by its name on the command line."""
    parameters = (each for group in groups for each in inspect.signature(group).parameters.values())
    return {each.name.replace("_", "-"): _kind(each.annotation) for each in parameters}


def _kind(annotation: Any) -> type:
    kind: type = get_args(annotation)[0]
    kind = next((each for each in get_args(kind) if each is not type(None)), kind)
    return get_origin(kind) or kind


def typed(context: typer.Context, *groups: Group) -> dict[str, Any]:
    """Return the flags of some groups that the user typed, and their values."""
    flags = {flag: flag.replace("-", "_") for flag in kinds(*groups)}
    return {flag: context.params[name] for flag, name in flags.items() if _is_typed(context, name)}


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def made(group: Group, values: Mapping[str, Any]) -> Any:
    """Return what a group makes of those values that are of its flags, and of defaults."""
    return group(**{flag.replace("-", "_"): values[flag] for flag in kinds(group) if flag in values})


def grid(sweeps: list[str]) -> list[dict[str, Any]]:
    """Return every combination of values of the model's flags, given as `noise-level=0,20`; one for no sweep.

    Raises:
        OptionError: there is no such flag, or it takes no such value.
    """
    values = dict(map(_sweep, sweeps))
    return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


def _sweep(sweep: str) -> tuple[str, list[Any]]:
    flag, _, listed = sweep.removeprefix("--").partition("=")
    texts = [text.strip() for text in listed.split(",") if text.strip()]
    if not texts:
        raise OptionError(f"{sweep!r} compares nothing: write --sweep as in noise-level=0,20,60.")
    known = kinds(model_flags)
    if flag not in known:
        raise OptionError(f"There is no option --{flag} of the model to compare.")
    try:
        return flag, [known[flag](text) for text in texts]
    except ValueError as error:
        raise OptionError(f"--{flag} takes no {listed!r}.") from error


def as_typed(values: Mapping[str, Any]) -> list[str]:
    """Return flags as they are typed."""
    return [
        f"--{flag}={each}"
        for flag, value in values.items()
        for each in (value if isinstance(value, list) else [value])
    ]
