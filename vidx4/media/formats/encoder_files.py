"""Options of encoders that name files to read or write, wherever these may lie.

FFmpeg opens none of these files itself: the encoders' libraries do, with names relative to the folder that
the program was started in.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from vidx4.errors import OptionError

FILE_OPTIONS = frozenset({"passlogfile", "stats", "x265-stats"})
"""FFmpeg's options whose value is the name of a file."""
PARAMETER_LISTS = frozenset({"svtav1-params", "ts-parameters", "x264-params", "x264opts", "x265-params"})
"""FFmpeg's options whose value is a list of a library's own parameters."""
PLAIN_OPTIONS = frozenset(
    {
        *("codec_whitelist", "deblock", "dump_separator", "level", "partitions", "preset", "profile"),
        *("psy-rd", "sub_charenc", "tune", "vendor", "wpredp"),
    }
)
"""FFmpeg's options whose value is a text, but neither of these."""

_FILE_PARAMETERS = frozenset(
    {
        *("cqm", "cqmfile", "dump-yuv", "opencl-clbin", "qpfile", "stats"),  # x264
        *("abr-ladder", "analysis-load", "analysis-reuse-file", "analysis-save", "aom-film-grain", "csv"),
        *("dhdr10-info", "dolby-vision-rpu", "film-grain", "input", "lambda-file", "nalu-file", "output"),
        *("qpfile", "recon", "scaling-list", "zonefile"),  # x265
        *("config", "errlog", "fgs-table", "pred-struct-file", "qp-file", "roi-map-file", "stat-file"),  # AV1
    }
)
"""Parameters of libraries whose value may be the name of a file."""
_READ_ONLY = frozenset(
    {
        *("abr-ladder", "analysis-load", "aom-film-grain", "config", "cqm", "cqmfile", "dhdr10-info"),
        *("dolby-vision-rpu", "fgs-table", "film-grain", "lambda-file", "nalu-file", "pred-struct-file"),
        *("qp-file", "qpfile", "roi-map-file", "scaling-list", "zonefile"),
    }
)
"""Parameters whose value is the name of a file that is only read."""
_FILE_WORDS = frozenset({"clbin", "csv", "dump", "file", "files", "path", "stat", "stats", "table"})
"""Parts of the names of parameters that are likely to name a file, whichever library has them."""
_WORDS = frozenset({"default", "flat", "jvt", "none", "off"})
"""Values of parameters such as `cqm` and `scaling-list` that are not names of files."""
_NAMELESS = frozenset({"opencl", "pass"})
"""Parameters that make a library write files in the current folder, without a name."""
_OFF = frozenset({"0", "false", "no", "off"})
_RATIO = re.compile(r"\d+/\d+")
_LOOKS_LIKE_FILE = re.compile(r"/|^~|[A-Za-z_]\w*\.[A-Za-z]\w*$")
_FLAGS = re.compile(r"[+-]?[A-Za-z_]\w*(?:[+-][A-Za-z_]\w*)*")
_ESCAPES = re.compile(r"[\\'\"]")


def check_files(options: Sequence[str], output: Path, source: Path) -> None:
    """Make sure that all files that options of an encoder name lie in the output's folder.

    Args:
        options: the options, each as key=value.
        output: the file that is written; it may not be named itself.
        source: the file that is read; neither may it.

    Raises:
        OptionError: a file lies elsewhere, or may do so.
    """
    for text in options:
        for name, value in _files(text):
            if name in _NAMELESS:
                raise OptionError(
                    f"The encoder's option {name!r} writes files into the current folder, and helps no video "
                    "that is encoded in parts: leave it out."
                )
            if _ESCAPES.search(text.partition("=")[2]) or not _is_allowed(name, value, output, source):
                raise OptionError(
                    f"The encoder's option {name!r} may name only a file below {output.parent}, where the "
                    f"output will be, and neither that, the source, nor one to write that exists, but its "
                    f"value is {value[:100]!r}: leave it out, or give such a path without quotes and "
                    "backslashes."
                )


def _files(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values that may be those of files, whatever is quoted or escaped."""
    key, _, value = _ESCAPES.sub("", text).partition("=")
    if key == "flags" and (not _FLAGS.fullmatch(value) or "pass" in value):
        yield "pass", value
    elif key in FILE_OPTIONS:
        yield key, value
    elif key not in PLAIN_OPTIONS and key != "flags":
        for name, parameter in _parameters(f"{key}={value}" if key not in PARAMETER_LISTS else value):
            if name in _NAMELESS and parameter.lower() in _OFF:
                continue
            if name in _NAMELESS or _may_name_file(name, parameter):
                yield name, parameter


def _parameters(text: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a list, their names as libraries compare them; a bare name has no value."""
    for piece in text.split(":"):
        # A value may hold further parameters, as that of `zones` does.
        for match in re.finditer(r"([^=,/]+)=|^([^=]+)$", piece):
            name, value = (
                match[0].rstrip("=").strip().lower().replace("_", "-").lstrip("-"),
                piece[match.end() :],
            )
            yield name, value.strip()
            yield re.sub("^no-?", "", name), value.strip()


def _may_name_file(name: str, value: str) -> bool:
    if name in _FILE_PARAMETERS:
        return value.lower() not in _WORDS
    words = name.split("-")
    if not _FILE_WORDS.isdisjoint(words) or (words[-1].endswith("file") and words[-1] != "profile"):
        return not re.fullmatch(r"-?[\d.]+", value) and value.lower() not in _WORDS
    return bool(_LOOKS_LIKE_FILE.search(_RATIO.sub("", value)))


def _is_allowed(name: str, value: str, output: Path, source: Path) -> bool:
    with suppress(OSError, RuntimeError, ValueError):  # a link to itself is a RuntimeError
        path, folder = Path(value).resolve(), output.parent.resolve()
        taken = (output, source)
        is_taken = path in (each.resolve() for each in taken) or (
            path.exists() and any(each.exists() and path.samefile(each) for each in taken)
        )
        is_inside = path != folder and path.is_relative_to(folder) and not path.is_dir()
        return is_inside and not is_taken and (name in _READ_ONLY or _is_new(path))
    return False


def _is_new(path: Path) -> bool:
    """Return whether nothing has a name, or begins with it: x265 writes NAME.temp before NAME."""
    return not path.parent.exists() or not any(
        each.name.startswith(path.name) for each in path.parent.iterdir()
    )
