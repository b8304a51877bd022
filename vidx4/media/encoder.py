"""Which encoder compresses a picture, and with which settings."""

import os
from dataclasses import dataclass

from av.codec import Codec
from av.codec.codec import UnknownCodecError

from vidx4.errors import OptionError

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to the terminal by itself, and asks only this

_NUM_THREADS = 8
"""Fixed, since what an encoder writes may depend on the number of its threads."""
_MACROBLOCK = 16
_H264_MAX_MACROBLOCKS = 36864
"""The largest picture of level 5.2 (ITU-T H.264, table A-1), the highest level that players commonly take."""
_H264_MAX_SIDE = 4096
"""The longest side that hardware commonly decodes; level 5.2 itself ends at 8688."""
_X26X_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)


@dataclass(frozen=True)
class EncodeOptions:
    """How the enlarged frames are compressed."""

    codec: str = "auto"
    """`h264`, `hevc`, `av1`, `vp9`, `ffv1` (lossless); or `auto`: `h264` if players take it, else `hevc`."""
    crf: int | None = None
    """Constant rate factor, lower is better; None for the codec's default."""
    preset: str | None = None
    """Speed against size, a word or a number that the codec's encoder knows; None for its default."""


@dataclass(frozen=True)
class EncoderSettings:
    """What FFmpeg is told."""

    encoder: str
    pix_fmt: str
    options: dict[str, str]
    num_threads: int = _NUM_THREADS


@dataclass(frozen=True)
class _Encoder:
    """One of FFmpeg's encoders, and what `EncodeOptions` may say to it."""

    name: str
    options: dict[str, str]
    crf: int | None = None
    """The default; None where there is no such thing."""
    max_crf: int = 51
    preset: str | None = None
    """The default; None where there is no such thing."""
    presets: tuple[str, ...] = ()
    preset_option: str = "preset"
    chroma: str = "420"


_ENCODERS = {
    "h264": _Encoder(
        "libx264",
        options={"x264-params": "cpu-independent=1"},
        crf=16,
        preset="medium",
        presets=_X26X_PRESETS,
    ),
    "hevc": _Encoder(
        "libx265",
        options={"x265-params": f"log-level=error:frame-threads=4:pools={_NUM_THREADS}:lookahead-slices=0"},
        crf=18,
        preset="medium",
        presets=_X26X_PRESETS,
    ),
    "av1": _Encoder(
        "libsvtav1",
        options={"svtav1-params": "lp=4"},
        crf=20,
        max_crf=63,
        preset="6",
        presets=tuple(map(str, range(11))),
    ),
    "vp9": _Encoder(
        "libvpx-vp9",
        options={"b": "0", "deadline": "good", "row-mt": "0", "tile-columns": "2"},
        crf=20,
        max_crf=63,
        preset="3",
        presets=tuple(map(str, range(9))),
        preset_option="cpu-used",
    ),
    "ffv1": _Encoder("ffv1", options={"level": "3", "slices": "24", "slicecrc": "1", "g": "1"}, chroma="444"),
}


def resolve(options: EncodeOptions, width: int, height: int, bit_depth: int) -> EncoderSettings:
    """Return the settings for pictures of a size in pixels and of a depth in bits per component.

    Raises:
        OptionError: the options don't fit the codec or each other, or the encoder is not installed.
    """
    codec = _best_codec(width, height, bit_depth) if options.codec == "auto" else options.codec
    if codec not in _ENCODERS:
        raise OptionError(f"There is no codec {codec!r}: choose auto, {', '.join(_ENCODERS)}.")
    encoder = _ENCODERS[codec]
    if not _is_installed(encoder.name):
        raise OptionError(f"The installed PyAV has no encoder {encoder.name}: choose another codec.")
    settings = _crf(codec, encoder, options.crf) | _preset(codec, encoder, options.preset) | encoder.options
    depth = "p" if bit_depth <= 8 else "p10le"
    return EncoderSettings(encoder.name, f"yuv{encoder.chroma}{depth}", settings)


def _best_codec(width: int, height: int, bit_depth: int) -> str:
    macroblocks = -(-width // _MACROBLOCK) * -(-height // _MACROBLOCK)
    fits = macroblocks <= _H264_MAX_MACROBLOCKS and max(width, height) <= _H264_MAX_SIDE
    return "h264" if fits and bit_depth <= 8 else "hevc"


def _crf(codec: str, encoder: _Encoder, crf: int | None) -> dict[str, str]:
    if encoder.crf is None:
        if crf is not None:
            raise OptionError(f"{codec} is lossless: it takes no crf.")
        return {}
    if crf is not None and not 0 <= crf <= encoder.max_crf:
        raise OptionError(f"crf {crf} is out of range: {codec} takes 0 to {encoder.max_crf}.")
    return {"crf": str(encoder.crf if crf is None else crf)}


def _preset(codec: str, encoder: _Encoder, preset: str | None) -> dict[str, str]:
    if encoder.preset is None:
        if preset is not None:
            raise OptionError(f"{codec} takes no preset.")
        return {}
    if preset is not None and preset not in encoder.presets:
        raise OptionError(f"{codec} has no preset {preset!r}: choose one of {', '.join(encoder.presets)}.")
    return {encoder.preset_option: preset or encoder.preset}


def installed_codecs() -> list[str]:
    """Return the codecs that `EncodeOptions` may name and that the installed PyAV can encode."""
    return [codec for codec, encoder in _ENCODERS.items() if _is_installed(encoder.name)]


def _is_installed(encoder: str) -> bool:
    try:
        Codec(encoder, "w")
    except UnknownCodecError:
        return False
    return True
