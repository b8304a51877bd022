"""The simulated device: operations on it, and what it counts."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tests.simulated_gpu.cuda import patched_cuda
from tests.simulated_gpu.functions import Indexed, without_guard
from tests.simulated_gpu.masks import Masks
from tests.simulated_gpu.meters import Memory, is_on_gpu, num_bytes
from tests.simulated_gpu.models import without_weights
from tests.simulated_gpu.offloading import patched_offloading
from tests.simulated_gpu.stages import patched_stages

aten = torch.ops.aten
_LARGE = 1 << 22
"""Numbers above which made-up ones take no memory."""


class SimulatedGPU:
    """A GPU `cuda:0` that computes nothing; to be entered as a context.

    Args:
        total_memory: bytes of its memory. Planning sees them; that they suffice is not enforced.
        used_memory: bytes of it that others use.
        name: its name.
        capability: its compute capability.
    """

    def __init__(
        self,
        total_memory: int = 24 * 10**9,
        *,
        used_memory: int = 0,
        name: str = "Simulated GPU",
        capability: tuple[int, int] = (8, 6),
    ) -> None:
        self.total_memory, self.used_memory = total_memory, used_memory
        self.name, self.capability = name, capability
        self.memory = Memory()
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.memory_fraction = 1.0
        self._stages = ["other"]
        self._stack = ExitStack()
        self.fake_mode = _FakeMode(allow_non_fake_inputs=True)

    def __enter__(self) -> Self:
        if torch.cuda.is_available():
            raise RuntimeError("There is a GPU, or one is simulated already.")
        with ExitStack() as stack:
            stack.enter_context(without_guard())
            stack.enter_context(patched_cuda(self))
            stack.enter_context(without_weights(self.fake_mode))
            stack.enter_context(patched_offloading())
            stack.enter_context(patched_stages(self.stage))
            stack.enter_context(_Dispatch(self))
            stack.enter_context(Indexed())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def current_stage(self) -> str:
        """The stage that is counted for."""
        return self._stages[-1]

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count for a stage."""
        self._stages.append(name)
        try:
            yield
        finally:
            self._stages.pop()

    def reset(self) -> None:
        """Start all counts anew; memory that is in use remains so."""
        self.memory.reset()
        for counter in (self.operations, self.waits, self.copies):
            counter.clear()

    def wait(self) -> None:
        """Count a wait of the host for the device."""
        self.waits[self.current_stage] += 1


class _FakeMode(FakeTensorMode):
    avoid_device_init = True  # although PyTorch is made to believe in the device


class _Dispatch(TorchDispatchMode):
    """Simulates operations that a GPU takes part in, and leaves the others alone."""

    def __init__(self, gpu: SimulatedGPU) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._gpu = gpu
        self._masks = Masks(gpu.fake_mode, gpu.wait)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what that takes would be a tenth of the time, and nothing is compiled

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.prim.device.default:
            return args[0].fake_device
        kwargs = dict(kwargs or {})
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False  # real memory of the host, and pinning it needs a driver
        if FakeTensor not in types and not is_on_gpu(kwargs.get("device")):
            return func(*args, **kwargs)
        if (to_host := _TO_HOST.get(func)) is not None and _is_to_host(func, args, kwargs):
            return to_host(self._gpu, args, kwargs)
        _check_types(func, args)
        args = self._masks.resolved(func, args)
        result = self._gpu.fake_mode.dispatch(func, types, args, kwargs)
        self._masks.follow(func, args, kwargs, result)
        self._count(func, args, kwargs, result)
        return result

    def _count(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        gpu = self._gpu
        for each in tree_leaves(result):
            if isinstance(each, FakeTensor) and each.device.type == "cuda":
                gpu.memory.add(each, gpu.current_stage)
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            gpu.operations[gpu.current_stage] += formula(*args, **kwargs, out_val=result)
        if func in _WAITING:
            gpu.wait()


def _check_types(func: Any, args: tuple[Any, ...]) -> None:
    """Raise the error of a GPU's kernels for operands of different types, which shapes alone don't show."""
    if func._overloadpacket in flop_registry or func in _OF_ONE_TYPE:
        types = {each.dtype for each in args if isinstance(each, Tensor)}
        if len(types) > 1:
            raise RuntimeError(f"{func} expected operands of the same dtype, got {types}.")


def _is_to_host(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an operation that may copy to the host does so."""
    if func is aten._to_copy.default:
        device = kwargs.get("device")
        return args[0].device.type == "cuda" and device is not None and not is_on_gpu(device)
    if func is aten.copy_.default:
        return not isinstance(args[0], FakeTensor) and isinstance(args[1], FakeTensor)
    return isinstance(args[0], FakeTensor)


def _made_up(shape: Any, dtype: torch.dtype) -> Tensor:
    number = torch.full((), dtype == torch.bool, dtype=dtype)
    # Large ones, which nobody writes into, take no memory.
    return number.expand(shape) if math.prod(shape) > _LARGE else number.expand(shape).clone()


def _copied(gpu: SimulatedGPU, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Simulate `_to_copy`."""
    dtype = kwargs.get("dtype") or args[0].dtype
    # The type is converted on the device before the copy, or on the host after it: what is copied is alike.
    gpu.copies[gpu.current_stage] += num_bytes(args[0])
    if not kwargs.get("non_blocking"):
        gpu.wait()
    copied = _made_up(args[0].shape, dtype)
    memory_format = kwargs.get("memory_format") or torch.preserve_format
    is_special = memory_format != torch.preserve_format
    return copied.contiguous(memory_format=memory_format) if is_special else copied


def _copied_into(gpu: SimulatedGPU, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Simulate `copy_` from the device to the host."""
    target: Tensor = args[0]
    gpu.copies[gpu.current_stage] += num_bytes(args[1])
    if not (args[2] if len(args) > 2 else kwargs.get("non_blocking")):
        gpu.wait()
    return target.copy_(_made_up(args[1].shape, target.dtype))


def _read(gpu: SimulatedGPU, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
    """Simulate `item`."""
    gpu.wait()
    return _made_up((), args[0].dtype).item()


def _compared(gpu: SimulatedGPU, args: tuple[Any, ...], _: dict[str, Any]) -> bool:
    """Simulate `torch.equal`: made-up numbers differ, so that work that equality saves is not saved."""
    gpu.wait()
    return args[0] is args[1]


_TO_HOST: dict[Any, Callable[[SimulatedGPU, tuple[Any, ...], dict[str, Any]], Any]] = {
    aten._to_copy.default: _copied,
    aten.copy_.default: _copied_into,
    aten._local_scalar_dense.default: _read,
    aten.equal.default: _compared,
}
"""Operations that may hand something to the host."""
_OF_ONE_TYPE = frozenset(
    {aten.native_group_norm.default, aten.native_layer_norm.default, aten.grid_sampler_2d.default}
)
"""Operations, besides products, whose operands must be of one type."""
_WAITING = frozenset({aten.nonzero.default, aten.masked_select.default, aten.repeat_interleave.Tensor})
"""Operations that wait for the device to know the shape of their result."""
