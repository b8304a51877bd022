"""The models that the program knows by name: where they are, and whether they are on this machine."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vidx4.diffusion.models.loading.hub import cached
from vidx4.syntax import format_disk

COMPACT_FOLDER = Path(__file__).parents[2] / "weights" / "compact"
SD_X4_REPOSITORY = "stabilityai/stable-diffusion-x4-upscaler"
SD_X4_REVISION = "572c99286543a273bfd17fac263db5a77be12c4c"
"""Commit of the repository, so that its files never change under a job."""

STREAM_REPOSITORY = "Jamichsu/Stream-DiffVSR"
STREAM_REVISION: str | None = None
"""The newest commit: no full name of one is known yet that could be written here."""


@dataclass(frozen=True)
class KnownModel:
    """A model with a name that the program knows, and whether it is on this machine."""

    name: str
    description: str
    """What the model is, and what for."""
    folder: Path | None
    """Folder of the model's files; None if it is not on this machine."""
    size: int
    """Bytes of the model's files; 0 if it is not on this machine."""
    advice: str
    """How to get the model; empty if it is bundled."""
    COLUMNS: ClassVar = ["model", "what", "size", "where"]

    @property
    def cells(self) -> list[str]:
        """The model as a row of a table."""
        size = format_disk(self.size) if self.size else ""
        return [self.name, self.description, size, str(self.folder or self.advice)]


def known_models() -> list[KnownModel]:
    """Return the models that the program knows by name."""
    return [
        _known("compact", "bundled; for CPUs, previews and small GPUs", COMPACT_FOLDER, ""),
        _known(
            "sd-x4",
            f"Stable Diffusion x4 Upscaler ({SD_X4_REPOSITORY}); for CUDA GPUs",
            cached(SD_X4_REPOSITORY, SD_X4_REVISION),
            "It is downloaded on first use (1.7 GB in float16, 3.5 GB in float32).",
        ),
        _known(
            "stream-diffvsr",
            f"Stream-DiffVSR ({STREAM_REPOSITORY}), four steps; for CUDA GPUs; its weights name no licence, "
            "but derive from sd-x4 (CreativeML Open RAIL++-M)",
            cached(STREAM_REPOSITORY, STREAM_REVISION),
            "It is downloaded on first use (4.1 GB in float32).",
        ),
    ]


def _known(name: str, description: str, folder: Path | None, advice: str) -> KnownModel:
    files = [] if folder is None else [path for path in folder.rglob("*") if path.is_file()]
    return KnownModel(name, description, folder, sum(path.stat().st_size for path in files), advice)
