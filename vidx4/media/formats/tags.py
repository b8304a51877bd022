"""Metadata and dispositions: what of them stays true, and how containers store it."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from av.stream import Disposition

CREATION_TIME = "creation_time"
"""A key that muxers only understand in this spelling; Matroska files have it in capital letters."""
_STALE_KEYS = frozenset(
    {
        *("compatible_brands", "duration", "encoder", "major_brand", "minor_version", "software"),
        *("timecode", "vendor_id"),  # the timecode depends on the part that is kept: it is written apart
    }
)
_STALE_PREFIXES = ("_statistics", "bps", "number_of_")
"""Beginnings of the keys that mkvmerge writes about the packets of a stream."""
_LOCALE = re.compile("-[a-z]{2,3}$")
"""The end of a key whose value is in one language, as in `title-eng`."""
_NO_TIME = ("1601-01-01", "1904-01-01T00:00:00", "1970-01-01T00:00:00")
"""The creation times that are read from ASF, MP4 and QuickTime files without one: zero on their clocks."""
_ALL_DISPOSITIONS = Disposition.default | Disposition.forced | Disposition.attached_pic
_DISPOSITIONS = {
    "mp4": Disposition.default | Disposition.attached_pic,
    "mov": Disposition.default | Disposition.attached_pic,
    "webm": Disposition.default | Disposition.forced,
    "mpegts": Disposition(0),
}
"""The dispositions that a muxer writes, among those that matter; Matroska's writes all of these."""


def lasting(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata that stays true when packets are replaced, under the keys that muxers know."""
    return {
        CREATION_TIME if key == CREATION_TIME.upper() else key: value
        for key, value in metadata.items()
        if value and not _is_stale(key.lower()) and not value.startswith(_NO_TIME)
        if (key.lower(), value) != ("language", "und")  # "undetermined" is the same as no language
    }


def _is_stale(key: str) -> bool:
    return _LOCALE.sub("", key) in _STALE_KEYS or key.startswith(_STALE_PREFIXES)


def written_dispositions(muxer: str) -> Disposition:
    """Return the dispositions that one of FFmpeg's muxers writes."""
    return _DISPOSITIONS.get(muxer, _ALL_DISPOSITIONS)


def is_same_value(key: str, value: str, other: str) -> bool:
    """Return whether two values mean the same: containers store dates and places as numbers."""
    return _as_stored(key, value) == _as_stored(key, other)


def _as_stored(key: str, value: str) -> str:
    if key == CREATION_TIME:
        return _to_the_second(value)
    numbers = re.findall(r"[+-]\d+(?:\.\d+)?", value) if key.startswith("location") else []
    return " ".join(f"{float(number):.3f}" for number in numbers) or value


def _to_the_second(time: str) -> str:
    """Return a time without its fraction, in UTC if it states a time zone; anything else as it is."""
    with suppress(ValueError, OverflowError):
        parsed = datetime.fromisoformat(time)
        parsed = parsed.astimezone(UTC) if parsed.tzinfo else parsed
        return parsed.strftime("%Y-%m-%dT%H:%M:%S")
    return time
