"""What errors of PyTorch and of the libraries of GPUs mean: memory that ran out, a device that failed."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from safetensors import SafetensorError

from vidx4.errors import DeviceError, MemoryLimitError

# Texts in errors are given in lower case, and looked for without regard to case.
_OUT_OF_MEMORY = (
    *("can't allocate memory", "not enough memory", "could not create a primitive", "bad_alloc"),
    *("out of memory", "outofmemory", "out_of_memory", "alloc_failed", "cudaerrormemoryallocation"),
    *("allocation_failed", "hipmalloc failed", "nvml_success == r internal assert failed"),
    # The workspace of a library is its first memory, and its last resort is to say that there is no way.
    *("cublas_status_not_initialized", "cudnn_status_not_initialized", "cusolver_status_not_initialized"),
    *("unable to find an engine", "unable to find a valid cudnn", "cudnn_status_not_supported"),
    # Mostly memory, too: that a smaller batch fails as well shows that it isn't.
    *("cublas_status_internal_error", "cudnn_status_internal_error"),
    # The system, while files are mapped or libraries loaded; only the number is the same in all languages.
    *("cannot allocate memory", "paging file is too small", "os error 1455", "winerror 1455"),
)
"""What errors of PyTorch, oneDNN, the libraries of GPUs and the system say if memory is what they lack."""
_FAILED = (
    *("illegal memory access", "device-side assert", "unspecified launch failure", "misaligned address"),
    *("illegal instruction", "invalid program counter", "hardware stack error", "launch timed out"),
    *("shared address space", "uncorrectable ecc", "uncorrectable nvlink", "peer gpu memory over nvlink"),
    *("context is destroyed", "execution_failed", "driver shutting down", "initialization error"),
    *("cuda error: unknown error", "cuda driver error: unknown error", "[cuda]: unknown error"),
    *("hip error: unknown error", "device lost", "gpu is lost", "fallen off the bus", "hsa_status_error"),
)
"""What errors say after which a process can't use its GPU any more."""


@dataclass(frozen=True)
class _Meaning:
    """What is wrong with a device."""

    signs: Sequence[str]
    """Texts in the error."""
    text: str
    advice: str
    """What to do about it."""


_END_PROGRAMS = "End other programs that use the GPU."
_INSTALL_DRIVER = "Install the NVIDIA driver, or repair it: see https://www.nvidia.com/drivers."
_MEANINGS = (
    _Meaning(("out of memory", "memoryallocation", "out_of_memory"), "its memory is full", _END_PROGRAMS),
    _Meaning(("busy or unavailable", "exclusive"), "it is in use by another program", _END_PROGRAMS),
    _Meaning(
        ("driver on your system is too old", "driver version is insufficient"),
        "its driver is too old",
        "Update the NVIDIA driver: see https://www.nvidia.com/drivers.",
    ),
    _Meaning(
        ("no nvidia driver", "no cuda-capable device", "no cuda gpus", "might not have a cuda gpu"),
        "no NVIDIA driver finds a GPU",
        _INSTALL_DRIVER,
    ),
    _Meaning(
        ("not compiled with cuda",),
        "PyTorch is built without CUDA",
        "Install PyTorch with CUDA for this card and its driver: see https://pytorch.org/get-started.",
    ),
    _Meaning(
        ("invalid device ordinal", "invalid device id"),
        "there is no device of that number",
        "Use another --device.",
    ),
    _Meaning(
        ("forked subprocess",), "this process is the fork of one that uses it", "Start a process of its own."
    ),
    _Meaning(
        ("no module named 'torch.",),
        "PyTorch lacks the module that supports it",
        "Install the PyTorch that the device's maker provides.",
    ),
)
_NONE_THERE = ("no NVIDIA driver finds a GPU", "PyTorch is built without CUDA")
"""What errors mean on a machine without a GPU."""
_NO_KERNEL = ("no kernel image", "not compatible with the current pytorch", "device kernel image is invalid")
_ADVICE = "Update the NVIDIA driver, and restart the machine."
"""What to do about an error whose meaning isn't known."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable with the numbers of the GPUs that CUDA finds; it finds none from the first that
isn't there."""
_HIDES_ALL = ("", "-1", "none", "nodevfiles", "void")
"""Values of it that are meant to hide all GPUs, in lower case."""
_NONE_VISIBLE = ("no cuda-capable device", "no cuda gpus")
"""What errors say if it leaves none."""
_MAX_LENGTH = 200
"""Most characters of an error that are shown."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of PyTorch means that a device, or the host, has run out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError | OSError | SafetensorError) and _says(error, _OUT_OF_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Return whether an error of PyTorch means that this process can't use its GPU any more."""
    return isinstance(error, RuntimeError) and _says(error, _FAILED)


def _says(error: BaseException, texts: Sequence[str]) -> bool:
    said = str(error).lower()
    return any(text in said for text in texts)


def device_error(error: BaseException, device: torch.device) -> DeviceError:
    """Return the error for the user if a device has failed."""
    return DeviceError(
        f"{device} has failed ({first_line(error)}): run the command again; if that fails too, restart the "
        "machine."
    )


@contextmanager
def device_errors(device: torch.device, too_little: str) -> Iterator[None]:
    """Raise the errors for the user in place of those of PyTorch.

    Args:
        device: what the work runs on.
        too_little: what to report if memory runs out.

    Raises:
        MemoryLimitError: the device, or the host, has too little memory.
        DeviceError: the device has failed.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise MemoryLimitError(too_little) from error
        if is_device_failure(error):
            raise device_error(error, device) from error
        raise


def reason_of(error: BaseException, device: torch.device | None = None) -> str:
    """Return in a few words what is wrong with a device.

    Args:
        error: what PyTorch raised.
        device: the device; None if none was reached.
    """
    if _says(error, _NO_KERNEL):
        return f"this PyTorch ({_build()}) has no kernels for {_capability(device)}"
    if _is_invisible(error):
        does = "hides it" if is_hidden(error) else "names no GPU that CUDA finds"
        return f"{_VISIBLE}={os.environ[_VISIBLE]} {does}"
    meaning = _meaning(error)
    return meaning.text if meaning else first_line(error)


def advice_of(error: BaseException) -> str:
    """Return what to do about a GPU that PyTorch doesn't reach, in a sentence.

    Args:
        error: what PyTorch raised.
    """
    if _is_invisible(error):
        return f"Unset {_VISIBLE} to use it."
    meaning = _meaning(error)
    return meaning.advice if meaning else _ADVICE


def _meaning(error: BaseException) -> _Meaning | None:
    return next((each for each in _MEANINGS if _says(error, each.signs)), None)


def _is_invisible(error: BaseException) -> bool:
    return _VISIBLE in os.environ and _says(error, _NONE_VISIBLE)


def is_hidden(error: BaseException) -> bool:
    """Return whether PyTorch finds no GPU because the user hides them all from CUDA."""
    return _is_invisible(error) and os.environ[_VISIBLE].strip().lower() in _HIDES_ALL


def means_none(error: BaseException) -> bool:
    """Return whether an error is what PyTorch raises on a machine without a GPU."""
    meaning = _meaning(error)
    return meaning is not None and meaning.text in _NONE_THERE


def first_line(error: BaseException) -> str:
    """Return the first line of an error, without the point at its end."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_MAX_LENGTH].rstrip(". ")


def _build() -> str:
    kind = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    return f"{torch.__version__}, built for {kind}"


def _capability(device: torch.device | None) -> str:
    if device is None:
        return "it"
    try:
        capability = torch.cuda.get_device_capability(device)
    except Exception:  # the device that has just failed fails again, in its own way
        return "it"
    return "its compute capability, {}.{}".format(*capability)
