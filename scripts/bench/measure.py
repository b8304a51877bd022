"""What all parts of `bench.py` share: clocks, memory, the rate of the machine, and tables of results."""

import json
import multiprocessing
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """One line of a table; what does not apply is None."""

    what: str
    seconds: float | None = None
    """Per frame."""
    ratio: float | None = None
    """To the line that it is compared with, which has 1."""
    _: KW_ONLY
    total: float | None = None
    """Seconds of all frames."""
    denoising: float | None = None
    """Of the seconds per frame, those before latents are decoded."""
    denoising_share: float | None = None
    """As `share_of_floor`, of denoising alone."""
    share_of_floor: float | None = None
    """What the operations would take at the machine's rate, over what they took."""
    share_reused: float | None = None
    psnr: float | None = None
    """PSNR-Y of the pictures, in dB, against those of exact reuse."""
    most_different: float | None = None
    """Of all values from the picture that it is compared with, in 8-bit levels."""
    mean_different: float | None = None
    """As `most_different`, on average."""
    peak_memory: int | None = None
    """Of the process, or on the GPU, in bytes."""

    @property
    def frames_per_second(self) -> float | None:
        """The inverse of `seconds`."""
        return 1 / self.seconds if self.seconds else None


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "total": ("seconds", "{:.2f}".format),
    "seconds": ("seconds a frame", "{:.3f}".format),
    "frames_per_second": ("frames/s", "{:.3g}".format),
    "denoising": ("of it denoising", "{:.3f}".format),
    "denoising_share": ("share of the floor", "{:.0%}".format),
    "ratio": ("ratio", "{:.3g}".format),
    "share_of_floor": ("share of the floor", "{:.0%}".format),
    "share_reused": ("reused", "{:.0%}".format),
    "psnr": ("PSNR-Y (dB)", "{:.1f}".format),
    "most_different": ("difference, max (1/255)", "{:.2g}".format),
    "mean_different": ("mean", "{:.2g}".format),
    "peak_memory": ("peak MiB", lambda size: f"{size / 2**20:.0f}"),
}
"""Attribute of a row: its heading, and how it is written; a table has those that any of its rows has."""

Tables = dict[str, list[Row]]
"""By their headings."""


def write(out: Path, part: str, tables: Tables, device: torch.device = CPU, **facts: Any) -> None:
    """Write tables as JSON and Markdown, and print them.

    Args:
        out: the folder; made where it is missing.
        part: gives the files their name.
        tables: what was measured.
        device: where it was measured.
        facts: what else the record shall hold.
    """
    out.mkdir(parents=True, exist_ok=True)
    record = machine(device) | facts | {"tables": tables}
    (out / f"bench_{part}.json").write_text(json.dumps(record, default=asdict, indent=2) + "\n")
    text = "\n".join(markdown(heading, rows) for heading, rows in tables.items())
    (out / f"bench_{part}.md").write_text(text)
    print(text, end="")


def markdown(heading: str, rows: list[Row]) -> str:
    """Return a table with a column for everything that any row has."""
    columns = {key: how for key, how in COLUMNS.items() if any(getattr(row, key) is not None for row in rows)}
    names = " | ".join(name for name, _ in columns.values())
    lines = [f"{heading}\n", f"| | {names} |", "|---" + "|--:" * len(columns) + "|"]
    for row in rows:
        cells = [_cell(getattr(row, key), write) for key, (_, write) in columns.items()]
        lines.append(f"| {row.what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, write: Callable[[Any], str]) -> str:
    return "" if value is None else write(value)


def machine(device: torch.device = CPU) -> dict[str, Any]:
    """Return when and on what something is measured."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
    }


def processor() -> str:
    """Return the name of the processor: Linux keeps it in a file, where Python does not look."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def in_child(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Result:
    """Call a function in a process of its own, so that its memory can be told.

    Raises:
        MemoryError: the system ended the process, as it does where memory runs out.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenExecutor as error:
            raise MemoryError("The system ended the process.") from error


def synchronize(device: torch.device = CPU) -> None:
    """Wait until a GPU has done what it was told, so that a clock may be read."""
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
    """Return the operations per second of a matrix product, at best: nothing is to exceed it."""
    side = 2048 if device.type == "cpu" else 8192
    a = torch.rand(side, side, device=device).to(dtype)
    timed(lambda: a @ a, device=device)  # warms up
    return 2 * side**3 / min(timed(lambda: a @ a, 1, device) for _ in range(20))


def peak_memory(device: torch.device = CPU) -> int:
    """Return the most memory that this process has held, on a GPU where that is its device, in bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    status = Path("/proc/self/status")
    if not status.exists():
        # Elsewhere this may include what the parent held when it made this process.
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(peak.split()[1])


def forget_peak(device: torch.device = CPU) -> None:
    """Have `peak_memory` begin anew, where the system can do that."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif (path := Path("/proc/self/clear_refs")).exists():
        path.write_text("5")
