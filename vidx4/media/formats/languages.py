"""Languages of streams, as containers name them."""

import re
from pathlib import Path

from vidx4.media.formats.containers import MATROSKA

_TABLE = Path(__file__).with_name("languages.txt").read_text(encoding="utf-8")
"""Languages with a code of two letters (ISO 639-1), their codes of three letters (ISO 639-2/T) and their
names, of several the first. From the Library of Congress, the registration authority of ISO 639-2:
https://www.loc.gov/standards/iso639-2/ISO-639-2_utf-8.txt"""
_ROWS = [row.split(maxsplit=2) for row in _TABLE.splitlines()]
_BY_CODE = {short: code for short, code, _ in _ROWS}
_BY_NAME = {name.lower(): code for _, code, name in _ROWS}
_THREE_LETTERS = re.compile("[a-z]{3}")
_QUICKTIME = {
    **{"cym": "wel", "deu": "ger", "ell": "gre", "eus": "baq", "fas": "per", "hye": "arm", "isl": "ice"},
    **{"bod": "tib", "kat": "geo", "mkd": "mac", "msa": "may", "mya": "bur", "nld": "dut", "sqi": "alb"},
    **{"zho": "chi", "fao": "fo ", "hrv": "hr ", "pan": "pa ", "srp": "sr ", "swe": "sve"},
}
"""FFmpeg's names of languages of QuickTime that differ from ISO 639-2/T (`mov_mdhd_language_map` in isom.c);
QuickTime numbers about a hundred languages, and holds no others."""
_ODD = {name: code for code, name in _QUICKTIME.items() if name == "sve" or name.endswith(" ")}
"""Such names that nothing else uses."""
_MAX_IN_TS = 63
"""The most languages of a stream in MPEG-TS: each takes four of the 255 bytes of a descriptor."""
UNDETERMINED = "und"


def written_language(language: str, muxer: str) -> str:
    """Return how a container names a language; an empty string if it can't.

    Matroska takes any name. MP4 and MPEG-TS take three lower-case letters of ISO 639-2, MPEG-TS several of
    them, separated by commas. QuickTime takes some languages, most by the same letters.

    Args:
        language: as a file names it, such as `en`, `ENG`, `de-DE`, `English` or `eng,deu`.
        muxer: FFmpeg's name of the container.
    """
    if muxer in MATROSKA:
        return _ODD.get(language, language)
    codes = [code for part in language.split(",") if (code := _code(part))]
    if muxer == "mpegts":
        return ",".join(codes[:_MAX_IN_TS])
    first = codes[0] if codes else ""
    return _QUICKTIME.get(first, first) if muxer == "mov" else first


def is_same_language(language: str, written: str) -> bool:
    """Return whether a language that is written says all that the given one does."""
    parts = language.split(",")
    if language == written or not written or any(re.search("[-_]", part) for part in parts):
        return language == written
    codes = ",".join(map(_code, parts))
    return written in (codes, _QUICKTIME.get(codes))


def _code(language: str) -> str:
    """Return the code of ISO 639-2 for a language, an empty string if there is none."""
    name = language.strip().lower()
    if name in _BY_NAME or name in _ODD:
        return _BY_NAME.get(name) or _ODD[name]
    code = re.split("[-_]", name)[0]  # the rest of `de-DE` is a region
    return _BY_CODE.get(code, code if _THREE_LETTERS.fullmatch(code) else "")
