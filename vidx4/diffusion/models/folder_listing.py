"""What models lie in a folder as files, by the descriptions of their weights alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vidx4.diffusion.device_errors import first_line, is_out_of_memory
from vidx4.diffusion.models.loading.model_file import is_model_file
from vidx4.diffusion.models.spandrel_models import failure, library, read_file, unsuited, unweighted
from vidx4.errors import ModelError
from vidx4.syntax import format_disk

_LICENSES = ("modelspec.license", "license")
"""Keys of the licence in the metadata of safetensors (Stability AI's ModelSpec 1.0, and what others
write)."""
_ARCHITECTURES = ("modelspec.architecture", "architecture")
_MAX_NOTE = 60
"""Most characters of what a file says of itself that are shown."""


@dataclass(frozen=True)
class ListedModel:
    """A file that looks like a model."""

    path: Path
    architecture: str
    """Name of the architecture that its weights belong to; else what the file says; empty if nobody knows."""
    scale: int | None
    """How many times larger it makes pictures; None if that is not known."""
    size: int
    """Bytes of the file."""
    license: str
    """Licence that the file names; empty if it names none."""
    why_not: str
    """Why it can't be used; empty if it can."""
    COLUMNS: ClassVar = ["model", "architecture", "scale", "size", "licence", "why it can't be used"]

    @property
    def cells(self) -> list[str]:
        """The model as a row of a table."""
        size = format_disk(self.size)
        scale = f"x{self.scale}" if self.scale else ""
        return [self.path.name, self.architecture, scale, size, self.license, self.why_not]


def list_models(folder: Path) -> Iterator[ListedModel]:
    """Yield the models that lie in a folder as files, by name; no weights are read.

    Raises:
        ModelError: there is no such folder, or spandrel can't be used.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if is_model_file(path.name))
    except OSError as error:
        raise ModelError(f"{folder} can't be listed: {error.strerror or error}.") from error
    if paths:
        library()  # or each of them would be listed as one that can't be used
    return map(_listed, paths)


def _listed(path: Path) -> ListedModel:
    size, notes, name, scale = 0, dict[str, str](), "", None
    try:
        size = path.lstat().st_size
        file = read_file(path)
        notes = dict(file.notes)
        model = unweighted(file)
        name, scale = model.architecture.name, int(model.scale)
        why_not = unsuited(model) or failure(model)
    except Exception as error:  # one bad file must not hide the others
        why_not = _reason(path, error)
    return ListedModel(
        path, name or _note(notes, _ARCHITECTURES), scale, size, _note(notes, _LICENSES), why_not
    )


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, ModelError):
        return str(error).removeprefix(f"{path} can't be used: ").removeprefix(f"{path} ").rstrip(".")
    if is_out_of_memory(error):
        return "it takes more memory than there is"
    return f"it can't be read ({first_line(error)})"


def _note(notes: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((notes[key][:_MAX_NOTE] for key in keys if key in notes), "")
