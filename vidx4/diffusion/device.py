"""Choose the device that a model runs on, and its precision; manage the host's memory."""

import ctypes
import os
import platform
import sys

import torch

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
    """Return the device with a name; `auto` is a CUDA GPU if there is one, otherwise the CPU.

    Raises:
        OptionError: the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # PyTorch accepts the names of missing devices; only computing on one fails.
        torch.empty(0, device=device).sum().item()
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"Device {name!r} is not available here; `vidx4 doctor` lists those that are."
        ) from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the precision with a name; `auto` is the fastest that is accurate enough on a device.

    That is float16 on CUDA, and bfloat16 on a CPU with instructions for it; other CPUs emulate it at half the
    speed of float32.

    Raises:
        OptionError: there is no such precision, or the device can't compute in it.
    """
    if name == "auto":
        return _fastest(device)
    if name not in DTYPES:
        raise OptionError(f"{name!r} is not a --dtype: choose auto, {', '.join(DTYPES)}.")
    if name == "float16" and device.type == "cpu":
        raise OptionError("A CPU can't compute in float16: use --dtype float32 or bfloat16.")
    return DTYPES[name]


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


_OUT_OF_MEMORY = (
    *("can't allocate memory", "not enough memory", "could not create a primitive", "bad_alloc"),
    *(
        "CUDA error: out of memory",
        "ALLOC_FAILED",
        "unable to find an engine",
        "Unable to find a valid cuDNN",
    ),
)
"""What plain errors of PyTorch, oneDNN and CUDA's libraries say if memory is what they lack."""


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Return whether an error of PyTorch means that a device, or the host, has run out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(text in str(error) for text in _OUT_OF_MEMORY)


def _fastest(device: torch.device) -> torch.dtype:
    if device.type == "cuda":
        return torch.float16
    capabilities = torch.cpu.get_capabilities()
    native = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if device.type == "cpu" and native else torch.float32
