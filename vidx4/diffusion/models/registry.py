"""A model's name -> its components."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from vidx4.diffusion.models.compact import load_compact
from vidx4.diffusion.models.components import Components, LoadSettings
from vidx4.diffusion.models.hub import cached, fetch
from vidx4.diffusion.models.loading import read_json
from vidx4.errors import ModelError

COMPACT_FOLDER = Path(__file__).parents[2] / "weights" / "compact"
SD_X4_REPOSITORY = "stabilityai/stable-diffusion-x4-upscaler"
SD_X4_REVISION = "572c99286543a273bfd17fac263db5a77be12c4c"


def choose_model(name: str, device: torch.device) -> tuple[str, str]:
    """Return the model that a name means on a device, and why, in a few words."""
    if name != "auto":
        return name, "as asked"
    if device.type == "cuda":
        return "sd-x4", "a CUDA GPU is there"
    return "compact", "no CUDA GPU; sd-x4 would take minutes per frame"


def load(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    prompt: str = "",
    negative_prompt: str = "",
    folder: Path | None = None,
) -> Components:
    """Load a model.

    Args:
        name: `compact`, `sd-x4`, a hub repository id, or a folder in diffusers format.
        device: where it will run.
        dtype: of the denoiser; the autoencoder of `sd-x4` is in float16 on a CUDA GPU, else in float32.
        prompt: what the picture shows; encoded now, after which the text encoder is freed.
        negative_prompt: what guidance leads away from.
        folder: where its files are; they are found by its name where None.

    Raises:
        ModelError: it can't be had, is incomplete, or is of another architecture.
        OptionError: it takes no prompt and one is given.
    """
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    folder = folder or find(name, dtype)
    index = read_json(folder / "model_index.json")
    load_family = _FAMILIES.get(index.get("_class_name", ""))
    if load_family is None:
        known = " or ".join(_FAMILIES)
        raise ModelError(f"{folder} holds a {index.get('_class_name')}, not a {known}.")
    return load_family(name, folder, index, LoadSettings(device, dtype, prompt, negative_prompt))


def find(name: str, dtype: torch.dtype) -> Path:
    """Return the folder of a model, fetched from the hub where it is not here yet.

    Raises:
        ModelError: there is no such model, or the hub can't be reached.
    """
    if name == "compact":
        return COMPACT_FOLDER
    if name == "sd-x4":
        return fetch(SD_X4_REPOSITORY, SD_X4_REVISION, half=dtype != torch.float32)
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return fetch(name, None, half=dtype != torch.float32)
    raise ModelError(
        f"There is no model {name!r}: use auto, compact, sd-x4, a hub repository (owner/name), or a folder."
    )


def _load_stable_diffusion(
    name: str, folder: Path, index: dict[str, Any], settings: LoadSettings
) -> Components:
    # Importing its parts takes most of a second, which compact can spare.
    from vidx4.diffusion.models.sd_x4 import load_stable_diffusion

    return load_stable_diffusion(name, folder, index, settings)


_FAMILIES: dict[str, Callable[[str, Path, dict[str, Any], LoadSettings], Components]] = {
    "CompactUpscaler": load_compact,
    "StableDiffusionUpscalePipeline": _load_stable_diffusion,
}


@dataclass(frozen=True)
class KnownModel:
    """A model that has a name of its own."""

    name: str
    description: str
    folder: Path | None
    """Where it lies; None if it is not on this machine."""
    size: int
    """Of its files in bytes; 0 if it is not on this machine."""
    advice: str


def known_models() -> list[KnownModel]:
    """Return the models that have a name of their own, and whether they are on this machine."""
    return [
        _known("compact", "bundled; for CPUs, previews and small GPUs", COMPACT_FOLDER, ""),
        _known(
            "sd-x4",
            f"Stable Diffusion x4 Upscaler ({SD_X4_REPOSITORY}); for CUDA GPUs",
            cached(SD_X4_REPOSITORY, SD_X4_REVISION),
            "It is fetched on first use (1.7 GB in float16, 3.5 GB in float32).",
        ),
    ]


def _known(name: str, description: str, folder: Path | None, advice: str) -> KnownModel:
    files = [] if folder is None else [path for path in folder.rglob("*") if path.is_file()]
    return KnownModel(name, description, folder, sum(path.stat().st_size for path in files), advice)
