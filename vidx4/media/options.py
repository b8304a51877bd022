"""Options of reading and writing files."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Annotated

from vidx4.option import Option, Panel, validate
from vidx4.syntax import RATE

DEFAULT_QUALITY = 80
ALL, NONE = "all", "none"


class Deinterlace(StrEnum):
    """How interlaced video is treated."""

    AUTO = "auto"
    """`FRAME` if fields are found."""
    OFF = "off"
    FRAME = "frame"
    """As many frames as there are."""
    FIELD = "field"
    """A frame for every field."""


class InverseTelecine(StrEnum):
    """Whether the 3:2 pulldown of film is undone."""

    AUTO = "auto"
    """If it is found."""
    OFF = "off"
    ON = "on"


class Codec(StrEnum):
    """Codecs of the enlarged video."""

    AUTO = "auto"
    """`H264` if players support the picture's size, else `HEVC`, as far as the container can hold them."""
    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"
    VP9 = "vp9"
    FFV1 = "ffv1"
    """Lossless."""
    PRORES = "prores"
    H264_NVENC = "h264_nvenc"
    HEVC_NVENC = "hevc_nvenc"
    AV1_NVENC = "av1_nvenc"


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read."""

    video_stream: Annotated[
        int | None,
        Option(
            "Number of the video stream to enlarge.",
            Panel.INPUT,
            default="the one that players show",
            is_harmless=True,
        ),
    ] = None
    deinterlace: Annotated[
        Deinterlace | str,
        Option(
            "Turn fields into frames: as many as before (frame), or one for each field; auto makes frames "
            "if fields are found.",
            Panel.INPUT,
            is_harmless=True,
        ),
    ] = Deinterlace.AUTO
    inverse_telecine: Annotated[
        InverseTelecine | str,
        Option("Turn film with 3:2 pulldown back into 24 frames a second.", Panel.INPUT, is_harmless=True),
    ] = InverseTelecine.AUTO
    frame_rate: Annotated[
        Fraction | None,
        Option("Frames per second of numbered pictures.", Panel.INPUT, syntax=RATE, default="25"),
    ] = None

    def __post_init__(self) -> None:
        validate(self)

    @property
    def keeps_fields(self) -> bool:
        """Whether frames are taken as they are, whatever they hold."""
        return self.deinterlace == Deinterlace.OFF and self.inverse_telecine == InverseTelecine.OFF


@dataclass(frozen=True)
class EncodeOptions:
    """How the enlarged frames are compressed."""

    codec: Annotated[
        Codec | str,
        Option("Codec of the video; ffv1 is lossless.", Panel.OUTPUT, is_common=True, is_harmless=True),
    ] = Codec.AUTO
    quality: Annotated[
        int | None,
        Option(
            "0 to 100 for any codec; higher is better.",
            Panel.OUTPUT,
            default=str(DEFAULT_QUALITY),
            is_common=True,
            is_harmless=True,
        ),
    ] = None
    crf: Annotated[
        int | None,
        Option("Quality on the codec's own scale; lower is better.", Panel.EXPERT, is_harmless=True),
    ] = None
    """Constant rate factor, in place of `quality`."""
    encoder_preset: Annotated[
        str | None,
        Option(
            "Speed of the encoder, as it names it: medium, 8 ...",
            Panel.EXPERT,
            metavar="PRESET",
            default="the encoder's",
            is_harmless=True,
        ),
    ] = None
    pixel_format: Annotated[
        str | None,
        Option(
            "FFmpeg's name of how pixels are stored, e.g. yuv422p10le.",
            Panel.EXPERT,
            metavar="FORMAT",
            default="what suits codec and source",
            is_harmless=True,
        ),
    ] = None
    bit_depth: Annotated[
        int | None,
        Option(
            "Bits per colour component: 8, 10, 12 or 16.",
            Panel.EXPERT,
            default="the source's, if the codec has it",
            is_harmless=True,
        ),
    ] = None
    encoder_options: Annotated[
        tuple[str, ...],
        Option(
            "Option of FFmpeg's encoder; may be repeated.",
            Panel.EXPERT,
            flag="encoder-option",
            metavar="KEY=VALUE",
        ),
    ] = ()
    width: Annotated[
        int | None,
        Option(
            "Output width in pixels.",
            Panel.OUTPUT,
            minimum=2,
            default="4x, or by --height",
            is_common=True,
            is_harmless=True,
        ),
    ] = None
    height: Annotated[
        int | None,
        Option(
            "Output height in pixels.",
            Panel.OUTPUT,
            minimum=2,
            default="4x, or by --width",
            is_common=True,
            is_harmless=True,
        ),
    ] = None

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class StreamOptions:
    """Which streams beside the enlarged one are kept."""

    audio: Annotated[
        str,
        Option(
            "Audio to keep: all, none or numbers (1,3).",
            Panel.OUTPUT,
            metavar="STREAMS",
            is_common=True,
            is_harmless=True,
        ),
    ] = ALL
    subtitles: Annotated[
        str,
        Option(
            "Subtitles to keep, in the same way.",
            Panel.OUTPUT,
            metavar="STREAMS",
            is_common=True,
            is_harmless=True,
        ),
    ] = ALL
