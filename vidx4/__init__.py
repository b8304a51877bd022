"""Make old videos four times larger.

    from vidx4 import Upscaler, upscale_video

    upscale_video("old.mp4", "new.mp4")

`Upscaler` enlarges batches of frames and still pictures, `upscale_video` a whole file, and `verify` checks
what an enlarged file kept of its source. Names are imported on first use, so importing the package is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

__all__ = [
    "EncodeOptions",
    "Frame",
    "FrameBatch",
    "ReadOptions",
    "Request",
    "StreamOptions",
    "TimeRange",
    "UpscaleOptions",
    "Upscaler",
    "Vidx4Error",
    "probe",
    "upscale_video",
    "verify",
    "warm_up_of",
]

_MODULES = {
    "EncodeOptions": "vidx4.media.options",
    "Frame": "vidx4.frames",
    "FrameBatch": "vidx4.frames",
    "ReadOptions": "vidx4.media.options",
    "Request": "vidx4.jobs.request",
    "StreamOptions": "vidx4.media.options",
    "TimeRange": "vidx4.video",
    "UpscaleOptions": "vidx4.diffusion.options",
    "Upscaler": "vidx4.diffusion.upscaler",
    "Vidx4Error": "vidx4.errors",
    "probe": "vidx4.media.probe",
    "upscale_video": "vidx4.jobs.run",
    "verify": "vidx4.jobs.verify",
    "warm_up_of": "vidx4.temporal.warm_up",
}

if TYPE_CHECKING:
    from vidx4.diffusion.options import UpscaleOptions
    from vidx4.diffusion.upscaler import Upscaler
    from vidx4.errors import Vidx4Error
    from vidx4.frames import Frame, FrameBatch
    from vidx4.jobs.request import Request
    from vidx4.jobs.run import upscale_video
    from vidx4.jobs.verify import verify
    from vidx4.media.options import EncodeOptions, ReadOptions, StreamOptions
    from vidx4.media.probe import probe
    from vidx4.temporal.warm_up import warm_up_of
    from vidx4.video import TimeRange


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
