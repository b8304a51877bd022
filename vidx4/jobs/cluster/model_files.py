"""The files of models, and how workers come by them."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import torch

from vidx4.diffusion.models.registry import choose_model, find
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import ModelError, OptionError

logger = logging.getLogger(__name__)

_SENT = (".json", ".txt", ".safetensors")
"""Suffixes of the files of a model that workers need."""

Store: TypeAlias = Callable[[Any], Any]
"""Puts something where workers can fetch it, and returns a reference."""
Fetch: TypeAlias = Callable[[Any], Any]
"""Returns what a reference refers to."""


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of a model are; nothing where a worker finds them by the model's name."""

    folder: Path | None = None
    """A folder that is there on all machines."""
    sent: Mapping[str, Any] = field(default_factory=dict)
    """References to the content of files, by their names in a folder to be made."""
    digest: str = ""
    """Of what is sent."""


@dataclass(frozen=True)
class Setting:
    """A model and its options, as all workers have to have them."""

    options: UpscaleOptions
    files: ModelFiles


class Models:
    """Where the files of models are, as workers are told.

    Args:
        device: `cuda` or `cpu`, that of all workers.
        store: takes what is sent.
        sends: whether files are sent from here; else each worker finds them by the model's name.
    """

    def __init__(self, device: str, store: Store, *, sends: bool) -> None:
        self.store = store
        self._device = torch.device(device)
        self._sends = sends
        self._sent: dict[Path, ModelFiles] = {}

    def setting(self, options: UpscaleOptions) -> Setting:
        """Return options as all workers have to have them: nothing is left to the machine.

        Raises:
            OptionError: they ask for another device than the workers have.
            ModelError: the model's files are to be sent, and can't be had here.
        """
        if options.device not in ("auto", self._device.type):
            raise OptionError(
                f"All workers are on {self._device}: --device {options.device} can't be had beside it."
            )
        name, why = choose_model(options.model, self._device)
        logger.info("model %s (%s) on workers", name, why)
        files = self._files(name, options)
        return Setting(replace(options, model=name, device=self._device.type), files)

    def _files(self, name: str, options: UpscaleOptions) -> ModelFiles:
        if not self._sends:
            is_folder = name != "compact" and Path(name).is_dir()
            return ModelFiles(Path(name).absolute() if is_folder else None)
        # Weights of half precision are enough where a GPU computes in it; a CPU may want all.
        is_half = self._device.type == "cuda" and options.dtype != "float32"
        folder = find(name, torch.float16 if is_half else torch.float32)
        if folder not in self._sent:
            self._sent[folder] = self._send(folder)
        return self._sent[folder]

    def _send(self, folder: Path) -> ModelFiles:
        digest, sent = sha256(), {}
        for name, content in _contents(folder).items():
            digest.update(sha256(name.encode()).digest() + sha256(content).digest())
            sent[name] = self.store(content)
        return ModelFiles(sent=sent, digest=digest.hexdigest())


def _contents(folder: Path) -> Mapping[str, bytes]:
    """Return what the files of a model hold, but for what lies beside its parts and is no part of it."""
    paths = [folder / "model_index.json", *sorted(folder.glob("*/*"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.suffix in _SENT}


def received(files: ModelFiles, fetch: Fetch) -> Path:
    """Return a folder with files that were sent; the workers of a machine share it.

    Raises:
        ModelError: the place for it belongs to somebody else.
    """
    shelf = Path(tempfile.gettempdir(), f"vidx4-{os.getuid()}")
    shelf.mkdir(mode=0o700, exist_ok=True)
    if shelf.stat().st_uid != os.getuid():
        raise ModelError(f"{shelf} is where models that are sent go, and belongs to another user.")
    folder = shelf / files.digest
    with (shelf / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=shelf) as unfinished:
                whole = Path(unfinished, "model")
                for name, content in files.sent.items():
                    (whole / name).parent.mkdir(parents=True, exist_ok=True)
                    (whole / name).write_bytes(fetch(content))
                whole.rename(folder)
    return folder
