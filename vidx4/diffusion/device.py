"""Choose the device that a model runs on, and its precision; manage the host's memory."""

import ctypes
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from vidx4.diffusion.device_errors import is_hidden, means_none, reason_of
from vidx4.diffusion.nvidia import nvidia_cards
from vidx4.errors import OptionError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

_MALLOC_OPTIONS = {
    -4: 0,  # M_MMAP_MAX: never map a block separately, since freeing it would unmap it
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: never shrink the heap
    -2: 64 * 2**20,  # M_TOP_PAD: grow the heap by this much
    -8: 1,  # M_ARENA_MAX: one heap for all threads, since further ones are too small for a frame
}
"""Values of options of glibc's `mallopt`, by their numbers in `malloc.h`."""


def choose_device(name: str) -> torch.device:
    """Return the device with a name, with its index; `auto` is a GPU that works, or otherwise the CPU.

    Raises:
        OptionError: there is no such device, or it can't compute.
    """
    if name == "auto":
        return find_gpu().device or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"There is no device {name!r}; `vidx4 doctor` lists those there are.") from error
    with _usable(name, device):
        device = _with_index(device)
        _compute(device)
    return device


@contextmanager
def _usable(name: str, device: torch.device) -> Iterator[None]:
    """Raise an `OptionError` for whatever shows that a device can't be used.

    Besides its own errors, PyTorch passes on those of the modules and libraries that it loads first.
    """
    try:
        yield
    except Exception as error:
        raise OptionError(
            f"Device {name!r} can't be used: {reason_of(error, device)}; `vidx4 doctor` lists those that can."
        ) from error


def _with_index(device: torch.device) -> torch.device:
    index: int | None = device.index
    if device.type != "cuda" or index is not None:
        return device
    return torch.device(f"cuda:{torch.cuda.current_device()}")


@dataclass(frozen=True)
class FoundGPU:
    """What a search for a GPU found."""

    device: torch.device | None
    """The first GPU that works; None if there is none."""
    why_none: str = ""
    """Why a GPU that is there can't be used; empty if one works, none is there, or the user hides it."""
    why_unusable: Mapping[torch.device, str] = field(default_factory=dict)
    """All GPUs that PyTorch sees, and why each can't be used; empty if it can."""
    error: Exception | None = None
    """What PyTorch raised when it looked for GPUs; None if nothing."""


def find_gpu() -> FoundGPU:
    """Look for a GPU that works."""
    try:
        # Unlike `is_available`, this says what is wrong.
        torch.cuda.init()
        num_gpus = torch.cuda.device_count()
    except Exception as error:  # also those of libraries, as in `_usable`
        return FoundGPU(None, _why_none(error), error=error)
    seen = [torch.device(f"cuda:{index}") for index in range(num_gpus)]
    reasons = {each: why_unusable(each) for each in seen}
    working = next((each for each, why in reasons.items() if not why), None)
    why_none = "; ".join(f"{each} can't be used: {why}" for each, why in reasons.items())
    return FoundGPU(working, "" if working else why_none, reasons)


def _why_none(error: Exception) -> str:
    """Return why PyTorch reaches no GPU; empty if the user hides it, or there is none."""
    cards = nvidia_cards()
    if is_hidden(error) or (not cards and means_none(error)):
        return ""
    return f"{cards[0].name if cards else 'CUDA'} can't be used: {reason_of(error)}"


def why_unusable(device: torch.device) -> str:
    """Return why a device can't compute, in a few words; empty if it can.

    PyTorch accepts the names of missing devices, and its builds lack kernels for many GPUs: only computing
    on one shows that it works.
    """
    try:
        _compute(device)
    except Exception as error:  # as in `_usable`
        return reason_of(error, device)
    return ""


def _compute(device: torch.device, dtype: torch.dtype | None = None) -> bool:
    """Run small kernels of the kinds that models need; return whether the result is right."""
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    picture = torch.ones(1, 16, 8, 8, dtype=dtype, device=device)
    kernel = torch.full((16, 16, 3, 3), 0.125, dtype=dtype, device=device)
    convolved = F.conv2d(picture, kernel)  # 16 * 9 / 8 = 18 everywhere
    multiplied = convolved.flatten(2) @ convolved.flatten(2).mT  # 36 * 18**2 = 11664
    return bool(((multiplied.float() - 11664).abs() < 100).all())  # false for NaN


_NO_HALF = ("GTX 16", "MX450", "MX550", "T400", "T500", "T550", "T600", "T1000", "T1200", "T2000")
"""Parts of the names of cards whose float16 is known to give wrong numbers: the Turing chips without tensor
cores (TU116 and TU117)."""


def _has_half(device: torch.device) -> bool:
    """Return whether a GPU computes rightly in float16."""
    name = torch.cuda.get_device_name(device)
    return not any(each in name for each in _NO_HALF) and _compute(device, torch.float16)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 itself; others emulate it, slower than float32.

    Before Ampere, PyTorch has no fast convolutions in bfloat16 (pytorch/pytorch#81139).
    """
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return device.type == "cpu" and bool(native)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision with a name; `auto` is the fastest that is accurate enough on a device.

    That is float16 on a GPU that computes rightly in it, and bfloat16 on a CPU with instructions for it;
    other CPUs emulate it at half the speed of float32.

    Raises:
        OptionError: there is no such precision, or the device can't compute in it.
    """
    if name == "auto":
        with _usable(str(device), device):  # another program may have filled it since it was chosen
            return _fastest(device)
    if name not in DTYPES:
        raise OptionError(f"{name!r} is not a --dtype: choose auto, {', '.join(DTYPES)}.")
    if name == "float16" and device.type == "cpu":
        raise OptionError("A CPU can't compute in float16: use --dtype float32 or bfloat16.")
    return DTYPES[name]


def _fastest(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and _has_half(device):
        return torch.float16
    return torch.bfloat16 if device.type == "cpu" and has_bfloat16(device) else torch.float32


def more_precise(dtype: torch.dtype, device: torch.device) -> torch.dtype | None:
    """Return the precision to try next if the numbers of a model leave the range of one; None for float32."""
    if dtype == torch.float16 and has_bfloat16(device):
        return torch.bfloat16
    return None if dtype == torch.float32 else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a precision, as --dtype has it."""
    return str(dtype).removeprefix("torch.")


def keep_host_memory() -> None:
    """Let the C library keep the memory that PyTorch frees, for the next frame.

    By default, glibc returns large blocks to the system at once and gets them back page by page, each of
    which the kernel clears: on two cores, `compact` then takes 1.69 s for a 640x480 frame, and 0.98 s with
    this. Nothing is changed if the user has set any `MALLOC_...` variable, or with other C libraries.
    """
    if not _has_glibc() or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in _MALLOC_OPTIONS.items():
        mallopt(option, value)


def _has_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


def give_back_host_memory() -> None:
    """Let the C library return freed memory to the system.

    Working on several shots at once fragments the heap, more and more over time.
    """
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def device_name(device: torch.device) -> str:
    """Return the kind of a device; results are equal to the bit only on devices of one kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
