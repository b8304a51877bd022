"""The files of models, and how workers get them."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import torch

from vidx4.diffusion.models.registry import choose_model, find
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import ModelError, OptionError
from vidx4.jobs.cluster.object_store import ObjectStore, Ref

_logger = logging.getLogger(__name__)

_SENT = (".json", ".txt", ".safetensors")
"""Suffixes of the files of a model that workers need."""


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of a model are; all empty if each worker finds them by the model's name."""

    folder: Path | None = None
    """A folder that exists on all machines."""
    sent: Mapping[str, Ref[bytes]] = field(default_factory=dict)
    """Contents of files, by their names in the folder that a worker makes of them."""
    digest: str = ""
    """SHA-256 of all that is sent."""


@dataclass(frozen=True)
class ModelSpec:
    """A model with its options, the same for all workers."""

    options: UpscaleOptions
    files: ModelFiles


class Models:
    """Specifies models for workers.

    Args:
        device: device of all workers, `cuda` or `cpu`.
        store: where files are put that are sent.
        sends: whether files are sent from here; else each worker finds them by the model's name.
    """

    def __init__(self, device: str, store: ObjectStore, *, sends: bool) -> None:
        self.store = store
        self._device = torch.device(device)
        self._sends = sends
        self._sent: dict[Path, ModelFiles] = {}

    def spec(self, options: UpscaleOptions) -> ModelSpec:
        """Return a model and its options with every choice made, so that no machine makes another.

        Raises:
            OptionError: the options ask for a device that the workers don't have.
            ModelError: the model's files should be sent, and are not available here.
        """
        if options.device not in ("auto", self._device.type):
            raise OptionError(
                f"All workers run on {self._device}; --device {options.device} is not available."
            )
        name, why = choose_model(options.model, self._device)
        _logger.info("model %s (%s) on workers", name, why)
        files = self._files(name, options)
        return ModelSpec(replace(options, model=name, device=self._device.type), files)

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
            sent[name] = self.store.put(content)
        return ModelFiles(sent=sent, digest=digest.hexdigest())


def _contents(folder: Path) -> Mapping[str, bytes]:
    """Return the contents of a model's files, without what only lies beside them."""
    paths = [folder / "model_index.json", *sorted(folder.glob("*/*"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.suffix in _SENT}


def received(files: ModelFiles, store: ObjectStore) -> Path:
    """Return a folder with files that were sent; the workers of a machine share it.

    Raises:
        ModelError: the cache folder belongs to another user.
    """
    cache = Path(tempfile.gettempdir(), f"vidx4-{os.getuid()}")
    cache.mkdir(mode=0o700, exist_ok=True)
    if cache.stat().st_uid != os.getuid():
        # Anybody may write to the folder for temporary files: another user could put other weights there.
        raise ModelError(f"The cache for models that are sent, {cache}, belongs to another user.")
    folder = cache / files.digest
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as unfinished:
                whole = Path(unfinished, "model")
                for name, content in files.sent.items():
                    (whole / name).parent.mkdir(parents=True, exist_ok=True)
                    (whole / name).write_bytes(store.get(content))
                whole.rename(folder)
    return folder
