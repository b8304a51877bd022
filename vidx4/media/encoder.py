"""Choose an encoder and its settings, and start it."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import get_native_id
from typing import cast

from av.codec import Codec, CodecContext
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat

from vidx4.errors import OptionError
from vidx4.media.formats.encoder_files import FILE_OPTIONS, PARAMETER_LISTS, PLAIN_OPTIONS
from vidx4.media.formats.encoders import CODECS, ENCODERS, NUM_THREADS, Encoder, is_installed
from vidx4.media.options import DEFAULT_QUALITY, EncodeOptions

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to the terminal, and only heeds this

_MACROBLOCK = 16
_H264_MAX_MACROBLOCKS = 36864
"""The largest picture of level 5.2 (ITU-T H.264, table A-1), the highest that players commonly support."""
_H264_MAX_SIDE = 4096
"""The longest side that hardware commonly decodes; level 5.2 itself ends at 8688."""
_TEXTS = ("BINARY", "DICT", "STRING")
"""Types of FFmpeg's options whose values libraries may read as they like."""
_PRORES_PROFILES = ((25, "proxy"), (50, "lt"), (75, "standard"), (100, "hq"))
"""The highest quality for which each profile is chosen, and FFmpeg's name of it."""


@dataclass(frozen=True)
class EncoderSettings:
    """An encoder and its settings, as FFmpeg takes them."""

    codec: str
    encoder: str
    pix_fmt: str
    options: Mapping[str, str]
    num_threads: int = NUM_THREADS

    @property
    def bitstream(self) -> str:
        """FFmpeg's name of the codec, whatever encodes it."""
        return self.codec.removesuffix("_nvenc")

    @property
    def bit_depth(self) -> int:
        """Bits per component."""
        return max(component.bits for component in VideoFormat(self.pix_fmt).components)


def resolve(
    options: EncodeOptions, width: int, height: int, bit_depth: int, *, held: tuple[str, ...] = CODECS
) -> EncoderSettings:
    """Return the encoder and the settings for pictures of some size and depth.

    Args:
        options: what the user wants.
        width: the width of the finished picture in pixels.
        height: the height of the finished picture in pixels.
        bit_depth: bits per component of the source.
        held: the codecs that the container can hold; `auto` chooses among them.

    Raises:
        OptionError: the options don't fit the codec, the size or each other, or the encoder is not installed.
    """
    codec = _best_codec(width, height, bit_depth, held) if options.codec == "auto" else options.codec
    encoder = ENCODERS[codec]
    if not is_installed(encoder.name):
        raise OptionError(f"The installed PyAV lacks the encoder {encoder.name}: choose another codec.")
    _check_size(codec, encoder, width, height)
    pix_fmt = _pixel_format(codec, encoder, options, bit_depth)
    settings = {**_rate(codec, encoder, options, pix_fmt), **_preset(codec, encoder, options.encoder_preset)}
    settings |= dict(encoder.options)
    return EncoderSettings(codec, encoder.name, pix_fmt, settings | _user_options(encoder, options))


def _best_codec(width: int, height: int, bit_depth: int, held: tuple[str, ...]) -> str:
    macroblocks = -(-width // _MACROBLOCK) * -(-height // _MACROBLOCK)
    fits = macroblocks <= _H264_MAX_MACROBLOCKS and max(width, height) <= _H264_MAX_SIDE
    wanted = ("h264", "hevc") if fits and bit_depth <= 8 else ("hevc",)
    return next((codec for codec in wanted if codec in held), held[0])


def _check_size(codec: str, encoder: Encoder, width: int, height: int) -> None:
    if max(width, height) > encoder.max_side or width * height > encoder.max_pixels:
        raise OptionError(
            f"A picture of {width}x{height} is too large for {codec}: make it smaller with --height, or use "
            "the codec ffv1."
        )


def _pixel_format(codec: str, encoder: Encoder, options: EncodeOptions, bit_depth: int) -> str:
    if options.pixel_format is None:
        return _default_format(codec, encoder, options.bit_depth, bit_depth)
    takes = [pix_fmt.name for pix_fmt in Codec(encoder.name, "w").video_formats or []]
    if options.pixel_format not in takes:
        raise OptionError(
            f"{codec} does not support the pixel format {options.pixel_format!r}, only {', '.join(takes)}."
        )
    bits = VideoFormat(options.pixel_format).components[0].bits
    if options.bit_depth not in (None, bits):
        raise OptionError(
            f"The pixel format {options.pixel_format} has {bits} bits, not {options.bit_depth}."
        )
    return options.pixel_format


def _default_format(codec: str, encoder: Encoder, wanted: int | None, bit_depth: int) -> str:
    depths = encoder.depths
    if wanted is not None and wanted not in depths:
        raise OptionError(f"{codec} supports {' or '.join(map(str, depths))} bits, not {wanted}.")
    enough = (bits for bits in depths if bits >= bit_depth)
    end = depths[wanted or next(enough, max(depths))]
    if encoder.chroma == "rgb" or end.startswith("p0"):
        return end
    return f"yuv{encoder.chroma}{end}"


def _rate(codec: str, encoder: Encoder, options: EncodeOptions, pix_fmt: str) -> dict[str, str]:
    quality = DEFAULT_QUALITY if options.quality is None else options.quality
    if options.quality is not None and options.crf is not None:
        raise OptionError("Use either --quality or --crf, not both.")
    if not 0 <= quality <= 100:
        raise OptionError(f"--quality {quality} is out of range: use 0 to 100.")
    if codec == "prores":
        return _prores_profile(options, quality, pix_fmt)
    if encoder.crf is None:
        if options.crf is not None or options.quality is not None:
            raise OptionError(
                f"{codec} is lossless and has no {'--quality' if options.crf is None else '--crf'}."
            )
        return {}
    crf = options.crf
    if crf is None:
        crf = round(encoder.crf + (DEFAULT_QUALITY - quality) * encoder.crf_per_quality)
    if not encoder.min_crf <= crf <= encoder.max_crf:
        raise OptionError(
            f"--crf {crf} is out of range: {codec} takes {encoder.min_crf} to {encoder.max_crf}."
        )
    return {encoder.crf_option: str(crf)}


def _prores_profile(options: EncodeOptions, quality: int, pix_fmt: str) -> dict[str, str]:
    if options.crf is not None:
        raise OptionError("prores has no --crf: its profile is chosen by --quality.")
    if "444" in pix_fmt:
        return {"profile": "4444"}
    return {"profile": next(name for most, name in _PRORES_PROFILES if quality <= most)}


def _preset(codec: str, encoder: Encoder, preset: str | None) -> dict[str, str]:
    if encoder.preset is None:
        if preset is not None:
            raise OptionError(f"{codec} has no presets.")
        return {}
    if preset is not None and preset not in encoder.presets:
        raise OptionError(f"{codec} has no preset {preset!r}; its presets are {', '.join(encoder.presets)}.")
    return {encoder.preset_option: preset or encoder.preset}


def _user_options(encoder: Encoder, options: EncodeOptions) -> dict[str, str]:
    """Return the options that the user gives to the encoder itself; lists of parameters extend ours."""
    if not options.encoder_options:
        return {}
    supported = CodecContext.create(encoder.name, "w").supported_options
    known = {option.name: option.type for option in (*supported.generic, *supported.private)}
    own: dict[str, str] = {}
    for text in options.encoder_options:
        key, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"--encoder-option takes key=value, not {text!r}.")
        if key not in known:
            raise OptionError(f"The encoder {encoder.name} has no option {key!r}.")
        if (
            getattr(known[key], "name", "STRING") in _TEXTS
            and key not in FILE_OPTIONS | PARAMETER_LISTS | PLAIN_OPTIONS
        ):
            raise OptionError(f"The encoder's option {key!r} can't be given: it may name a file.")
        own |= merged({key: encoder.options.get(key, "")} | own, {key: value})
    return own


def merged(options: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return options of an encoder with others added; lists of parameters (`x265-params`) are joined."""
    joined = {
        key: f"{options[key]}:{value}" if key.endswith("-params") and options.get(key) else value
        for key, value in more.items()
    }
    return {**options, **joined}


def try_out(settings: EncoderSettings, width: int, height: int) -> None:
    """Check that an encoder starts.

    Raises:
        OptionError: it does not: an option has a value that it refuses, or its hardware is missing.
    """
    context = cast(VideoCodecContext, CodecContext.create(settings.encoder, "w"))
    context.width, context.height, context.pix_fmt = width, height, settings.pix_fmt
    context.time_base = Fraction(1, 25)
    context.options = dict(settings.options)
    try:
        start(context)
    except FFmpegError as error:
        advice = "it needs an NVIDIA GPU with NVENC" if "nvenc" in settings.encoder else "check its options"
        raise OptionError(
            f"The encoder {settings.encoder} does not start ({error.strerror}): {advice}."
        ) from error


def start(context: VideoCodecContext) -> None:
    """Start an encoder that has all its settings, without a change of how threads are scheduled.

    If SVT-AV1 is started by root, it gives its threads and the calling one the highest real-time priority: on
    two cores, nothing else on the machine would run.

    Raises:
        FFmpegError: it does not start.
    """
    if sys.platform != "linux":
        context.open()
        return
    policy, priority, before = os.sched_getscheduler(0), os.sched_getparam(0), _threads()
    try:
        context.open()
    finally:
        for thread in {*(_threads() - before), get_native_id()}:
            with suppress(ProcessLookupError):  # the thread has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, priority)


def _threads() -> set[int]:
    """Return the system's numbers of this process's threads."""
    return {int(each.name) for each in Path("/proc/self/task").iterdir()}
