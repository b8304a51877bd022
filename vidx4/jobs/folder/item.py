"""A file of a folder: how it is to be upscaled, and what is left to do of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidx4.diffusion.options import UpscaleOptions
from vidx4.files.stamp import Stamp
from vidx4.jobs.plan import Plan
from vidx4.jobs.request import Request
from vidx4.jobs.still.read import stored_size


@dataclass(frozen=True)
class FileOptions:
    """How one file is upscaled."""

    upscale: UpscaleOptions = UpscaleOptions()
    request: Request = Request()
    batch_size: int | None = None
    changed: str = ""
    """The options that the user set, in a few words."""


@dataclass(frozen=True)
class Item:
    """A file of a folder, and what is left to do of it."""

    path: Path
    options: FileOptions
    output: Path
    plan: Plan | None
    """The plan of a video; None for a still picture."""
    num_kept: int = 0
    """Frames that an earlier run has finished."""
    stamp: Stamp | None = None
    """Stamp of the file before it was looked at."""

    @property
    def num_left(self) -> int:
        """Frames that are left to upscale."""
        return self.plan.num_frames - self.num_kept if self.plan else 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame, as it is stored; raises as `stored_size`."""
        return (self.plan.source.width, self.plan.source.height) if self.plan else stored_size(self.path)

    @property
    def work_left(self) -> int:
        """Low-resolution pixels that are left to upscale; still pictures count as none."""
        return self.num_left * self.plan.source.width * self.plan.source.height if self.plan else 0

    def facts(self) -> dict[str, Any]:
        """Return what will be done with the file, as JSON values."""
        facts = {"path": str(self.path), "output": str(self.output)}
        counts = {"num_left": self.num_left, "num_kept": self.num_kept}
        status = "resumes" if self.num_kept else "to do"
        return {**facts, **counts, "status": status, "frames": self._frames, "notes": self.options.changed}

    @property
    def _frames(self) -> str:
        if self.plan is None:
            return "a picture"
        kept = f", {self.num_kept} of them done" if self.num_kept else ""
        source = self.plan.source
        return f"{self.plan.num_frames} of {source.width}x{source.height}{kept}"
