"""The identity of a job: all that affects a pixel or a packet of its output, and how two jobs differ."""

import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from vidx4.errors import SourceError
from vidx4.files.read import file_digest
from vidx4.jobs.plan import Plan
from vidx4.media.pictures.read_sequence import is_sequence, sequence_digest

Identity: TypeAlias = Mapping[str, str | int | float | None]
"""Values by name; options go by the names of their flags."""
NOTHING: Identity = {}
"""The identity of a job that nothing is known of."""

_LIBRARIES = ("vidx4", "av")
"""Libraries whose other versions may make other pixels or packets."""
_DIGESTS = {
    "source": "the source has changed",
    "weights": "the weights of the model have changed",
}
"""Messages for values that mean nothing to people."""
_MAX_LENGTH, _MAX_NUMBER = 1 << 16, 1 << 63
"""Bounds of the values of an identity that is read."""
_MAX_DIFFERENCES, _MAX_SHOWN = 4, 80
"""Differences that are named, and characters of a value that are shown."""


def identify(plan: Plan, batch_size: int, upscaler: Identity, known: Identity = NOTHING) -> Identity:
    """Return the identity of a job.

    Args:
        plan: the source, and the output to make of it.
        batch_size: frames that are computed together; it affects rounding.
        upscaler: the identity of the upscaler.
        known: the identity of an earlier job with the same source, whose digest is used; without one, the
            whole file is read.
    """
    target, streams = plan.written.target, plan.written.streams
    return {
        **identify_picture(plan.source.path, upscaler, known),
        **identify_frames(plan),
        "batch-size": batch_size,
        "codec": target.encoder.encoder,
        "pixel-format": target.encoder.pix_fmt,
        "width": target.width,
        "height": target.height,
        "streams": ", ".join(f"{each.stream.index} {each.codec or ''}".strip() for each in streams.carried),
        **target.encoder.options,
    }


def identify_frames(plan: Plan) -> Identity:
    """Return what decides which frames of its source a job enlarges."""
    source, span = plan.source, plan.request.span
    return {
        "frame-rate": None if source.frame_rate is None else float(source.frame_rate),
        "video-stream": source.video_index,
        "fields": source.fields.value,
        "field-order": None if source.top_field_first is None else int(source.top_field_first),
        "start": None if span.start is None else float(span.start),
        "stop": None if span.stop is None else float(span.stop),
    }


def identify_picture(path: Path, upscaler: Identity, known: Identity = NOTHING) -> Identity:
    """Return the identity of the job of enlarging a still picture; see `identify`."""
    return {
        **libraries(),
        "source": known.get("source") or source_digest(path),
        **upscaler,
    }


def was_compiled(known: Identity) -> bool | None:
    """Return whether an earlier run compiled the model, which changes bits; None if that is not known."""
    return {"on": True, "off": False}.get(str(known.get("compile")))


def source_digest(path: Path) -> str:
    """Return the SHA-256 of a source's content.

    Raises:
        SourceError: it can't be read.
    """
    try:
        return sequence_digest(path) if is_sequence(path) else file_digest(path)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror or error}.") from error


def program() -> dict[str, str]:
    """Return the versions of the libraries and the SHA-256 of the package's source code and weights."""
    folder, digest = Path(__file__).parent.parent, sha256()
    for path in sorted(each for kind in ("*.py", "*.safetensors") for each in folder.rglob(kind)):
        digest.update(path.relative_to(folder).as_posix().encode() + sha256(path.read_bytes()).digest())
    return {**libraries(), "program": digest.hexdigest()}


@cache
def libraries() -> Mapping[str, str]:
    """Return the versions of the libraries that decide on pixels and packets."""
    return {library: version(library) for library in _LIBRARIES}


def read_identity(value: object) -> Identity:
    """Return an identity that was read from a file, which may hold anything; empty if it is none."""
    return value if isinstance(value, dict) and all(map(_is_plain, value.values())) else NOTHING


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_LENGTH
    return value is None or (isinstance(value, int | float) and abs(value) < _MAX_NUMBER)


def differences(was: Identity, is_: Identity) -> str:
    """Name the differences between two jobs in a few words; empty for equal jobs."""
    found = list(_differences(was, is_))
    more = len(found) - _MAX_DIFFERENCES
    return ", ".join(found[:_MAX_DIFFERENCES] + ([f"and {more} more"] if more > 0 else []))


def _differences(was: Identity, is_: Identity) -> Iterator[str]:
    for name in {**was, **is_}:
        before, now = (None if each.get(name) == "" else each.get(name) for each in (was, is_))
        if before != now:
            yield _DIGESTS.get(name, f"{name} was {_shown(before)} and is {_shown(now)}")


def _shown(value: str | float | None) -> str:
    return "not set" if value is None else textwrap.shorten(str(value), _MAX_SHOWN)
