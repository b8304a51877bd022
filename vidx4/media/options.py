"""What the user may choose about reading and writing files."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from vidx4.option import check_choice

DEFAULT_QUALITY = 80
ALL, NONE = "all", "none"


class Deinterlace(StrEnum):
    """What is wanted of interlaced video."""

    AUTO = "auto"
    """`FRAME` where fields are found."""
    OFF = "off"
    FRAME = "frame"
    """As many frames as there are."""
    FIELD = "field"
    """A frame for every field."""


class InverseTelecine(StrEnum):
    """Whether the 3:2 pulldown of film is undone."""

    AUTO = "auto"
    """Where it is found."""
    OFF = "off"
    ON = "on"


class Codec(StrEnum):
    """How the enlarged frames may be compressed."""

    AUTO = "auto"
    """`H264` if players take a picture of that size, else `HEVC`; but what the container holds."""
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

    video_stream: int | None = None
    """The number of the video stream that is enlarged; None for the one that players show."""
    deinterlace: Deinterlace = Deinterlace.AUTO
    inverse_telecine: InverseTelecine = InverseTelecine.AUTO
    frame_rate: Fraction | None = None
    """Of numbered pictures; None for 25."""

    def __post_init__(self) -> None:
        check_choice("--deinterlace", self.deinterlace, Deinterlace)
        check_choice("--inverse-telecine", self.inverse_telecine, InverseTelecine)

    @property
    def keeps_fields(self) -> bool:
        """Whether frames are taken as they are, whatever they hold."""
        return self.deinterlace == Deinterlace.OFF and self.inverse_telecine == InverseTelecine.OFF


@dataclass(frozen=True)
class EncodeOptions:
    """How the enlarged frames are compressed."""

    codec: str = Codec.AUTO
    """A value of `Codec`."""
    quality: int | None = None
    """From 0 to 100, alike for all codecs, higher is better; None for 80."""
    crf: int | None = None
    """The codec's own constant rate factor in place of `quality`, lower is better."""
    encoder_preset: str | None = None
    """Speed against size, a word or a number that the codec's encoder knows; None for its default."""
    pixel_format: str | None = None
    """FFmpeg's name of how pixels are stored, such as `yuv422p10le`; None for what suits codec and source."""
    bit_depth: int | None = None
    """Bits per component; None for those of the source, as far as the codec goes."""
    encoder_options: tuple[str, ...] = ()
    """Each `key=value`, given to FFmpeg's encoder as it is."""
    width: int | None = None
    """Of the finished picture in pixels; None for what `height` makes of it, or four times the source's."""
    height: int | None = None

    def __post_init__(self) -> None:
        check_choice("--codec", self.codec, Codec)


@dataclass(frozen=True)
class StreamOptions:
    """Which streams beside the enlarged one are wanted."""

    audio: str = ALL
    """`all`, `none`, or numbers of streams, separated by commas."""
    subtitles: str = ALL
    """The same."""
