"""Load the parts of a model from its folder, or raise an error that says what is wrong with them.

A folder may come from anywhere. What its files say is checked before it has an effect, and the libraries
never see the folder: by its settings, they would run code from the hub, open other files, or fill the memory.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

from vidx4.diffusion.models.loading.architectures import NETWORKS, SCHEDULER, SCHEDULERS, settings_of
from vidx4.diffusion.models.loading.folder import read_json
from vidx4.diffusion.models.loading.rules import shown
from vidx4.diffusion.models.loading.weights import load_weights
from vidx4.errors import ModelError


def load_network(cls: Any, folder: Path, part: str, dtype: torch.dtype, *, half: bool = False) -> Any:
    """Load a network of diffusers' kind.

    Args:
        cls: the class of the network.
        folder: the model's folder.
        part: the name of the part's folder in it.
        dtype: type of its weights.
        half: whether to prefer float16 weights; they are also used if there are no others.

    Raises:
        ModelError: the part is missing, incomplete, damaged, or of another architecture.
    """
    settings = read_settings(cls, folder, part)
    make = explained(folder / part, cls.__name__, lambda: cls.from_config(settings))
    return load_weights(make, folder, part, dtype, half=half)


def read_settings(cls: Any, folder: Path, part: str) -> dict[str, Any]:
    """Return the settings of a network of diffusers' kind; raises as `load_network`."""
    name = f"{part}/config.json"
    return settings_of(cls, folder / name, read_json(folder, name), NETWORKS[cls.__name__])


def load_scheduler(folder: Path, part: str) -> Any:
    """Load a scheduler of the class that its configuration names.

    Raises:
        ModelError: the configuration is missing or wrong, or does not name a scheduler that is known.
    """
    name = f"{part}/scheduler_config.json"
    config = read_json(folder, name)
    kind = config.get("_class_name")
    if not (isinstance(kind, str) and kind in SCHEDULERS):
        raise ModelError(f"{folder / part} names an unknown scheduler: {shown(kind)}.")
    cls = getattr(diffusers, kind)
    settings = settings_of(cls, folder / name, config, SCHEDULER)
    scheduler = explained(folder / part, kind, lambda: cls.from_config(settings))()
    levels = scheduler.alphas_cumprod
    if len(levels) != scheduler.config.num_train_timesteps or not bool(torch.isfinite(levels).all()):
        raise ModelError(f"{folder / name} can't be used: it has not one noise level for each timestep.")
    return scheduler


def explained(path: Path, kind: str, make: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function that makes a part of a model, or raises a `ModelError` that says why it can't."""

    def make_or_explain() -> Any:
        try:
            return make()
        except Exception as error:  # settings that are right one by one, and contradict each other
            raise ModelError(f"{path} can't be loaded as {kind}: {_first_line(error)}.") from error

    return make_or_explain


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")
