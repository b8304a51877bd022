"""Fetch the files of a model from a repository of the Hugging Face hub."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import logging

from vidx4.errors import ModelError

PARTS_WITH_WEIGHTS = ("unet", "vae", "text_encoder")
"""Folders of a model that hold weights."""
VOCABULARIES = ("vocab.json", "tokenizer.json")
"""Files of a tokenizer, one of which suffices."""
REQUIRED = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "low_res_scheduler/scheduler_config.json",
    *(f"{part}/config.json" for part in PARTS_WITH_WEIGHTS),
)


def fetch(repository: str, revision: str | None, half: bool) -> Path:
    """Return the folder of a repository in the local cache, after downloading what is missing.

    Args:
        repository: the repository's id, `owner/name`.
        revision: a commit; None for the newest.
        half: whether to prefer float16 weights, which are half the size.

    Raises:
        ModelError: the repository does not exist, is gated, can't be reached, or has no safetensors.
    """
    folder = cached(repository, revision)
    if folder is not None:
        return folder
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


def cached(repository: str, revision: str | None) -> Path | None:
    """Return the folder of a repository in the local cache; None if it is missing or incomplete."""
    if not _has_home():
        return None
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (OSError, HFValidationError):
        return None
    return folder if is_complete(folder) else None


def _has_home() -> bool:
    """Return whether the place of the cache is known; a user without an entry and a HOME has none."""
    return not HF_HUB_CACHE.startswith("~")


def is_complete(folder: Path) -> bool:
    """Return whether a folder holds all files that loading needs; an interrupted download leaves fewer."""
    weights = all(any((folder / part).glob("*.safetensors")) for part in PARTS_WITH_WEIGHTS)
    vocabulary = any((folder / "tokenizer" / name).is_file() for name in VOCABULARIES)
    return weights and vocabulary and all((folder / name).is_file() for name in REQUIRED)


def needed(files: Sequence[str], half: bool) -> list[str]:
    """Return the files to download: configurations, the tokenizer, and one set of weights for each part.

    Args:
        files: names of all files of a repository.
        half: whether to prefer float16 weights.

    Raises:
        FileNotFoundError: a part has no safetensors.
    """
    chosen = [f for f in files if PurePosixPath(f).suffix in (".json", ".txt")]
    for part in PARTS_WITH_WEIGHTS:
        weights = [f for f in files if f.startswith(f"{part}/") and f.endswith(".safetensors")]
        halves = [f for f in weights if ".fp16." in f]
        full = [f for f in weights if ".fp16." not in f]
        preferred = (halves or full) if half else (full or halves)
        if not preferred:
            raise FileNotFoundError(f"it has no safetensors in {part}/")
        chosen += preferred
    return chosen


def _explain(repository: str, revision: str | None, error: Exception) -> str:
    way_out = "Give a folder with --model, or use --model compact, which needs no download."
    match error:
        case GatedRepoError():
            return (
                f"{repository} is gated: accept its licence on the hub and log in (hf auth login). {way_out}"
            )
        case RepositoryNotFoundError() | HFValidationError():
            return f"The hub has no repository {repository}, or it is private. {way_out}"
        case RevisionNotFoundError():
            return f"The repository {repository} has no revision {revision}. {way_out}"
        case FileNotFoundError() if not isinstance(error, LocalEntryNotFoundError):
            return f"The repository {repository} can't be used: {error}. {way_out}"
        case PermissionError():
            return (
                f"{repository} can't be kept in {HF_HUB_CACHE}, which you may not write to. "
                "Set HF_HOME to another folder."
            )
        case OfflineModeIsEnabled():
            return f"{repository} is not in the local cache, and HF_HUB_OFFLINE forbids downloads. {way_out}"
        case HfHubHTTPError():
            return f"The hub refused access to {repository}: {str(error).splitlines()[0]}. {way_out}"
    return f"{repository} is not in the local cache, and the hub can't be reached. {way_out}"
