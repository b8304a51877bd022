"""The files of models, and how workers get them."""

import logging
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import torch

from vidx4.diffusion.models.decoders import TINY
from vidx4.diffusion.models.loading.folder import own_file
from vidx4.diffusion.models.loading.model_file import SUFFIXES, is_model_file, local_file
from vidx4.diffusion.models.registry import choose_model, find, local_folder
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import ModelError, OptionError
from vidx4.files.lock import locked
from vidx4.files.read import file_digest, open_file
from vidx4.jobs.cluster.object_store import ObjectStore, Ref

_logger = logging.getLogger(__name__)

_NAME = re.compile(r"(?:\w[\w-]*/)?\w[\w.-]*\.(?:json|txt|safetensors)", re.ASCII)
"""Names of the files of a model that workers need."""
_FILE = re.compile(rf"model(?:{'|'.join(map(re.escape, SUFFIXES))})", re.ASCII)
"""Names of the one file of a model that is a file, whatever the user calls it."""


@dataclass(frozen=True)
class ModelFiles:
    """Where the files of a model are; all empty if each worker finds them by the model's name."""

    path: Path | None = None
    """A folder or a file that exists on all machines."""
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
        self.device = torch.device(device)
        """Device of all workers."""
        self._sends = sends
        self._sent: dict[Path, ModelFiles] = {}

    def spec(self, options: UpscaleOptions) -> ModelSpec:
        """Return a model and its options with every choice made, so that no machine makes another.

        Raises:
            OptionError: the options ask for a device that the workers don't have.
            ModelError: the model's files should be sent, and are not available here.
        """
        if options.device not in ("auto", self.device.type):
            raise OptionError(
                f"All workers run on {self.device}; --device {options.device} is not available."
            )
        if options.decoder is not None:
            if self._sends:
                raise OptionError("--send-model sends no decoder: leave out --send-model or --decoder.")
            if options.decoder != TINY:
                options = replace(options, decoder=str(Path(options.decoder).expanduser().absolute()))
        name, why = choose_model(options.model, self.device)
        _logger.info("model %s (%s) on workers", name, why)
        files = self._files(name, options)
        return ModelSpec(replace(options, model=name, device=self.device.type), files)

    def _files(self, name: str, options: UpscaleOptions) -> ModelFiles:
        if not self._sends:
            path = local_file(name) or local_folder(name)
            return ModelFiles(path.absolute() if path else None)
        # Weights of half precision are enough where a GPU computes in it; a CPU may want all.
        is_half = self.device.type == "cuda" and options.dtype != "float32"
        path = find(name, torch.float16 if is_half else torch.float32)
        if path not in self._sent:
            self._sent[path] = self._send(path)
        return self._sent[path]

    def _send(self, path: Path) -> ModelFiles:
        files = _files(path)
        sent = {name: self.store.put(_content(each)) for name, each in files.items()}
        return ModelFiles(sent=sent, digest=_digest(files))


def _files(path: Path) -> dict[str, Path]:
    """Return the files of a model by their names in the folder that a worker makes of them.

    Args:
        path: the model's folder, or its file.
    """
    if is_model_file(path.name):
        return {f"model{path.suffix.lower()}": path}
    return {name: own_file(path, name) for name in _names(path)}


def _names(folder: Path) -> list[str]:
    """Return the names of a model's files, without what only lies beside them."""
    index = folder / "model_index.json"
    if not index.exists() and (
        only := [each.name for each in folder.glob("model.*") if _FILE.fullmatch(each.name)]
    ):
        return only
    paths = [index, *sorted(folder.glob("*/*"))]
    names = (path.relative_to(folder).as_posix() for path in paths)
    return [name for name in names if _NAME.fullmatch(name)]


def _is_needed(name: str) -> bool:
    """Return whether a model has a file of a name: one of a folder in diffusers format, or its only one."""
    return _NAME.fullmatch(name) is not None or _FILE.fullmatch(name) is not None


def _content(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read()


def _digest(files: Mapping[str, Path]) -> str:
    """Return the SHA-256 of files and their names."""
    digest = sha256()
    for name, path in files.items():
        digest.update(sha256(name.encode()).digest() + bytes.fromhex(file_digest(path)))
    return digest.hexdigest()


def received(files: ModelFiles, store: ObjectStore) -> Path:
    """Return a folder with files that were sent, or the only file; the workers of a machine share it.

    Raises:
        ModelError: the cache can't be trusted, or what was sent is not what it should be.
    """
    cache = _cache()
    if not re.fullmatch(r"[0-9a-f]{64}", files.digest):
        raise ModelError(f"The model that was sent has no digest: {files.digest!r}.")
    folder = cache / files.digest
    with _locked(cache / "lock"):
        if not _holds(folder, files.digest):
            _receive(files, store, folder)
    (name, *more) = files.sent
    return folder / name if _FILE.fullmatch(name) and not more else folder


def _cache() -> Path:
    """Return the folder for models that are sent, which only this user may write to.

    Anybody may write to the folder for temporary files: another user could put other weights there.
    """
    cache = Path(tempfile.gettempdir(), f"vidx4-{os.getuid()}")
    with suppress(FileExistsError):  # whatever it is
        cache.mkdir(mode=0o700)
    facts = cache.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise ModelError(
            f"The cache for models that are sent, {cache}, is a link or belongs to another user: remove it."
        )
    cache.chmod(0o700)
    return cache


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, which is a file of this user."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, waits=True))
        except OSError as error:
            raise ModelError(f"{path} can't be locked ({error.strerror}): remove it.") from error
        yield


def _holds(folder: Path, digest: str) -> bool:
    """Return whether a folder holds the files of a digest, and nothing else has been put there."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        return _digest({name: own_file(folder, name) for name in _names(folder)}) == digest
    except (OSError, ModelError):
        return False


def _receive(files: ModelFiles, store: ObjectStore, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        whole = Path(unfinished, "model")
        for name, content in files.sent.items():
            if not _is_needed(name):
                raise ModelError(f"The model that was sent has a file {name!r}, which no model needs.")
            (whole / name).parent.mkdir(parents=True, exist_ok=True)
            (whole / name).write_bytes(store.get(content))
        if not _holds(whole, files.digest):
            raise ModelError("The files of the model that was sent are not those that it should have.")
        if os.path.lexists(folder):
            folder.rename(Path(unfinished, "damaged"))  # another process may have part of it open
        whole.rename(folder)
