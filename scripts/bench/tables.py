"""Tables of results, written as JSON and Markdown."""

import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

import torch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """One line of a table; None for whatever does not apply."""

    what: str
    seconds: float | None = None
    """Seconds per frame."""
    ratio: float | None = None
    """Ratio to the line that this one is compared with."""
    _: KW_ONLY
    total: float | None = None
    """Seconds of all frames."""
    denoising: float | None = None
    """Seconds per frame before latents are decoded."""
    denoising_share: float | None = None
    """Like `share_of_floor`, for denoising alone."""
    share_of_floor: float | None = None
    """Seconds that the operations would take at the machine's rate, over the seconds they took."""
    share_reused: float | None = None
    """Share of the work that was reused."""
    psnr: float | None = None
    """PSNR-Y against the pictures of exact reuse, in dB."""
    most_different: float | None = None
    """Largest difference from the picture that this one is compared with, in 8-bit levels."""
    mean_different: float | None = None
    """Mean difference from that picture, in 8-bit levels."""
    denoising_operations: float | None = None
    """Operations of denoising, in T (10**12), two per multiply-add."""
    decoding_operations: float | None = None
    """Operations of decoding, in T."""
    finishing_operations: float | None = None
    """Operations of all the rest, in T; only products of matrices and convolutions count."""
    simulated_memory: int | None = None
    """Peak memory of a simulated GPU, in bytes."""
    peak_memory: int | None = None
    """Peak memory of the process, or on the GPU, in bytes."""
    planned_memory: int | None = None
    """What the program reckons with before the work, in bytes."""
    held_memory: int | None = None
    """Peak memory of the tensors on the GPU alone, in bytes."""

    @property
    def frames_per_second(self) -> float | None:
        """Frames per second."""
        return 1 / self.seconds if self.seconds else None


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "total": ("seconds", "{:.2f}".format),
    "seconds": ("seconds a frame", "{:.3f}".format),
    "frames_per_second": ("frames/s", "{:.3g}".format),
    "denoising_operations": ("denoising (T)", "{:.0f}".format),
    "decoding_operations": ("decoding (T)", "{:.0f}".format),
    "finishing_operations": ("finishing (T)", "{:.2g}".format),
    "denoising": ("of it denoising", "{:.3f}".format),
    "denoising_share": ("share of the floor", "{:.0%}".format),
    "ratio": ("ratio", "{:.3g}".format),
    "share_of_floor": ("share of the floor", "{:.0%}".format),
    "share_reused": ("reused", "{:.0%}".format),
    "psnr": ("PSNR-Y (dB)", "{:.1f}".format),
    "most_different": ("difference, max (1/255)", "{:.2g}".format),
    "mean_different": ("mean", "{:.2g}".format),
    "planned_memory": ("planned MiB", lambda size: f"{size / 2**20:.0f}"),
    "simulated_memory": ("simulated peak MiB", lambda size: f"{size / 2**20:.0f}"),
    "peak_memory": ("peak MiB", lambda size: f"{size / 2**20:.0f}"),
    "held_memory": ("of it tensors", lambda size: f"{size / 2**20:.0f}"),
}
"""Heading and format of each attribute of a row; a table has the columns that any of its rows has."""

Tables = dict[str, list[Row]]
"""Tables by their headings."""


def write(out: Path, name: str, tables: Tables, device: torch.device = CPU, **facts: Any) -> None:
    """Write tables as JSON and Markdown, and print them.

    Args:
        out: the folder for both files; made if it is missing.
        name: the benchmark's name, which names the files.
        tables: what was measured.
        device: the device it was measured on.
        facts: further entries of the JSON record.
    """
    out.mkdir(parents=True, exist_ok=True)
    record = machine(device) | facts | {"tables": tables}
    (out / f"bench_{name}.json").write_text(json.dumps(record, default=asdict, indent=2) + "\n")
    text = "\n".join(markdown(heading, rows) for heading, rows in tables.items())
    (out / f"bench_{name}.md").write_text(text)
    print(text, end="")


def markdown(heading: str, rows: list[Row]) -> str:
    """Return a table with a column for everything that any row has."""
    columns = {
        key: column for key, column in COLUMNS.items() if any(getattr(row, key) is not None for row in rows)
    }
    headings = " | ".join(heading for heading, _ in columns.values())
    lines = [f"{heading}\n", f"| | {headings} |", "|---" + "|--:" * len(columns) + "|"]
    for row in rows:
        cells = [_cell(getattr(row, key), to_text) for key, (_, to_text) in columns.items()]
        lines.append(f"| {row.what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, to_text: Callable[[Any], str]) -> str:
    return "" if value is None else to_text(value)


def machine(device: torch.device = CPU) -> dict[str, Any]:
    """Return the date and the machine of a measurement."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "torch": torch.__version__,
        **(card(device) if device.type == "cuda" else {}),
    }


def card(device: torch.device) -> dict[str, Any]:
    """Return what a GPU is, and what drives it."""
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory": properties.total_memory,
        "driver": driver(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def driver() -> str | None:
    """Return the version of NVIDIA's driver; None if it can't be found out."""
    if (program := shutil.which("nvidia-smi")) is None:
        return None
    asked = subprocess.run(
        [program, "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    return asked.stdout.partition("\n")[0].strip() or None


def processor() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")  # `platform.processor()` is empty or just "x86_64" on Linux
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


if __name__ == "__main__":
    print(json.dumps(machine(torch.device(sys.argv[1]))))
