"""Load the parts of a model from its folder, or raise an error that says what is wrong with them."""

import json
from pathlib import Path
from typing import Any, cast

import diffusers
from transformers import CLIPTokenizer

from vidx4.diffusion.models.hub import VOCABULARIES
from vidx4.errors import ModelError

CLIP_VOCABULARY = 49408
"""Number of tokens of CLIP's tokenizer."""


def load_network(cls: Any, folder: Path, part: str, *, half: bool = False, **kwargs: Any) -> Any:
    """Load a part with weights.

    Args:
        cls: the class of the network, of diffusers or transformers.
        folder: the model's folder.
        part: the name of the part's folder in it.
        half: whether to prefer float16 weights; they are also used if there are no others.
        kwargs: further arguments for the library.

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
    # The libraries initialise missing weights at random.
    if report["missing_keys"]:
        raise ModelError(
            f"{folder / part} lacks weights: {', '.join(sorted(report['missing_keys'])[:3])} ..."
        )
    return network


def load_scheduler(folder: Path, part: str) -> Any:
    """Load a scheduler of the class that its configuration names.

    Raises:
        ModelError: the configuration is missing, or does not name a scheduler of diffusers.
    """
    config = read_json(folder / part / "scheduler_config.json")
    cls = getattr(diffusers, config.get("_class_name", ""), None)
    if not (isinstance(cls, type) and issubclass(cls, diffusers.SchedulerMixin)):
        raise ModelError(f"{folder / part} names an unknown scheduler: {config.get('_class_name')}.")
    return cast(Any, cls).from_config(config)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a model that takes prompts.

    Raises:
        ModelError: the tokenizer is missing or damaged, or pads prompts with another token than the text
            encoder was trained with.
    """
    tokenizer_folder = folder / "tokenizer"
    if not any((tokenizer_folder / name).is_file() for name in VOCABULARIES):
        raise ModelError(
            f"The model is incomplete: {tokenizer_folder} has no vocabulary ({' or '.join(VOCABULARIES)})."
        )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{tokenizer_folder} can't be loaded: {_first_line(error)}.") from error
    # The text encoder of Stable Diffusion 2 was trained with padding of "!", token 0; CLIP's own default, the
    # end of text, gives other embeddings without any error.
    if len(tokenizer) == CLIP_VOCABULARY and tokenizer.pad_token_id != 0:
        raise ModelError(
            f"{tokenizer_folder} pads prompts with token {tokenizer.pad_token_id}, but the text encoder was "
            "trained with token 0."
        )
    return tokenizer


def read_json(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise ModelError(f"The model is incomplete: {path} can't be read.") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300].rstrip(".")
