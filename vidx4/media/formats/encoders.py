"""FFmpeg's encoders: their options, presets, pixel formats and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from av.codec import Codec
from av.codec.codec import UnknownCodecError

NUM_THREADS = 8
"""Threads of an encoder, the same on every machine: its output may depend on their number."""
_UNLIMITED = 2**31
_MACROBLOCK = 16
_X26X_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast"),
    *("medium", "slow", "slower", "veryslow", "placebo"),
)
_NVENC_PRESETS = tuple(f"p{number}" for number in range(1, 8))


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders, and what `EncodeOptions` can ask of it."""

    name: str
    options: Mapping[str, str]
    crf: int | None = None
    """The constant rate factor of the default quality; None for an encoder without one."""
    min_crf: int = 0
    max_crf: int = 51
    crf_per_quality: float = 0.3
    """How far the crf falls for each point of quality, chosen so that codecs look about alike at each."""
    crf_option: str = "crf"
    preset: str | None = None
    """The default preset; None for an encoder without presets."""
    presets: tuple[str, ...] = ()
    preset_option: str = "preset"
    chroma: str = "420"
    depths: Mapping[int, str] = field(default_factory=lambda: {8: "p", 10: "p10le"})
    """How names of pixel formats end, by bits per component."""
    max_side: int = _UNLIMITED
    max_pixels: int = _UNLIMITED


_TEN_BITS = {10: "p10le"}
ENCODERS = {
    "h264": Encoder(
        "libx264",
        options={"x264-params": "cpu-independent=1"},
        crf=16,
        preset="medium",
        presets=_X26X_PRESETS,
        max_side=16880,  # level 6.2 (ITU-T H.264, table A-1)
        max_pixels=139264 * _MACROBLOCK**2,
    ),
    "hevc": Encoder(
        "libx265",
        options={"x265-params": f"log-level=error:frame-threads=4:pools={NUM_THREADS}:lookahead-slices=0"},
        crf=18,
        preset="medium",
        presets=_X26X_PRESETS,
        depths={8: "p", 10: "p10le", 12: "p12le"},
        max_side=16888,  # level 6.2 (ITU-T H.265, table A.8)
        max_pixels=35_651_584,
    ),
    "av1": Encoder(
        "libsvtav1",
        options={"svtav1-params": "lp=4"},
        crf=20,
        max_crf=63,
        crf_per_quality=0.4,
        preset="6",
        presets=tuple(map(str, range(11))),
        max_side=8704,  # level 6.3 (AV1 specification, annex A.3), in either direction
        max_pixels=35_651_584,
    ),
    "vp9": Encoder(
        "libvpx-vp9",
        options={"b": "0", "deadline": "good", "row-mt": "0", "tile-columns": "2"},
        crf=20,
        max_crf=63,
        crf_per_quality=0.4,
        preset="3",
        presets=tuple(map(str, range(9))),
        preset_option="cpu-used",
        depths={8: "p"},  # PyAV's wheels have a libvpx that is built for 8 bits only
        max_side=16384,
        max_pixels=35_651_584,  # level 6.2
    ),
    "ffv1": Encoder(
        "ffv1",
        options={"level": "3", "slices": "24", "slicecrc": "1", "g": "1"},
        chroma="444",
        depths={8: "p", 10: "p10le", 12: "p12le", 16: "p16le"},
    ),
    "prores": Encoder(
        "prores_ks", options={"vendor": "apl0"}, chroma="422", depths=_TEN_BITS, max_side=16384
    ),
    "png": Encoder("png", options={"pred": "mixed"}, chroma="rgb", depths={8: "rgb24", 16: "rgb48be"}),
}
ENCODERS |= {
    f"{codec}_nvenc": Encoder(
        f"{codec}_nvenc",
        # FFmpeg's default for H.264 is the main profile, which lacks transforms of 8x8.
        options={"rc": "vbr", "b": "0", **({"profile": "high"} if codec == "h264" else {})},
        crf=crf,
        min_crf=1,  # 0 leaves the quality to the encoder
        max_crf=63 if codec == "av1" else 51,
        crf_option="cq",
        preset="p6",
        presets=_NVENC_PRESETS,
        depths={8: "p"} if codec == "h264" else {8: "p", 10: "p010le"},
        max_side=4096 if codec == "h264" else 8192,
    )
    for codec, crf in (("h264", 18), ("hevc", 20), ("av1", 24))
}
CODECS = tuple(codec for codec in ENCODERS if codec != "png")
"""The codecs that `EncodeOptions.codec` may name besides `auto`; PNG is for folders of pictures only."""


def installed_codecs() -> list[str]:
    """Return those of `CODECS` that the installed PyAV can encode."""
    return [codec for codec in CODECS if is_installed(ENCODERS[codec].name)]


def is_installed(encoder: str) -> bool:
    """Return whether the installed PyAV has one of FFmpeg's encoders."""
    try:
        Codec(encoder, "w")
    except UnknownCodecError:
        return False
    return True
