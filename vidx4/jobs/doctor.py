"""Checks of this machine, with advice where something is missing."""

import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vidx4.diffusion.device import choose_device, choose_dtype
from vidx4.diffusion.models.known import known_models
from vidx4.media.formats.encoders import installed_codecs
from vidx4.syntax import format_disk

ENOUGH_DISK = 10 * 10**9


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    is_fine: bool
    message: str
    advice: str = ""
    """What to do about it; empty if nothing has to be done."""


def examine() -> list[Finding]:
    """Check Python, PyTorch, devices, encoders, models, Ray and the disk."""
    found = [_python(), _torch(), *_devices(), _encoders(), *_models(), _ray(), _disk()]
    return [replace(each, advice="") if each.is_fine else each for each in found]


def _python() -> Finding:
    is_fine = sys.version_info >= (3, 11)
    return Finding("Python", is_fine, platform.python_version(), "Use Python 3.11 or newer.")


def _torch() -> Finding:
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return Finding("PyTorch", True, f"{torch.__version__}, {build}")


def _devices() -> Iterator[Finding]:
    device = choose_device("auto")
    dtype = str(choose_dtype("auto", device)).removeprefix("torch.")
    yield Finding("default device", True, f"{device}, {dtype}, {torch.get_num_threads()} CPU threads")
    for index in range(torch.cuda.device_count()):
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info(index))
        name = torch.cuda.get_device_name(index)
        yield Finding(f"cuda:{index}", True, f"{name}, {free:.1f} of {total:.1f} GiB free")
    if torch.cuda.device_count() == 0:
        advice = "sd-x4 is only practical on an NVIDIA GPU, with PyTorch built for CUDA; compact runs here."
        yield Finding("CUDA", False, "PyTorch finds no GPU", advice)


def _encoders() -> Finding:
    codecs = installed_codecs()
    return Finding("encoders", "h264" in codecs, ", ".join(codecs) or "none", "Install PyAV's own wheels.")


def _models() -> Iterator[Finding]:
    for model in known_models():
        message = f"{format_disk(model.size)} in {model.folder}" if model.folder else "not on this machine"
        yield Finding(f"model {model.name}", model.folder is not None, message, model.advice)


def _ray() -> Finding:
    with suppress(PackageNotFoundError):
        return Finding("Ray", True, version("ray"))
    return Finding("Ray", True, "not installed: only --cluster needs it (pip install 'vidx4[cluster]')")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding(
        "disk", free > ENOUGH_DISK, f"{format_disk(free)} free here", "An hour of 4x video takes several GB."
    )
