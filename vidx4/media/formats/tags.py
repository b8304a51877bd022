"""Metadata and dispositions: what of them stays true, and what containers write."""

import re
from collections.abc import Mapping

from av.stream import Disposition

_STALE_KEYS = frozenset(
    {"compatible_brands", "duration", "encoder", "major_brand", "minor_version", "software", "vendor_id"}
)
_STALE_PREFIXES = ("_statistics", "bps", "number_of_")
"""Beginnings of the keys that mkvmerge writes about the packets of a stream."""
_MP4_KEYS = frozenset(
    {
        *("album", "album_artist", "artist", "comment", "composer", "copyright", "creation_time", "date"),
        *("description", "genre", "grouping", "lyrics", "show", "synopsis", "title"),
    }
)
_CREATION_TIME = "creation_time"
"""A key that muxers only understand in this spelling; Matroska files have it in capital letters."""
_NO_TIME = ("1904-01-01T00:00:00", "1970-01-01T00:00:00")
"""The creation times that are read from MP4 and QuickTime files without one: zero on their clocks."""
_STREAM_KEYS = {
    "mp4": frozenset({"language"}),
    "mov": frozenset({"language"}),
    "mpegts": frozenset({"language"}),
}
"""The keys of a stream that a muxer writes; Matroska's and WebM's write all."""
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
        _CREATION_TIME if key == _CREATION_TIME.upper() else key: value
        for key, value in metadata.items()
        if key.lower() not in _STALE_KEYS
        and not key.lower().startswith(_STALE_PREFIXES)
        and not value.startswith(_NO_TIME)
    }


def has_mp4_names(metadata: Mapping[str, str]) -> bool:
    """Return whether MP4 has names for all lasting metadata that every player reads."""
    return lasting(metadata).keys() <= _MP4_KEYS


def written_of_stream(metadata: Mapping[str, str], muxer: str) -> dict[str, str]:
    """Return the metadata of a stream that one of FFmpeg's muxers writes."""
    keys = _STREAM_KEYS.get(muxer)
    return {
        key: value
        for key, value in lasting(metadata).items()
        if value
        and (key.lower() in keys if keys else key != _CREATION_TIME)
        and (key.lower(), value) != ("language", "und")  # "undetermined" is the same as no language
    }


def written_dispositions(muxer: str) -> Disposition:
    """Return the dispositions that one of FFmpeg's muxers writes."""
    return _DISPOSITIONS.get(muxer, _ALL_DISPOSITIONS)


def is_same_value(key: str, value: str, other: str) -> bool:
    """Return whether two values mean the same: containers store dates and places as numbers."""
    return _as_stored(key, value) == _as_stored(key, other)


def _as_stored(key: str, value: str) -> str:
    if key == _CREATION_TIME:
        return value[:19].replace(" ", "T")  # to the second
    if key.startswith("location"):
        return " ".join(f"{float(number):.3f}" for number in re.findall(r"[+-][\d.]+", value))
    return value
