"""A hub repository -> a folder with what is needed of it."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download
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
VOCABULARIES = ("vocab.json", "tokenizer.json")
REQUIRED = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "low_res_scheduler/scheduler_config.json",
    *(f"{part}/config.json" for part in PARTS_WITH_WEIGHTS),
)


def fetch(repository: str, revision: str | None, half: bool) -> Path:
    """Return the folder of a repository in the local cache, downloading what is missing.

    Args:
        repository: `owner/name`.
        revision: a commit, or None for the newest.
        half: whether float16 weights will do, where there are any; they are half the size.

    Raises:
        ModelError: not found, gated, not reachable, or without safetensors.
    """
    folder = cached(repository, revision)
    if folder is not None:
        return folder
    logging.set_verbosity_error()  # its retries are no news: what comes of them is
    try:
        files = [f.filename for f in snapshot_download(repository, revision=revision, dry_run=True)]
        return Path(snapshot_download(repository, revision=revision, allow_patterns=needed(files, half)))
    except (HfHubHTTPError, HFValidationError, EntryNotFoundError, OSError) as error:
        raise ModelError(_explain(repository, revision, error)) from error


def cached(repository: str, revision: str | None) -> Path | None:
    """Return the folder of a repository if all that is needed of it lies in the local cache."""
    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (OSError, HFValidationError):
        return None
    return folder if is_complete(folder) else None


def is_complete(folder: Path) -> bool:
    """Whether a folder holds all that loading needs; an interrupted download leaves a part of it."""
    weights = all(any((folder / part).glob("*.safetensors")) for part in PARTS_WITH_WEIGHTS)
    vocabulary = any((folder / "tokenizer" / name).is_file() for name in VOCABULARIES)
    return weights and vocabulary and all((folder / name).is_file() for name in REQUIRED)


def needed(files: Sequence[str], half: bool) -> list[str]:
    """Choose from a repository's files: configurations, the tokenizer, and one set of safetensors.

    Raises:
        OSError: a part has no safetensors.
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
            return f"{repository} is gated: accept its licence there and log in (hf auth login). {way_out}"
        case RepositoryNotFoundError() | HFValidationError():
            return f"The hub has no repository {repository}, or it is private. {way_out}"
        case RevisionNotFoundError():
            return f"The repository {repository} has no revision {revision}. {way_out}"
        case FileNotFoundError() if not isinstance(error, LocalEntryNotFoundError):
            return f"The repository {repository} can't be used: {error}. {way_out}"
        case OfflineModeIsEnabled():
            return f"{repository} is not in the local cache and the hub is switched off. {way_out}"
        case HfHubHTTPError():
            return f"The hub refused {repository}: {str(error).splitlines()[0]}. {way_out}"
    return f"{repository} is not in the local cache and the hub can't be reached. {way_out}"
