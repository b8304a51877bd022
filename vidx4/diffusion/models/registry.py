"""Find a model by its name, and load its components."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
import transformers

from vidx4.diffusion.device import choose_dtype
from vidx4.diffusion.models.compact import COMPACT, load_compact
from vidx4.diffusion.models.components import Components, Family, LoadSettings
from vidx4.diffusion.models.known import (
    COMPACT_FOLDER,
    SD_X4_REPOSITORY,
    SD_X4_REVISION,
    STREAM_REPOSITORY,
    STREAM_REVISION,
)
from vidx4.diffusion.models.loading.folder import read_json
from vidx4.diffusion.models.loading.hub import INDEX, STREAM_PIPELINE, cached, fetch
from vidx4.diffusion.models.loading.model_file import is_model_file, local_file
from vidx4.diffusion.models.loading.rules import shown
from vidx4.errors import ModelError, OptionError, UnknownModelError

# Once, and not when a model is loaded: this is of the whole process, in which other models may be at work.
for _library in (diffusers, transformers):
    _library.utils.logging.set_verbosity_error()
    _library.utils.logging.disable_progress_bar()

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(?:@\w[\w.-]*(?:/\w[\w.-]*)*)?", re.ASCII)
"""A repository of the hub, and a branch, tag or commit of it. A path such as `./name` is none."""


AUTO = "auto"
"""The name that leaves the choice of a model to the program."""
_REPOSITORIES: dict[str, tuple[str, str | None]] = {
    "sd-x4": (SD_X4_REPOSITORY, SD_X4_REVISION),
    "stream-diffvsr": (STREAM_REPOSITORY, STREAM_REVISION),
}
"""Repositories of the hub, and their commits, by the names of models."""


def choose_model(name: str, device: torch.device) -> tuple[str, str]:
    """Return the model that a name stands for on a device, and the reason in a few words.

    This is for work whose length is not known, or doesn't matter; see `vidx4.diffusion.choice`.
    """
    if name != AUTO:
        return name, "as chosen"
    if device.type == "cuda":
        return "sd-x4", "a CUDA GPU is available"
    return "compact", "no CUDA GPU; sd-x4 would take minutes per frame"


def family_of(name: str) -> Family:
    """Return what is known of a model before it is loaded.

    A repository of the hub that is not on this machine is taken for an upscaler of the size of `sd-x4`, as
    most are.

    Args:
        name: the name of a model, other than `auto`; see `load`.

    Raises:
        ModelError: it is that of a folder or file whose description can't be read.
    """
    if path := local_file(name):
        from vidx4.diffusion.models.community import community_family

        return community_family(path)
    folder = COMPACT_FOLDER if name == "compact" else local_folder(name)
    repository = _repository(name)
    if folder is None and name not in _REPOSITORIES and repository is not None:
        folder = cached(*repository)
    family = None if folder is None else read_json(folder, INDEX).get("_class_name")
    if family == "CompactUpscaler":
        return COMPACT
    # Importing these libraries takes most of a second, which a run of compact is spared.
    if family == STREAM_PIPELINE or (repository is not None and repository[0] == STREAM_REPOSITORY):
        from vidx4.diffusion.models.stream_diffvsr import STREAM

        return STREAM
    from vidx4.diffusion.models.sd_x4 import SD_X4

    return SD_X4


def _repository(name: str) -> tuple[str, str | None] | None:
    """Return the repository of the hub that a name stands for, and its commit; None if it is none."""
    if name in _REPOSITORIES:
        return _REPOSITORIES[name]
    if not is_hub_id(name):
        return None
    repository, _, revision = name.partition("@")
    return repository, revision or None


def model_dtype(name: str, precision: str, device: torch.device, path: Path | None = None) -> torch.dtype:
    """Return the precision for a model; see `choose_dtype`.

    Args:
        name: the name of the model; see `load`.
        precision: a value of `Precision`.
        device: the device to run it on.
        path: the folder or file of the model; None to find it by its name.

    Raises:
        ModelError: the model is a file that can't be used.
        OptionError: the device or the model does not support the precision.
    """
    if not is_model_file(name):
        return choose_dtype(precision, device)
    from vidx4.diffusion.models.community import choose_community_dtype

    return choose_community_dtype(name, path or find(name, torch.float32), precision, device)


def load(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    prompt: str = "",
    negative_prompt: str = "",
    path: Path | None = None,
    decoder: str | None = None,
) -> Components:
    """Load a model.

    Args:
        name: `compact`, `sd-x4`, `stream-diffvsr`, a hub repository, `owner/name` or `owner/name@revision`,
            a folder in diffusers format, or a file of the weights of a network for single pictures.
        device: the device to run it on.
        dtype: the precision of the denoiser; the autoencoder of `sd-x4` runs in float16 if the denoiser does
            on a CUDA GPU, and otherwise in float32.
        prompt: what the picture shows; encoded now, after which the text encoder is freed.
        negative_prompt: what guidance leads away from.
        path: the folder or file of the model; None to find it by its name.
        decoder: what decodes the latents of `sd-x4`: `tiny`, or a folder; None for the model's own decoder.

    Raises:
        ModelError: the model is not available, is incomplete, or has another architecture.
        OptionError: a prompt or a decoder is given for a model that takes none.
    """
    folder = path or find(name, dtype)
    settings = LoadSettings(device, dtype, prompt, negative_prompt, decoder)
    if is_model_file(name):
        # Nothing of spandrel is imported for other models.
        from vidx4.diffusion.models.community import load_community

        _refuse_decoder(name, decoder)
        return load_community(name, folder, settings)
    index = read_json(folder, "model_index.json")
    family = index.get("_class_name")
    if not (isinstance(family, str) and family in _FAMILIES):
        raise ModelError(
            f"{folder / 'model_index.json'} can't be used: its _class_name is {shown(family)}, but it must "
            f"be {' or '.join(_FAMILIES)}."
        )
    if family != "StableDiffusionUpscalePipeline":
        _refuse_decoder(name, decoder)
    return _FAMILIES[family](name, folder, index, settings)


def _refuse_decoder(name: str, decoder: str | None) -> None:
    if decoder is not None:
        raise OptionError(f"The model {name} has only its own decoder: --decoder is for sd-x4.")


def find(name: str, dtype: torch.dtype) -> Path:
    """Return the folder or file of a model, after fetching it from the hub if it is not on this machine.

    Args:
        name: the name of a model; see `load`.
        dtype: the precision of the denoiser; other than float32, float16 weights are preferred.

    Raises:
        UnknownModelError: there is no such model.
        ModelError: it can't be fetched.
    """
    check_name(name)
    if name == "compact":
        return COMPACT_FOLDER
    if path := local_file(name) or local_folder(name):
        return path
    repository, revision = cast(tuple[str, str | None], _repository(name))
    return fetch(repository, revision, dtype != torch.float32)


def check_name(name: str) -> None:
    """Make sure that a name can be that of a model, without looking for it on the hub.

    Raises:
        UnknownModelError: no model has that name.
        ModelError: it is that of a file or folder that can't be a model.
    """
    if not (name == "compact" or local_file(name) or local_folder(name) or _repository(name)):
        raise UnknownModelError(
            f"There is no model {name!r}: use auto, compact, sd-x4, stream-diffvsr, a hub repository "
            "(owner/name or owner/name@revision), a folder (./name), or a file (name.safetensors)."
        )


def local_folder(name: str) -> Path | None:
    """Return the folder that the name of a model stands for; None if it is no folder.

    Raises:
        ModelError: it could be a repository of the hub as well: a folder that happens to lie here would be
            taken for a model that somebody else is trusted with.
    """
    try:
        folder = Path(name).expanduser()
        is_known = name in ("", AUTO, "compact", *_REPOSITORIES) or is_model_file(name)
        exists = not is_known and folder.is_dir()
    except (OSError, RuntimeError, ValueError):  # too long a name, an unknown user, or a zero byte
        return None
    if exists and is_hub_id(name):
        raise ModelError(
            f"{name} is a folder here, and could be a repository of the hub: write ./{name} for the folder, "
            "or run the command in another folder."
        )
    return folder if exists else None


def is_hub_id(name: str) -> bool:
    """Return whether a name is that of a hub repository, `owner/name` or `owner/name@revision`."""
    return _HUB_ID.fullmatch(name) is not None and not is_model_file(name)


def _load_stable_diffusion(
    name: str, folder: Path, index: dict[str, Any], settings: LoadSettings
) -> Components:
    # Importing these libraries takes most of a second, which a run of compact is spared.
    from vidx4.diffusion.models.sd_x4 import load_stable_diffusion

    return load_stable_diffusion(name, folder, index, settings)


def _load_stream(name: str, folder: Path, index: dict[str, Any], settings: LoadSettings) -> Components:
    from vidx4.diffusion.models.stream_diffvsr import load_stream

    return load_stream(name, folder, index, settings)


_FAMILIES: dict[str, Callable[[str, Path, dict[str, Any], LoadSettings], Components]] = {
    "CompactUpscaler": load_compact,
    "StableDiffusionUpscalePipeline": _load_stable_diffusion,
    STREAM_PIPELINE: _load_stream,
}
