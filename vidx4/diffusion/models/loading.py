"""One part of a model's folder, or a sentence that says what is wrong with it."""

import json
from pathlib import Path
from typing import Any, cast

import diffusers
from transformers import CLIPTokenizer

from vidx4.diffusion.models.hub import VOCABULARIES
from vidx4.errors import ModelError

CLIP_VOCABULARY = 49408


def load_network(cls: Any, folder: Path, part: str, *, half: bool = False, **kwargs: Any) -> Any:
    """Load a part with weights, from its float16 safetensors if those are wanted or all there is.

    Raises:
        ModelError: the part is missing, incomplete, damaged, or of another architecture.
    """
    halves = set((folder / part).glob("*.fp16.safetensors"))
    others = set((folder / part).glob("*.safetensors")) - halves
    try:
        network, report = cls.from_pretrained(
            folder,
            subfolder=part,
            variant="fp16" if halves and (half or not others) else None,
            use_safetensors=True,
            output_loading_info=True,
            **kwargs,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{folder / part} can't be loaded as a {cls.__name__}: {_first_line(error)}."
        ) from error
    # The libraries fill what is missing with random numbers.
    if report["missing_keys"]:
        raise ModelError(
            f"{folder / part} lacks weights: {', '.join(sorted(report['missing_keys'])[:3])} ..."
        )
    return network


def load_scheduler(folder: Path, part: str) -> Any:
    """Load a scheduler of the class that its configuration names.

    Raises:
        ModelError: the configuration is missing, or names no scheduler of diffusers.
    """
    config = read_json(folder / part / "scheduler_config.json")
    cls = getattr(diffusers, config.get("_class_name", ""), None)
    if not (isinstance(cls, type) and issubclass(cls, diffusers.SchedulerMixin)):
        raise ModelError(f"{folder / part} asks for an unknown scheduler.")
    return cast(Any, cls).from_config(config)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model that takes prompts.

    Raises:
        ModelError: it is missing, or fills up prompts with another token than the model was trained with.
    """
    tokenizer_folder = folder / "tokenizer"
    if not any((tokenizer_folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(f"The model is incomplete: {tokenizer_folder} holds no vocabulary.")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{tokenizer_folder} can't be loaded: {_first_line(error)}.") from error
    if len(tokenizer) == CLIP_VOCABULARY and tokenizer.pad_token_id != 0:
        raise ModelError(
            f"{tokenizer_folder} fills up prompts with token {tokenizer.pad_token_id}, but the text encoder "
            "was trained with token 0."
        )
    return tokenizer


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration.

    Raises:
        ModelError: it is missing or damaged.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ModelError(f"The model is incomplete: {path} can't be read.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300].rstrip(".")
