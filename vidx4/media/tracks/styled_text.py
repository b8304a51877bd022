"""Read and write the text of a subtitle with its styles: SubRip, WebVTT, and the timed text of MP4."""

import html
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

from av.subtitles.stream import SubtitleStream

_FACES: Mapping[str, int] = {"b": 1, "i": 2, "u": 4}
"""Face style flags of MP4 (3GPP TS 26.245, 5.16), by the tags of SubRip and WebVTT."""
_VTT_COLORS: Mapping[str, int] = {
    "white": 0xFFFFFF,
    "lime": 0x00FF00,
    "cyan": 0x00FFFF,
    "red": 0xFF0000,
    "yellow": 0xFFFF00,
    "magenta": 0xFF00FF,
    "blue": 0x0000FF,
    "black": 0x000000,
}
"""Colours that WebVTT has names for, as RGB (W3C WebVTT, 5.1)."""
_HTML_COLORS: Mapping[str, int] = {**_VTT_COLORS, "gray": 0x808080, "green": 0x008000, "silver": 0xC0C0C0}
"""Names of colours that are common in SubRip."""
_SRT_TAG = re.compile(r"<(/?)(b|i|u|s|font)\b([^<>]*)>", re.IGNORECASE)
_SRT_COLOR = re.compile(r"""\bcolor\s*=\s*["']?#?(\w+)""", re.IGNORECASE)
_OVERRIDES = re.compile(r"\{(\\[^{}]*)\}")
"""Override tags of ASS, which are common in SubRip too: `{\\i1}`."""
_SWITCH = re.compile(r"\\([biu])([01])(?![0-9])")
_VTT_TAG = re.compile(r"<(/?)([a-z]*+)([^<>]*+)>", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n{2,}")
_FONT, _FONT_SIZE, _WHITE, _OPAQUE = 1, 16, 0xFFFFFF, 0xFF
"""Style of the sample entry that FFmpeg's MP4 muxer writes."""
_STYLE = struct.Struct(">3H2BI")
"""Style record: first character and the one after the last, font, face, size, RGBA (3GPP TS 26.245, 5.17)."""
_STYLES_HEADER = struct.Struct(">I4sH")
"""Header of a box of style records: its size, its name, and the number of records."""
_DEFAULT_STYLE = 18
"""Offset of the default style in a sample entry of MP4."""
_MAX_BYTES = 0xFFFF
"""Most bytes of text in a packet of MP4, whose length has 16 bits."""


@dataclass(frozen=True)
class Style:
    """The look of a run of text."""

    face: int = 0
    """Sum of flags in `_FACES`."""
    color: int | None = None
    """RGB; None for the player's own colour."""


@dataclass(frozen=True)
class Run:
    """A stretch of text in one style."""

    text: str
    style: Style = Style()


Text = tuple[Run, ...]
"""The text of a subtitle; empty for none."""
Reader = Callable[[bytes], Text]
Writer = Callable[[Text], bytes]


def stack(texts: Sequence[Text]) -> Text:
    """Return several texts as one, one above the other."""
    runs = [run for text in texts for run in (Run("\n"), *text)]
    return _merge(runs[1:])


def _merge(runs: Iterable[Run]) -> Text:
    """Return runs with adjacent ones of the same style merged; none if they are blank."""
    merged = [
        Run("".join(run.text for run in group), style)
        for style, group in groupby((run for run in runs if run.text), key=lambda run: run.style)
    ]
    return tuple(merged) if any(run.text.strip() for run in merged) else ()


def reader_of(stream: SubtitleStream) -> Reader:
    """Return the function that reads the text of a stream's packets."""
    read = _runs_reader(stream)
    return lambda payload: _merge(read(payload))


def _runs_reader(stream: SubtitleStream) -> Callable[[bytes], Iterable[Run]]:
    context = stream.codec_context
    match context.codec.canonical_name:
        case "mov_text":
            return partial(_read_mp4, entry=context.extradata or b"")
        case "webvtt":
            return _read_vtt
    return _read_srt


def _decode_lines(payload: bytes) -> str:
    text = payload.decode(errors="replace").removeprefix("\ufeff")
    return _unify_newlines(text).strip("\n\0")


def _unify_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_srt(payload: bytes) -> Iterator[Run]:
    return _read_tags(_OVERRIDES.sub(_overrides_to_tags, _decode_lines(payload)), _SRT_TAG, _srt_style)


def _overrides_to_tags(overrides: re.Match[str]) -> str:
    """Return override tags of ASS as tags of SubRip; only bold, italic and underline are kept."""
    switches = _SWITCH.findall(overrides[1])
    return "".join(f"<{'' if is_on == '1' else '/'}{letter}>" for letter, is_on in switches)


def _srt_style(style: Style, tag: str, rest: str) -> Style:
    color = _SRT_COLOR.search(rest)
    if tag != "font" or not color:
        return replace(style, face=style.face | _FACES.get(tag, 0))
    return replace(style, color=_parse_color(color[1].lower(), style.color))


def _parse_color(name: str, fallback: int | None) -> int | None:
    if re.fullmatch("[0-9a-f]{6}", name):
        return int(name, 16)
    return _HTML_COLORS.get(name, fallback)


def _read_vtt(payload: bytes) -> Iterator[Run]:
    runs = _read_tags(_decode_lines(payload), _VTT_TAG, _vtt_style)
    return (replace(run, text=_unescape(run.text)) for run in runs)


def _unescape(text: str) -> str:
    try:
        return html.unescape(text)
    except ValueError:  # a number of thousands of digits
        return text


def _vtt_style(style: Style, tag: str, rest: str) -> Style:
    colors = [_VTT_COLORS[name] for name in rest.split(".") if tag == "c" and name in _VTT_COLORS]
    color = colors[-1] if colors else style.color
    return Style(style.face | _FACES.get(tag, 0), color)


def _read_tags(
    text: str, pattern: re.Pattern[str], restyle: Callable[[Style, str, str], Style]
) -> Iterator[Run]:
    """Yield the runs of text between tags.

    Args:
        text: text with tags.
        pattern: a tag; its groups are the slash of a closing tag, the name, and the rest.
        restyle: returns the style inside a tag, from the style around it, the tag's name, and the rest.
    """
    style, opened, place = Style(), list[tuple[str, Style]](), 0
    num_opened: Counter[str] = Counter()
    for match in pattern.finditer(text):
        yield Run(text[place : match.start()], style)
        place, tag = match.end(), match[2].lower()
        if not match[1]:
            opened.append((tag, style))
            num_opened[tag] += 1
            style = restyle(style, tag, match[3])
        elif num_opened[tag]:
            # Crossed tags such as <b><i></b></i> are common: a tag closes those that were opened within it.
            name = ""
            while name != tag:
                name, style = opened.pop()
                num_opened[name] -= 1
    yield Run(text[place:], style)


def _read_mp4(payload: bytes, entry: bytes) -> Iterator[Run]:
    """Yield the runs of a packet of MP4: the length and the bytes of the text, then boxes with styles.

    Args:
        payload: the packet.
        entry: the stream's sample entry, which holds the default style.
    """
    size = int.from_bytes(payload[:2], "big")
    data = payload[2 : 2 + size]
    text = data.decode("utf-16" if data[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8", errors="replace")
    face, default_color = _default_style(entry)
    default, place = Style(face), 0
    for start, stop, _, face, _, color in _style_records(payload[2 + size :]):
        yield Run(_unify_newlines(text[place:start]), default)
        own_color = None if color >> 8 == default_color else color >> 8
        yield Run(_unify_newlines(text[max(start, place) : stop]), Style(face & 7, own_color))
        place = max(place, stop)
    yield Run(_unify_newlines(text[place:]), default)


def _default_style(entry: bytes) -> tuple[int, int]:
    """Return the default face and colour (RGB) of a sample entry of MP4."""
    if len(entry) < _DEFAULT_STYLE + _STYLE.size:
        return 0, _WHITE
    _, _, _, face, _, color = _STYLE.unpack_from(entry, _DEFAULT_STYLE)
    return face & 7, color >> 8


def _style_records(boxes: bytes) -> Iterator[tuple[int, ...]]:
    """Yield the style records in the boxes that follow a text, by the character at which each begins."""
    place = 0
    while len(boxes) - place >= _STYLES_HEADER.size:
        size, name, count = _STYLES_HEADER.unpack_from(boxes, place)
        if name == b"styl":
            start = place + _STYLES_HEADER.size
            count = min(count, (len(boxes) - start) // _STYLE.size)
            yield from sorted(_STYLE.iter_unpack(boxes[start : start + count * _STYLE.size]))
        place += max(size, _STYLES_HEADER.size)


def write_srt(text: Text) -> bytes:
    """Return a text as SubRip."""
    return "".join(_add_tags(run.text, run.style.face, *_font_tags(run.style.color)) for run in text).encode()


def _font_tags(color: int | None) -> tuple[str, str]:
    return ("", "") if color is None else (f'<font color="#{color:06x}">', "</font>")


def write_vtt(text: Text) -> bytes:
    """Return a text as WebVTT, without the colours that have no name there."""
    tagged = "".join(
        _add_tags(html.escape(run.text, quote=False), run.style.face, *_class_tags(run.style.color))
        for run in text
    )
    return _BLANK_LINES.sub("\n", tagged).encode()  # a blank line would end the cue


def _class_tags(color: int | None) -> tuple[str, str]:
    names = [name for name, known in _VTT_COLORS.items() if known == color]
    return (f"<c.{names[0]}>", "</c>") if names else ("", "")


def _add_tags(text: str, face: int, before: str, after: str) -> str:
    for letter, flag in _FACES.items():
        if face & flag:
            text = f"<{letter}>{text}</{letter}>"
    return before + text + after


def write_mp4(text: Text) -> bytes:
    """Return a text as a packet of MP4; text beyond 65535 bytes is dropped."""
    # Cut within a character, the rest of that character is dropped as well.
    data = "".join(run.text for run in text).encode()[:_MAX_BYTES].decode(errors="ignore").encode()
    records, place = [], 0
    for run in text:
        color = _WHITE if run.style.color is None else run.style.color
        if run.style != Style():
            end = place + len(run.text)
            records.append(_STYLE.pack(place, end, _FONT, run.style.face, _FONT_SIZE, color << 8 | _OPAQUE))
        place += len(run.text)
    styles = b"".join(records)
    header = _STYLES_HEADER.pack(_STYLES_HEADER.size + len(styles), b"styl", len(records))
    return struct.pack(">H", len(data)) + data + (header + styles if records else b"")
