"""Clocks, peak memory, processes of their own, and the rate of the machine."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar

import torch

from vidx4.diffusion import host

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

CPU = torch.device("cpu")


def in_child(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function in a process of its own, so that its memory can be measured.

    Raises:
        MemoryError: the system ended the process, as it does when memory runs out.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenExecutor as error:
            raise MemoryError("The system ended the process.") from error


def synchronize(device: torch.device = CPU) -> None:
    """Wait until a GPU has finished its work, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(function: Callable[[], object], repeats: int = 5, device: torch.device = CPU) -> float:
    """Return the median seconds of a call."""
    seconds = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        function()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def matrix_rate(device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> float:
    """Return the best operations per second of a matrix product, which nothing should exceed."""
    side = 2048 if device.type == "cpu" else 8192
    a = torch.rand(side, side, device=device).to(dtype)
    timed(lambda: a @ a, device=device)  # warms up
    return 2 * side**3 / min(timed(lambda: a @ a, 1, device) for _ in range(20))


def peak_memory(device: torch.device = CPU) -> int:
    """Return the most memory that this process has held, on a GPU if that is the device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    status = Path("/proc/self/status")
    if not status.exists():
        return host.peak_memory()  # it may include what the parent held when it made this process
    peak = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(peak.split()[1])


def held_memory(device: torch.device) -> int | None:
    """Return the most bytes of a GPU that tensors took, without what PyTorch held besides; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def reset_peak_memory(device: torch.device = CPU) -> None:
    """Let `peak_memory` start from the present memory, if the system can do that."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif (path := Path("/proc/self/clear_refs")).exists():
        path.write_text("5", encoding="utf-8")  # resets VmHWM; see proc_pid_clear_refs(5)
