"""What PyTorch asks a GPU and its driver, answered for the simulated device."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensor

from tests.simulated_gpu import streams
from tests.simulated_gpu.attention import attend

if TYPE_CHECKING:
    from tests.simulated_gpu.gpu import SimulatedGPU


@contextmanager
def patched_cuda(gpu: "SimulatedGPU") -> Iterator[None]:
    """Answer for a simulated device, as long as the context lasts."""
    lifts = torch._C._only_lift_cpu_tensors()
    with ExitStack() as stack:
        stack.enter_context(patch.multiple(torch.cuda, **_functions(gpu)))
        stack.enter_context(patch.object(torch.cuda, "_lazy_init", lambda: None))
        stack.enter_context(patch.object(torch.nn.functional, "scaled_dot_product_attention", attend(gpu)))
        stack.enter_context(patch.object(torch.nn.Module, "_apply", _apply))
        _patch_inference_mode(stack)
        # Otherwise `torch.tensor(..., device="cuda")` would ask the driver itself for the memory.
        torch._C._ensureCUDADeviceGuardSet()
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifts)
        yield


def _functions(gpu: "SimulatedGPU") -> dict[str, Any]:
    major, minor = gpu.capability

    def properties(_: Any = None) -> SimpleNamespace:
        memory = {"total_memory": gpu.total_memory, "multi_processor_count": 28}
        return SimpleNamespace(name=gpu.name, major=major, minor=minor, **memory)

    def set_memory_fraction(fraction: float, device: Any = None) -> None:
        if device is not None and torch.device(device).index is None:
            raise ValueError(
                f"Expected a torch.device with a specified index or an integer, but got:{device}"
            )
        if not 0 <= fraction <= 1:
            raise ValueError(f"Invalid fraction value: {fraction}. Allowed range: 0~1")
        gpu.memory_fraction = fraction

    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "get_device_name": lambda _=None: gpu.name,
        "get_device_properties": properties,
        "get_device_capability": lambda _=None: gpu.capability,
        "get_arch_list": lambda: [f"sm_{major}{minor}"],
        "mem_get_info": lambda _=None: (
            gpu.total_memory - gpu.used_memory - gpu.memory.live,
            gpu.total_memory,
        ),
        "memory_allocated": lambda _=None: gpu.memory.live,
        "memory_reserved": lambda _=None: gpu.memory.live,
        "max_memory_allocated": lambda _=None: gpu.memory.peak,
        "max_memory_reserved": lambda _=None: gpu.memory.peak,
        "reset_peak_memory_stats": lambda _=None: gpu.memory.reset(),
        "set_per_process_memory_fraction": set_memory_fraction,
        "empty_cache": lambda: None,
        "synchronize": lambda _=None: gpu.wait(),
        "is_bf16_supported": lambda *_, **__: major >= 8,
        "Stream": streams.Stream,
        "Event": streams.new_event(gpu.wait),
        "current_stream": streams.Stream,
        "stream": streams.use,
    }


def _patch_inference_mode(stack: ExitStack) -> None:
    """Let inference mode be `no_grad`, since tensors without numbers can't be made in it."""
    guards: list[Any] = []

    def enter(_: Any) -> None:
        guards.append(torch.no_grad())
        guards[-1].__enter__()

    def leave(_: Any, *exception: Any) -> None:
        guards.pop().__exit__(*exception)

    stack.enter_context(patch.multiple(torch.inference_mode, __enter__=enter, __exit__=leave))


_original_apply = torch.nn.Module._apply


def _apply(module: torch.nn.Module, fn: Any, recurse: bool = True) -> torch.nn.Module:
    """Do as `Module._apply`, which can neither swap nor overwrite tensors without numbers."""
    if recurse:
        for child in module.children():
            child._apply(fn)
    for key, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                moved = fn(parameter)
            if isinstance(moved, FakeTensor) or isinstance(parameter, FakeTensor):
                module._parameters[key] = torch.nn.Parameter(moved, parameter.requires_grad)
            else:
                parameter.data = moved
    for key, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[key] = fn(buffer)
    return module
