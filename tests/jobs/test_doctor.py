"""The doctor says what is wrong with a GPU, and never fails itself."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.simulated_gpu.gpu import SimulatedGPU
from vidx4.diffusion import device as devices
from vidx4.diffusion.models.spandrel_models import library
from vidx4.diffusion.nvidia import NvidiaCard
from vidx4.jobs import doctor
from vidx4.jobs.doctor import Finding, examine

CARD = NvidiaCard("NVIDIA GeForce GTX 1080", "580.10", "6.1")
FACTS: dict[str, Any] = {"name": CARD.name, "capability": (6, 1)}


@pytest.fixture(autouse=True)
def _card(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (devices, doctor):
        monkeypatch.setattr(module, "nvidia_cards", lambda: [CARD])


def findings() -> dict[str, Finding]:
    return {each.subject: each for each in examine()}


def fail_on_gpu(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    compute = devices._compute

    def fail(device: torch.device, *rest: Any) -> bool:
        if device.type == "cuda":
            raise RuntimeError(text)
        return compute(device, *rest)

    monkeypatch.setattr(devices, "_compute", fail)


def test_a_gpu_that_works_is_described() -> None:
    with SimulatedGPU(8 * 2**30, used_memory=2**30, **FACTS):
        found = findings()
    assert found["default device"].message.startswith("cuda:0, float16")
    assert found["cuda:0"].is_fine
    facts = "NVIDIA GeForce GTX 1080, compute capability 6.1, driver 580.10, 7.0 of 8.0 GiB free, computes"
    assert found["cuda:0"].message == facts
    assert not {"CUDA", "sd-x4 on cuda:0", "compact on cuda:0"} & found.keys()


def test_models_that_do_not_fit_are_named() -> None:
    with SimulatedGPU(8 * 2**30, used_memory=8 * 2**30 - 2 * 10**8, **FACTS):
        found = findings()
    assert not found["sd-x4 on cuda:0"].is_fine
    assert "0.2 GB are free" in found["sd-x4 on cuda:0"].message.replace("200 MB", "0.2 GB")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "CUDA error: no kernel image is available for execution on the device",
            "no kernels for its compute",
        ),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", "in use by another program"),
    ],
)
def test_a_gpu_that_can_not_compute_is_described(
    text: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on_gpu(monkeypatch, text)
    with SimulatedGPU(**FACTS):
        found = findings()
    assert found["default device"].message.startswith("cpu")
    assert not found["cuda:0"].is_fine
    assert CARD.name in found["cuda:0"].message
    assert reason in found["cuda:0"].message


def test_a_gpu_whose_memory_can_not_be_asked_for_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "CUDA error: out of memory"
    fail_on_gpu(monkeypatch, text)

    def fail(_: object) -> None:
        raise RuntimeError(text)

    with SimulatedGPU(**FACTS):
        monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
        found = findings()
    assert found["cuda:0"].message.endswith("driver 580.10; it can't be used: its memory is full")


def test_a_build_without_cuda_is_named_where_a_card_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch.cuda, "init", fail)
    found = findings()["CUDA"]
    assert found.message == f"{CARD}; it can't be used: PyTorch is built without CUDA"
    assert "pytorch.org" in found.advice


@pytest.mark.parametrize(
    ("error", "reason", "advice"),
    [
        (RuntimeError("The NVIDIA driver on your system is too old"), "its driver is too old", "Update the"),
        (RuntimeError("CUDA-capable device(s) is/are busy or unavailable"), "in use by another", "End other"),
        (RuntimeError("No CUDA GPUs are available"), "CUDA_VISIBLE_DEVICES=-1 hides it", "Unset CUDA_"),
        (torch.cuda.DeferredCudaCallError("something new"), "something new", "restart"),
        (OSError("libcudart.so.13: cannot open"), "libcudart.so.13: cannot open", "restart"),
    ],
)
def test_a_card_that_is_not_reached_is_described(
    error: Exception, reason: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(torch.cuda, "init", fail)
    found = findings()["CUDA"]
    assert found.message.startswith(
        "NVIDIA GeForce GTX 1080, compute capability 6.1, driver 580.10; it can't"
    )
    assert reason in found.message
    assert advice in found.advice


@pytest.mark.parametrize("num_probes", [1, 2])
def test_a_gpu_that_becomes_full_does_no_harm(num_probes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compute, left = devices._compute, iter(range(num_probes))

    def probe(device: torch.device, *rest: Any) -> bool:
        if device.type == "cuda" and next(left, None) is None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")
        return compute(device, *rest)

    monkeypatch.setattr(devices, "_compute", probe)
    with SimulatedGPU(**FACTS):
        found = findings()
    assert "its memory is full" in found["default device" if num_probes == 1 else "memory of cuda:0"].message


def test_a_gpu_on_which_every_call_fails_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "CUDA error: no kernel image is available for execution on the device"
    fail_on_gpu(monkeypatch, text)

    def fail(*_: object) -> None:
        raise RuntimeError(text)

    with SimulatedGPU(**FACTS):
        for name in ("get_device_name", "get_device_capability", "get_device_properties", "mem_get_info"):
            monkeypatch.setattr(torch.cuda, name, fail)
        found = findings()
    assert "has no kernels for it" in found["cuda:0"].message


def test_a_spandrel_that_does_not_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spandrel.py").write_text("raise OSError('a library is missing')")
    library.cache_clear()
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        found = findings()["spandrel"]
    finally:
        library.cache_clear()
    assert not found.is_fine
    assert "a library is missing" in found.message
    assert "pip install spandrel" in found.advice
