"""The NVIDIA cards of this machine as their driver knows them, whether or not PyTorch can use them."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_QUERY = ("--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader")
_PATIENCE_SECONDS = 10.0
"""Longest wait for the answer: the first may have to start the driver."""
_PROC = Path("/proc/driver/nvidia/gpus")
"""Folder with one for each card; on Linux, also in containers without `nvidia-smi`."""


@dataclass(frozen=True)
class NvidiaCard:
    """A card; what the driver doesn't tell is empty."""

    name: str
    driver: str = ""
    """Version of the driver."""
    capability: str = ""
    """Compute capability, as in 8.6."""

    def __str__(self) -> str:
        known = {"compute capability": self.capability, "driver": self.driver}
        return ", ".join([self.name, *(f"{name} {fact}" for name, fact in known.items() if fact)])


@cache
def nvidia_cards() -> Sequence[NvidiaCard]:
    """Return the cards; none if there is no driver, or it doesn't answer."""
    return [*_asked()] or [*_listed()]


def _asked() -> Iterator[NvidiaCard]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=True
        )
        for line in answer.stdout.splitlines():
            fields = [each.strip() for each in line.split(",")]
            if len(fields) == 3:
                yield NvidiaCard(*fields)


def _listed() -> Iterator[NvidiaCard]:
    with suppress(OSError):
        for path in sorted(_PROC.glob("*/information")):
            facts = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
            yield NvidiaCard(facts.get("Model", "an NVIDIA card").strip())
