"""Whether an output that exists is what would be made of its source."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path

from vidx4.errors import OutputError, SourceError
from vidx4.files.stamp import Stamp, stamp
from vidx4.frames import SCALE
from vidx4.jobs.folder.item import FileOptions, Item
from vidx4.jobs.folder.records import Record, Records, what_is_wrong
from vidx4.jobs.identity import Identity, libraries
from vidx4.jobs.plan import Plan
from vidx4.jobs.still.read import is_picture, stored_size
from vidx4.media.checks import verify_output

UNKNOWN_OPTIONS = "It is complete, but the options it was made with are not known."


class Asked:
    """Digests of all that is asked for a file: its options, and the model with what it runs on.

    Args:
        model: returns the identity of the model that some options are for.
    """

    def __init__(self, model: Callable[[FileOptions], Identity]) -> None:
        self._model = model
        self.digest = cache(self._digest)
        """Returns the digest for some options."""

    def _digest(self, options: FileOptions) -> str:
        request = asdict(options.request) | {"overwrite": False}
        asked = [
            asdict(options.upscale),
            request,
            options.batch_size,
            libraries(),
            dict(self._model(options)),
        ]
        return sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def is_recorded(record: Record, output: Path, source: Stamp | None, asked: Callable[[], str]) -> bool:
    """Return whether a record shows, without a look into any file, that an output is what is asked for.

    Args:
        record: that of the output.
        output: the output.
        source: the stamp of its source.
        asked: returns the digest of all that is asked for.
    """
    return record.source == source and record.output == stamp(output) and record.asked == asked()


def check_done(item: Item, records: Records, identity: Callable[[], Identity]) -> str:
    """Make sure that an existing output is what would be made; return a remark on it.

    Raises:
        OutputError: it is something else.
    """
    record = records.find(item.output)
    if record is None:
        _check_looks_done(item)
        return UNKNOWN_OPTIONS
    if why := what_is_wrong(record, item.output, identity()):
        raise OutputError(f"{item.output} exists already, but {why}. Use --overwrite to replace it.")
    return ""


def _check_looks_done(item: Item) -> None:
    """Make sure, by its content, that an output is its source at four times the size.

    Raises:
        OutputError: it is not, or can't be read.
    """
    try:
        looks_done = _is_larger_picture(item) if item.plan is None else _is_larger_video(item.plan)
    except SourceError:
        looks_done = False
    if not looks_done:
        raise OutputError(
            f"{item.output} exists already, but is not a complete copy of {item.path} at four times its "
            "size. Use --overwrite to replace it."
        )


def _is_larger_picture(item: Item) -> bool:
    if not is_picture(item.output):
        return False
    # Sorted: the source may be stored turned, the output never is.
    return sorted(stored_size(item.output)) == sorted(SCALE * side for side in stored_size(item.path))


def _is_larger_video(plan: Plan) -> bool:
    return all(check.is_kept for check in verify_output(plan.written, plan.output))
