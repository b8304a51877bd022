"""Load the tokenizer of a model that takes prompts from its folder."""

from pathlib import Path
from typing import Any

from transformers import AddedToken, CLIPTokenizer

from vidx4.diffusion.models.loading.folder import read_json, read_text
from vidx4.diffusion.models.loading.hub import VOCABULARIES
from vidx4.diffusion.models.loading.rules import Rule, chosen, whole
from vidx4.errors import ModelError
from vidx4.files.read import is_regular

CLIP_VOCABULARY = 49408
"""Number of tokens of CLIP's tokenizer."""
MAX_VOCABULARY_SIZE = 16 << 20
"""Most bytes of a vocabulary; CLIP's has 4 million."""
_FOLDER = "tokenizer"
_IDS = whole(0, 1_000_000)
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
_PROPERTIES = ("lstrip", "rstrip", "normalized", "single_word")

Merges = list[tuple[str, str]]


def load_tokenizer(folder: Path, *, needs_merges: bool = True) -> Any:
    """Load the tokenizer of a model that has a text encoder.

    Args:
        folder: the model's folder.
        needs_merges: whether words will be encoded; an empty prompt has none to take apart.

    Raises:
        ModelError: the tokenizer is missing or damaged, or pads prompts with another token than the text
            encoder was trained with.
    """
    path = folder / _FOLDER
    vocabulary, merges = _vocabulary(folder, needs_merges)
    tokens = _special_tokens(folder)
    try:
        tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, **tokens)
    except Exception as error:  # the library raises plain exceptions
        raise ModelError(f"{path} can't be loaded: its vocabulary and its merges don't fit.") from error
    # The text encoder of Stable Diffusion 2 was trained with padding of "!", token 0; CLIP's own default, the
    # end of text, gives other embeddings without any error.
    if len(tokenizer) == CLIP_VOCABULARY and tokenizer.pad_token_id != 0:
        raise ModelError(
            f"{path} pads prompts with token {tokenizer.pad_token_id}, but the text encoder was trained with "
            "token 0."
        )
    return tokenizer


def _vocabulary(folder: Path, needs_merges: bool) -> tuple[dict[str, int], Merges]:
    """Return the tokens with their numbers, and the pairs of tokens that become one, best first."""
    if is_regular(folder / _FOLDER / "tokenizer.json"):
        name = f"{_FOLDER}/tokenizer.json"
        model = read_json(folder, name, MAX_VOCABULARY_SIZE).get("model")
        found = model if isinstance(model, dict) else {}
        vocabulary, lines = found.get("vocab"), found.get("merges")
    elif is_regular(folder / _FOLDER / "vocab.json"):
        name = f"{_FOLDER}/vocab.json"
        vocabulary = read_json(folder, name, MAX_VOCABULARY_SIZE)
        text = ""
        if needs_merges or is_regular(folder / _FOLDER / "merges.txt"):
            text = read_text(folder, f"{_FOLDER}/merges.txt", MAX_VOCABULARY_SIZE)
        lines = [
            line.removesuffix("\r") for line in text.split("\n") if line and not line.startswith("#version")
        ]
    else:
        raise ModelError(
            f"The model is incomplete: {folder / _FOLDER} has no vocabulary ({' or '.join(VOCABULARIES)})."
        )
    merges = [_pair(line) for line in lines] if isinstance(lines, list) else [None]
    is_right = isinstance(vocabulary, dict) and vocabulary and all(map(_IDS.allows, vocabulary.values()))
    if not is_right or None in merges:
        raise ModelError(f"{folder / name} can't be used: it holds no vocabulary with merges.")
    return dict(vocabulary or {}), [pair for pair in merges if pair]


def _pair(merge: object) -> tuple[str, str] | None:
    """Return the two tokens of a merge; None if it is none."""
    match merge.split(" ") if isinstance(merge, str) else merge:
        case [str(first), str(second)]:
            return first, second
    return None


def _special_tokens(folder: Path) -> dict[str, Any]:
    """Return the tokens with a role, by their roles; those that are not given have CLIP's."""
    name = f"{_FOLDER}/tokenizer_config.json"
    config = read_json(folder, name) if is_regular(folder / name) else {}
    older = f"{_FOLDER}/special_tokens_map.json"
    if "added_tokens_decoder" not in config and is_regular(folder / older):
        config |= read_json(folder, older)  # it takes precedence in such configurations, as in transformers
    rule = Rule(_is_token, "a token")
    found = chosen(folder / name, config, dict.fromkeys(_ROLES, rule))
    return {role: _token(value) for role, value in found.items() if value is not None}


def _is_token(value: object) -> bool:
    content = value.get("content") if isinstance(value, dict) else value
    return value is None or (isinstance(content, str) and 0 < len(content) < 100)


def _token(value: Any) -> Any:
    """Return a token for the library."""
    if isinstance(value, str):
        return value
    properties = {name: value[name] for name in _PROPERTIES if isinstance(value.get(name), bool)}
    return AddedToken(value["content"], special=True, **properties)
