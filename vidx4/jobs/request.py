"""What is wanted of a video."""

from dataclasses import dataclass

from vidx4.media.options import EncodeOptions, ReadOptions, StreamOptions
from vidx4.video import WHOLE, TimeRange


@dataclass(frozen=True)
class Request:
    """What is wanted of a video, beside the picture that `UpscaleOptions` decide on."""

    read: ReadOptions = ReadOptions()
    """Which of its videos is meant, and what is done about fields."""
    span: TimeRange = WHOLE
    """The part of the video that is wanted."""
    encode: EncodeOptions = EncodeOptions()
    """How the enlarged frames are compressed."""
    streams: StreamOptions = StreamOptions()
    """Which other streams the output holds."""
    overwrite: bool = False
    """Whether a file that is where the output goes may be replaced."""
    strict: bool = False
    """Whether a frame that can't be decoded is an error."""
