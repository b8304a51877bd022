"""What errors of PyTorch and of the libraries of GPUs mean: memory that ran out, a device that failed."""

import torch

_OUT_OF_MEMORY = (
    *("can't allocate memory", "not enough memory", "could not create a primitive", "bad_alloc"),
    *("out of memory", "OutOfMemory", "OUT_OF_MEMORY", "ALLOC_FAILED", "cudaErrorMemoryAllocation"),
    # The workspace of a library is its first memory, and its last resort is to say that there is no way.
    *("CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_NOT_INITIALIZED", "CUSOLVER_STATUS_NOT_INITIALIZED"),
    *("unable to find an engine", "Unable to find a valid cuDNN", "CUDNN_STATUS_NOT_SUPPORTED"),
)
"""What errors of PyTorch, oneDNN and the libraries of GPUs say if memory is what they lack."""
_FAILED = (
    *("illegal memory access", "device-side assert", "unspecified launch failure", "misaligned address"),
    *("illegal instruction", "invalid program counter", "hardware stack error", "launch timed out"),
    *("shared address space", "uncorrectable ECC", "uncorrectable NVLink", "peer GPU memory over nvlink"),
    *("context is destroyed", "CUDA error: unknown error", "EXECUTION_FAILED", "driver shutting down"),
    *("device lost", "GPU is lost", "fallen off the bus", "HSA_STATUS_ERROR"),
)
"""What errors say after which a process can't use its GPU any more."""
_MEANINGS = (
    (("out of memory", "MemoryAllocation", "OUT_OF_MEMORY"), "its memory is full"),
    (("busy or unavailable", "exclusive"), "it is in use by another program"),
    (("driver on your system is too old", "driver version is insufficient"), "its driver is too old"),
    (("no NVIDIA driver", "no CUDA-capable device", "No CUDA GPUs"), "no NVIDIA driver finds a GPU"),
    (("not compiled with CUDA",), "PyTorch is built without CUDA"),
    (("invalid device ordinal", "Invalid device id"), "there is no device of that number"),
    (("forked subprocess",), "this process is the fork of one that uses it"),
)
"""What is wrong with a device, by texts in the error."""
_NO_KERNEL = ("no kernel image", "not compatible with the current PyTorch", "device kernel image is invalid")
_MAX_LENGTH = 200
"""Most characters of an error that are shown."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of PyTorch means that a device, or the host, has run out of memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Return whether an error of PyTorch means that this process can't use its GPU any more."""
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _FAILED)


def reason_of(error: BaseException, device: torch.device | None = None) -> str:
    """Return in a few words what is wrong with a device.

    Args:
        error: what PyTorch raised.
        device: the device; None if none was reached.
    """
    text = str(error)
    if any(each in text for each in _NO_KERNEL):
        return f"this PyTorch ({_build()}) has no kernels for {_capability(device)}"
    for signs, meaning in _MEANINGS:
        if any(each in text for each in signs):
            return meaning
    return first_line(error)


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
    return "its compute capability, {}.{}".format(*torch.cuda.get_device_capability(device))
