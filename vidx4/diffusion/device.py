"""Where a model runs, and in what precision."""

import ctypes
import os
import platform

import torch

from vidx4.errors import OptionError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

_MALLOC_OPTIONS = {
    -4: 0,  # M_MMAP_MAX: no block is a mapping of its own, which is undone when it is freed
    -1: 2**31 - 1,  # M_TRIM_THRESHOLD: the heap is never shortened
    -2: 64 * 2**20,  # M_TOP_PAD: and grows by this
    -8: 1,  # M_ARENA_MAX: one heap for all threads, since those of others are too small for a frame
}
"""For glibc's `mallopt`, by the numbers of its `malloc.h`."""


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is a CUDA GPU where there is one, else the CPU.

    Raises:
        OptionError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).sum().item()
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f"There is no device {name!r} here; vidx4 doctor lists them.") from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision of a name; `auto` is the fastest that is exact enough on a device.

    That is float16 on CUDA, and bfloat16 on a CPU that computes in it; others emulate it at half the speed
    of float32.

    Raises:
        OptionError: no such precision, or one that the device can't compute in.
    """
    if name == "auto":
        return _fastest(device)
    if name not in DTYPES:
        raise OptionError(f"There is no dtype {name!r}: choose auto, {', '.join(DTYPES)}.")
    if name == "float16" and device.type == "cpu":
        raise OptionError("A CPU does not compute in float16: use --dtype float32 or bfloat16.")
    return DTYPES[name]


def keep_host_memory() -> None:
    """Let the C library keep the memory that PyTorch frees, for the next frame.

    By default, glibc returns large blocks to the system at once, and gets them back page by page, each of
    which the kernel clears: on two cores, `compact` takes 1.69 s for a 640x480 frame so, 0.98 s with this.
    What the user has set in `MALLOC_...` stays; other C libraries are left alone.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in _MALLOC_OPTIONS.items():
        mallopt(option, value)


def give_back_host_memory() -> None:
    """Let the C library give to the system what PyTorch has freed and nothing uses.

    Frames of several shots at once leave gaps between each other that nothing fits, more and more of them.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def device_name(device: torch.device) -> str:
    """Return what kind of device it is: results are equal to the bit on one kind only."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of PyTorch means that a device, or the host, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _fastest(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if device.type == "cpu" and native else torch.float32
