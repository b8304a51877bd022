"""Fetch the files of a model from a repository of the Hugging Face hub."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from huggingface_hub import constants, snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging

from vidx4.diffusion.models.loading.folder import read_json
from vidx4.diffusion.models.loading.weight_files import weight_files
from vidx4.errors import ModelError

PARTS_WITH_WEIGHTS = ("unet", "vae", "text_encoder")
"""Folders of a model that hold weights."""
CONTROLNET = "controlnet"
"""Folder with more weights, of models that have it."""
STREAM_PIPELINE = "StreamDiffVSRPipeline"
"""Name of the class of models that have a ControlNet, add no noise to frames, and take no prompt."""
VOCABULARIES = ("vocab.json", "tokenizer.json")
"""Files of a tokenizer, one of which suffices."""
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Environment variables that forbid downloads."""
INDEX = "model_index.json"
LOW_RES_SCHEDULER = "low_res_scheduler/scheduler_config.json"


WAY_OUT = "Give a folder with --model, or use --model compact, which needs no download."


def fetch(repository: str, revision: str | None, half: bool) -> Path:
    """Return the folder of a repository in the local cache, after downloading what is missing.

    Args:
        repository: the repository's id, `owner/name`.
        revision: a commit; None for the newest.
        half: whether to prefer float16 weights, which are half the size.

    Raises:
        ModelError: the repository does not exist, is gated, can't be reached, or has no safetensors.
    """
    folder = cached(repository, revision, half=half)
    if folder is not None:
        return folder
    if constants.HF_HUB_OFFLINE:
        name = next((each for each in OFFLINE if os.environ.get(each)), OFFLINE[0])
        raise ModelError(
            f"{repository} is not in the local cache, or incomplete there, and {name} forbids downloads. "
            f"{WAY_OUT}"
        )
    if not _has_home():
        raise ModelError(
            f"{repository} can't be downloaded: there is no home folder to keep it in. "
            "Set HF_HOME to a folder."
        )
    logging.set_verbosity_error()  # the library warns of each retry, even if one succeeds
    try:
        files = [f.filename for f in snapshot_download(repository, revision=revision, dry_run=True)]
        return Path(snapshot_download(repository, revision=revision, allow_patterns=needed(files, half)))
    except (HfHubHTTPError, HFValidationError, EntryNotFoundError, OSError) as error:
        raise ModelError(_explain(repository, revision, error)) from error


def cached(repository: str, revision: str | None, *, half: bool = True) -> Path | None:
    """Return the folder of a repository in the local cache; None if it is missing or incomplete.

    Args:
        repository: the repository's id, `owner/name`.
        revision: a commit; None for the newest.
        half: whether float16 weights are preferred.
    """
    if not _has_home():
        return None
    try:
        # Of all files, the library would miss those that are not needed, and so were not downloaded.
        folder = Path(
            snapshot_download(repository, revision=revision, local_files_only=True, allow_patterns=[INDEX])
        )
    except (OSError, HFValidationError):
        return None
    return folder if is_complete(folder, half=half) else None


def cached_part(repository: str, revision: str | None, part: str) -> Path | None:
    """Return the folder of a repository in the local cache if a part of the model is there, else None.

    Args:
        repository: the repository's id, `owner/name`.
        revision: a commit; None for the newest.
        part: the name of the part's folder.
    """
    if not _has_home():
        return None
    pattern = f"{part}/config.json"
    try:
        folder = Path(
            snapshot_download(repository, revision=revision, local_files_only=True, allow_patterns=[pattern])
        )
        weight_files(folder, part, half=True)
    except (OSError, HFValidationError, ModelError):
        return None
    return folder if (folder / pattern).is_file() else None


def _has_home() -> bool:
    """Return whether the place of the cache is known; a user without an entry and a HOME has none."""
    return not HF_HUB_CACHE.startswith("~")


def is_complete(folder: Path, *, half: bool = True) -> bool:
    """Return whether a folder holds all files that loading needs; an interrupted download leaves fewer.

    Args:
        folder: the model's folder.
        half: whether float16 weights are preferred.
    """
    is_stream = _class_name(folder) == STREAM_PIPELINE
    parts = (*PARTS_WITH_WEIGHTS, CONTROLNET) if is_stream else PARTS_WITH_WEIGHTS
    try:
        for part in parts:
            weight_files(folder, part, half=half)
    except ModelError:
        return False
    names = [INDEX, "scheduler/scheduler_config.json", *(f"{part}/config.json" for part in parts)]
    if not is_stream:
        names.append(LOW_RES_SCHEDULER)
    is_there = all((folder / name).is_file() for name in names)
    return is_there and _has_tokenizer(folder / "tokenizer", needs_merges=not is_stream)


def _class_name(folder: Path) -> object:
    """Return the class that a folder's description names; None if it can't be read."""
    with suppress(ModelError):
        return read_json(folder, INDEX).get("_class_name")
    return None


def _has_tokenizer(folder: Path, *, needs_merges: bool) -> bool:
    whole, vocabulary = (folder / name for name in reversed(VOCABULARIES))
    has_merges = not needs_merges or (folder / "merges.txt").is_file()
    has_words = whole.is_file() or (vocabulary.is_file() and has_merges)
    return has_words and ((folder / "special_tokens_map.json").is_file() or _says_padding(folder))


def _says_padding(folder: Path) -> bool:
    """Return whether the configuration of a tokenizer names the token that pads prompts.

    Older ones, such as that of `sd-x4`, name a wrong one; `special_tokens_map.json` has the right one.
    """
    with suppress(OSError, ValueError, AttributeError):
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        pad, end = (_content(config.get(role)) for role in ("pad_token", "eos_token"))
        return "added_tokens_decoder" in config or pad not in (None, end)
    return False


def _content(token: object) -> object:
    return token.get("content") if isinstance(token, dict) else token


def needed(files: Sequence[str], half: bool) -> list[str]:
    """Return the files to download: configurations, the tokenizer, and one set of weights for each part.

    Args:
        files: names of all files of a repository.
        half: whether to prefer float16 weights.

    Raises:
        FileNotFoundError: a part has no safetensors.
    """
    chosen = [f for f in files if PurePosixPath(f).suffix in (".json", ".txt")]
    has_control = f"{CONTROLNET}/config.json" in files
    for part in (*PARTS_WITH_WEIGHTS, CONTROLNET) if has_control else PARTS_WITH_WEIGHTS:
        weights = [f for f in files if f.startswith(f"{part}/") and f.endswith(".safetensors")]
        halves = [f for f in weights if ".fp16." in f]
        full = [f for f in weights if ".fp16." not in f]
        preferred = (halves or full) if half else (full or halves)
        if not preferred:
            raise FileNotFoundError(f"it has no safetensors in {part}/")
        chosen += preferred
    return chosen


def _explain(repository: str, revision: str | None, error: Exception) -> str:
    match error:
        case GatedRepoError():
            return (
                f"{repository} is gated: accept its licence on the hub and log in (hf auth login). {WAY_OUT}"
            )
        case RepositoryNotFoundError() | HFValidationError():
            return f"The hub has no repository {repository}, or it is private. {WAY_OUT}"
        case RevisionNotFoundError():
            return f"The repository {repository} has no revision {revision}. {WAY_OUT}"
        case FileNotFoundError() if not isinstance(error, LocalEntryNotFoundError):
            return f"The repository {repository} can't be used: {error}. {WAY_OUT}"
        case PermissionError():
            return (
                f"{repository} can't be kept in {HF_HUB_CACHE}, which you may not write to. "
                "Set HF_HOME to another folder."
            )
        case HfHubHTTPError():
            return f"The hub refused access to {repository}: {str(error).splitlines()[0]}. {WAY_OUT}"
    return f"{repository} is not in the local cache, and the hub can't be reached. {WAY_OUT}"
