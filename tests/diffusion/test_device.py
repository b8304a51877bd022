"""A device is used only if it computes, and what keeps it from that is said."""

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from tests.simulated_gpu.gpu import SimulatedGPU
from vidx4.diffusion import device as devices
from vidx4.diffusion.device import FoundGPU, choose_device, choose_dtype, device_name, find_gpu, more_precise
from vidx4.diffusion.device_errors import first_line, is_device_failure, is_out_of_memory, reason_of
from vidx4.diffusion.memory import enforce
from vidx4.diffusion.models.loading import weights
from vidx4.diffusion.nvidia import NvidiaCard
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import MemoryLimitError, OptionError

GPU = torch.device("cuda", 0)
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might"
PASCAL: dict[str, Any] = {"name": "NVIDIA GeForce GTX 1080", "capability": (6, 1)}


@contextmanager
def broken_gpu(monkeypatch: pytest.MonkeyPatch, text: str, **facts: Any) -> Iterator[None]:
    """Simulate a GPU on which every computation fails."""

    def fail(*_: object) -> bool:
        raise RuntimeError(text)

    compute = devices._compute
    monkeypatch.setattr(devices, "_compute", lambda *args: (fail if args[0] == GPU else compute)(*args))
    with SimulatedGPU(**facts):
        yield


@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_gets_its_index_where_it_is_chosen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(devices, "_compute", lambda *_: True)
    assert choose_device(name).index == 0


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_the_memory_of_every_name_of_a_gpu_can_be_limited(name: str) -> None:
    with SimulatedGPU(8 * 10**9) as gpu:
        device = choose_device(name)
        enforce(device, 2 * 10**9)
        assert device == GPU
        assert device_name(device) == gpu.name
        assert gpu.memory_fraction == 0.25


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (NO_KERNEL, "no kernels for its compute capability, 6.1"),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", "in use by another program"),
        ("CUDA error: out of memory", "its memory is full"),
        ("CUDA error: something new\nand more.", "CUDA error: something new"),
    ],
)
def test_a_gpu_that_can_not_compute_is_left_for_the_cpu_with_the_reason(
    text: str, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with broken_gpu(monkeypatch, text, **PASCAL):
        upscaler = Upscaler.load("auto")
        assert upscaler.components.device.type == "cpu"
        assert upscaler.components.name == "compact"
        (warning,) = (each.message for each in caplog.records if each.levelname == "WARNING")
        assert reason in warning
        with pytest.raises(OptionError, match=f"'cuda'.*{reason}"):
            choose_device("cuda")


def cards(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    found = [NvidiaCard(name, "580.10", "8.6") for name in names]
    monkeypatch.setattr(devices, "nvidia_cards", lambda: found)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AssertionError("Torch not compiled with CUDA enabled"), "PyTorch is built without CUDA"),
        (RuntimeError("The NVIDIA driver on your system is too old (found version 11040)"), "too old"),
        (RuntimeError("Found no NVIDIA driver on your system."), "no NVIDIA driver finds a GPU"),
    ],
)
def test_a_card_that_pytorch_can_not_reach_is_named(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(torch.cuda, "init", fail)
    cards(monkeypatch)
    assert bool(find_gpu().why_none) == ("too old" in reason)
    cards(monkeypatch, "NVIDIA GeForce RTX 3060")
    assert choose_device("auto").type == "cpu"
    assert find_gpu().why_none.startswith("NVIDIA GeForce RTX 3060 can't be used: ")
    assert reason in find_gpu().why_none


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization with error: new\n\nat:"),
        OSError("libcudart.so.13: cannot open shared object file"),
        ImportError("DLL load failed while importing _C"),
        UserWarning("CUDA initialization: CUDA unknown error"),
    ],
)
@pytest.mark.parametrize("stage", ["init", "_compute"])
def test_whatever_a_gpu_fails_with_is_reported(
    error: Exception, stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise error

    cards(monkeypatch)
    with SimulatedGPU():
        monkeypatch.setattr(torch.cuda if stage == "init" else devices, stage, fail)
        assert first_line(error) in find_gpu().why_none
        assert choose_device("auto").type == "cpu"
        monkeypatch.setattr(devices, "_compute", fail)
        with pytest.raises(OptionError, match="'cuda:0' can't be used: ") as raised:
            choose_device("cuda:0")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["hpu", "privateuseone", "hpu:0", "xpu", "vulkan", "meta"])
def test_a_device_that_pytorch_only_knows_by_name_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"'{name}' can't be used: "):
        choose_device(name)


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_user_who_hides_the_gpu_is_not_warned(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    cards(monkeypatch, "NVIDIA A10")
    found = none_visible(monkeypatch)
    assert (found.device, found.why_none) == (None, "")
    assert found.error is not None
    assert reason_of(found.error) == f"CUDA_VISIBLE_DEVICES={value} hides it"


def test_a_number_without_a_gpu_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    cards(monkeypatch, "NVIDIA A10")
    assert none_visible(monkeypatch).why_none == (
        "NVIDIA A10 can't be used: CUDA_VISIBLE_DEVICES=7 names no GPU that CUDA finds"
    )


def none_visible(monkeypatch: pytest.MonkeyPatch) -> FoundGPU:
    def fail() -> None:
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr(torch.cuda, "init", fail)
    return find_gpu()


def fill_after(num_probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another program fill the GPU after some probes."""
    compute, left = devices._compute, iter(range(num_probes))

    def probe(device: torch.device, *rest: Any) -> bool:
        if device == GPU and next(left, None) is None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
        return compute(device, *rest)

    monkeypatch.setattr(devices, "_compute", probe)


def test_a_gpu_that_becomes_full_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    fill_after(1, monkeypatch)
    with SimulatedGPU(), pytest.raises(OptionError, match="'cuda:0' can't be used: its memory is full"):
        Upscaler.load("compact", device="cuda")


def test_a_capability_that_can_not_be_asked_for_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(NO_KERNEL)

    monkeypatch.setattr(torch.cuda, "get_device_capability", fail)
    assert reason_of(RuntimeError(NO_KERNEL), GPU).endswith("has no kernels for it")


def test_the_first_gpu_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices, "why_unusable", lambda device: "it is busy" if device.index == 0 else "")
    assert choose_device("auto") == torch.device("cuda", 1)


def test_looking_for_a_gpu_does_not_warn() -> None:
    with warnings.catch_warnings(action="error"):
        find_gpu()


@pytest.mark.parametrize(
    ("facts", "dtype", "finer"),
    [
        ({"name": "NVIDIA GeForce RTX 3060", "capability": (8, 6)}, torch.float16, torch.bfloat16),
        ({"name": "NVIDIA GeForce RTX 2060", "capability": (7, 5)}, torch.float16, torch.float32),
        ({"name": "NVIDIA GeForce GTX 1660 Ti", "capability": (7, 5)}, torch.float32, None),
    ],
)
def test_the_precision_suits_the_card(
    facts: dict[str, Any], dtype: torch.dtype, finer: torch.dtype | None
) -> None:
    with SimulatedGPU(**facts):
        assert choose_dtype("auto", GPU) == dtype
        assert more_precise(dtype, GPU) == finer


def test_float16_that_computes_wrongly_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_compute", lambda *_: False)
    with SimulatedGPU():
        assert choose_dtype("auto", GPU) == torch.float32


def test_bfloat16_that_is_emulated_is_not_advised(caplog: pytest.LogCaptureFixture) -> None:
    with SimulatedGPU(name="NVIDIA GeForce RTX 2060", capability=(7, 5)):
        Upscaler.load("compact", device="cuda", dtype="bfloat16")
    assert "cuda:0 emulates bfloat16" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_small_kernels_are_right(dtype: torch.dtype) -> None:
    assert devices._compute(torch.device("cpu"), dtype)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA driver error: out of memory",
        "HIP out of memory",
        "MPS backend out of memory",
        "Triton Error [CUDA]: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous",
        "GET was unable to find an engine to execute this computation",
        "FIND was unable to find an engine to execute this computation",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "CUFFT_ALLOC_FAILED",
        "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to",
        "[enforce fail at CPUAllocator.cpp] DefaultCPUAllocator: not enough memory",
        "could not create a primitive",
        "std::bad_alloc",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasCreate(handle)`",
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/c10/cuda/CUDACachingAllocator.cpp":1090',
        "hipMalloc failed",
        "CUDA Out Of Memory",
    ],
)
def test_every_kind_of_full_memory_is_known(text: str) -> None:
    for kind in (RuntimeError, torch.OutOfMemoryError, torch.AcceleratorError):
        assert is_out_of_memory(kind(text))
        assert not is_device_failure(kind(text))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: device-side assert triggered",
        "CUDA error: unspecified launch failure",
        "CUDA error: the launch timed out and was terminated",
        "CUDA error: uncorrectable ECC error encountered",
        "CUDA error: misaligned address",
        "CUDA error: an illegal instruction was encountered",
        "CUDA error: unknown error",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "Triton Error [CUDA]: an illegal memory access was encountered",
        "CUDA error: context is destroyed",
        "CUDA error: Device lost",
        "CUDA driver error: unknown error",
        "CUDA error: initialization error",
    ],
)
def test_every_kind_of_failed_device_is_known(text: str) -> None:
    for kind in (RuntimeError, torch.AcceleratorError):
        assert is_device_failure(kind(text))
        assert not is_out_of_memory(kind(text))


@pytest.mark.parametrize(
    "error",
    [
        OSError("The paging file is too small for this operation to complete. (os error 1455)"),
        OSError("[WinError 1455] Le fichier de pagination est insuffisant pour terminer."),
        OSError("Cannot allocate memory (os error 12)"),
        OSError(errno.ENOMEM, "Nicht genügend Hauptspeicher verfügbar"),
        SafetensorError("Error while mapping: Cannot allocate memory (os error 12)"),
    ],
)
def test_memory_that_the_system_lacks_while_loading_is_reported(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(weights, "safe_open", fail)
    with pytest.raises(MemoryLimitError, match="too little memory for the model compact"):
        Upscaler.load("compact", device="cpu")


def test_a_file_that_is_missing_is_no_lack_of_memory() -> None:
    assert not is_out_of_memory(FileNotFoundError(errno.ENOENT, "No such file or directory"))


def test_other_errors_are_neither() -> None:
    error = RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")
    assert not is_out_of_memory(error)
    assert not is_device_failure(error)
    assert reason_of(error) == str(error)
