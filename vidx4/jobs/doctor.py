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

from vidx4.diffusion.device import FoundGPU, choose_dtype, dtype_name, find_gpu
from vidx4.diffusion.device_errors import advice_of, first_line, reason_of
from vidx4.diffusion.footprints import known_footprints
from vidx4.diffusion.models.known import known_models
from vidx4.diffusion.models.spandrel_models import INSTALL, library, spandrel_version
from vidx4.diffusion.nvidia import nvidia_cards
from vidx4.errors import ModelError, OptionError
from vidx4.media.formats.encoders import installed_codecs
from vidx4.syntax import format_disk

ENOUGH_DISK = 10 * 10**9
TYPICAL_SIZE = 640, 480
"""Size of the frames that have to fit the memory of a GPU."""
_END_PROGRAMS = "End other programs that use the GPU."
_NO_GPU = "sd-x4 is only practical on an NVIDIA GPU, with PyTorch built for CUDA; compact runs here."


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    is_fine: bool
    message: str
    advice: str = ""
    """What to do about it; empty if nothing has to be done."""


def examine() -> list[Finding]:
    """Check Python, PyTorch, devices, encoders, models, spandrel, Ray and the disk."""
    found = [_python(), _torch(), *_devices(), _encoders(), *_models(), _spandrel(), _ray(), _disk()]
    return [replace(each, advice="") if each.is_fine else each for each in found]


def _python() -> Finding:
    is_fine = sys.version_info >= (3, 11)
    return Finding("Python", is_fine, platform.python_version(), "Use Python 3.11 or newer.")


def _torch() -> Finding:
    build = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return Finding("PyTorch", True, f"{torch.__version__}, {build}")


def _devices() -> Iterator[Finding]:
    found = find_gpu()
    yield _default_device(found.device or torch.device("cpu"))
    for gpu, why in found.why_unusable.items():
        yield Finding(str(gpu), not why, _described(gpu, why), "Use --device cpu until that is mended.")
        if not why:
            yield from _tight(gpu)
    if not found.why_unusable:
        yield _cuda(found)


def _default_device(device: torch.device) -> Finding:
    try:
        dtype = choose_dtype("auto", device)
    except OptionError as error:  # it could be used a moment ago
        return Finding("default device", False, str(error), "Use --device cpu until that is mended.")
    threads = f"{torch.get_num_threads()} CPU threads"
    return Finding("default device", True, f"{device}, {dtype_name(dtype)}, {threads}")


def _cuda(found: FoundGPU) -> Finding:
    """Find why PyTorch reaches no GPU."""
    cards = nvidia_cards()
    if found.error is not None and (cards or found.why_none):
        card = cards[0] if cards else "a GPU"
        message = f"{card}; it can't be used: {reason_of(found.error)}"
        return Finding("CUDA", False, message, advice_of(found.error))
    return Finding("CUDA", False, "PyTorch finds no GPU", _NO_GPU)


def _described(gpu: torch.device, why: str) -> str:
    """Describe a GPU, whether or not it works."""
    facts = [_known(gpu), *(f"driver {card.driver}" for card in nvidia_cards()[:1] if card.driver)]
    try:
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info(gpu))
        facts.append(f"{free:.1f} of {total:.1f} GiB free")
    except RuntimeError as error:
        why = why or reason_of(error, gpu)
    return ", ".join(facts) + (f"; it can't be used: {why}" if why else ", computes")


def _known(gpu: torch.device) -> str:
    try:
        name, capability = torch.cuda.get_device_name(gpu), torch.cuda.get_device_capability(gpu)
    except (RuntimeError, AssertionError) as error:
        return reason_of(error, gpu)
    return "{}, compute capability {}.{}".format(name, *capability)


def _tight(gpu: torch.device) -> Iterator[Finding]:
    """Find models that don't fit what is free of a GPU's memory, however frames are cut up."""
    try:
        free, dtype = torch.cuda.mem_get_info(gpu)[0], choose_dtype("auto", gpu)
    except (RuntimeError, OptionError) as error:  # it could be used a moment ago
        yield Finding(f"memory of {gpu}", False, f"not known: {first_line(error)}", _END_PROGRAMS)
        return
    for name, footprint in known_footprints(dtype, gpu).items():
        needed = footprint.least(*TYPICAL_SIZE)
        if needed > free:
            size = "{}x{}".format(*TYPICAL_SIZE)
            message = f"{size} needs at least {format_disk(needed)} of {gpu}, {format_disk(free)} are free"
            yield Finding(f"{name} on {gpu}", False, message, _END_PROGRAMS)


def _encoders() -> Finding:
    codecs = installed_codecs()
    return Finding("encoders", "h264" in codecs, ", ".join(codecs) or "none", "Install PyAV's own wheels.")


def _models() -> Iterator[Finding]:
    for model in known_models():
        message = f"{format_disk(model.size)} in {model.folder}" if model.folder else "not on this machine"
        yield Finding(f"model {model.name}", model.folder is not None, message, model.advice)


def _spandrel() -> Finding:
    if (found := spandrel_version()) is None:
        return Finding("spandrel", True, f"not installed: only --model FILE needs it ({INSTALL})")
    try:
        library()
    except ModelError as error:
        return Finding("spandrel", False, f"{found}: {error.__cause__}", f"{INSTALL}.")
    return Finding("spandrel", True, found)


def _ray() -> Finding:
    with suppress(PackageNotFoundError):
        return Finding("Ray", True, version("ray"))
    return Finding("Ray", True, "not installed: only --cluster needs it (pip install 'ray[client]')")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding(
        "disk", free > ENOUGH_DISK, f"{format_disk(free)} free here", "An hour of 4x video takes several GB."
    )
