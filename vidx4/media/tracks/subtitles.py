"""Subtitles that are text: SubRip, WebVTT and that of MP4."""

import html
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import groupby, pairwise

from av.codec.context import CodecContext
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from vidx4.media.container import AnyPacket
from vidx4.media.tracks.subtitle_trim import begin_of

_MILLISECOND = Fraction(1, 1000)
_UNENDED = 4000
"""Milliseconds for which the last text is shown where nothing says for how long."""
_FACES: Mapping[str, int] = {"b": 1, "i": 2, "u": 4}
"""Bits of a face in MP4 (3GPP TS 26.245, 5.16), by the letter of their tag elsewhere."""
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
"""The colours that WebVTT has names for (W3C, 5.1)."""
_HTML_COLORS: Mapping[str, int] = {**_VTT_COLORS, "gray": 0x808080, "green": 0x008000, "silver": 0xC0C0C0}
_SRT_TAG = re.compile(r"<(/?)(b|i|u|s|font)\b([^<>]*)>", re.IGNORECASE)
_SRT_COLOR = re.compile(r"""\bcolor\s*=\s*["']?#?(\w+)""", re.IGNORECASE)
_OVERRIDES = re.compile(r"\{(\\[^{}]*)\}")
"""Of ASS, which many write into SubRip: `{\\i1}`."""
_SWITCH = re.compile(r"\\([biu])([01])(?![0-9])")
_VTT_TAG = re.compile(r"<(/?)([a-z]*)([^<>]*)>", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n{2,}")
_FONT, _FONT_SIZE, _WHITE, _OPAQUE = 1, 16, 0xFFFFFF, 0xFF
"""Those of the sample entry that FFmpeg writes."""
_STYLE = struct.Struct(">3H2BI")
"""First character and the one after the last, font, face, size, colour (3GPP TS 26.245, 5.17)."""
_STYLES_HEADER = struct.Struct(">I4sH")
_DEFAULT_STYLE = 18
"""Where the style of all text lies in a sample entry of MP4."""
_MAX_BYTES = 0xFFFF


@dataclass(frozen=True)
class _Style:
    face: int = 0
    color: int | None = None
    """RGB; None for the player's."""


@dataclass(frozen=True)
class _Run:
    """Text of one style."""

    text: str
    style: _Style = _Style()


_Text = tuple[_Run, ...]


@dataclass(frozen=True)
class _Cue:
    """What is shown from `start` until `stop`, in milliseconds."""

    start: int
    stop: int
    text: _Text


def add_text_stream(output: OutputContainer, codec: str) -> Stream:
    """Add a stream of text to an output whose header is not written yet.

    Args:
        output: an MP4, MOV, Matroska or WebM file.
        codec: `mov_text`, `subrip` or `webvtt`, as the container has it.
    """
    if codec != "mov_text":
        return output.add_mux_stream(codec, time_base=_MILLISECOND)
    stream = output.add_stream("mov_text", time_base=_MILLISECOND)
    # FFmpeg makes the sample entry of MP4 from a header of ASS, which its decoders of text provide.
    decoder = CodecContext.create("subrip", "r")
    decoder.open()
    stream.codec_context.subtitle_header = decoder.subtitle_header
    stream.codec_context.time_base = _MILLISECOND
    return stream


def convert_text(packets: Iterable[AnyPacket], stream: SubtitleStream, copy: Stream) -> Iterator[AnyPacket]:
    """Yield the packets of text in the way of another container, at the same times.

    Where texts overlap, MP4 gets all that are shown at a time as one, one above the other.

    Args:
        packets: in the order in which they are shown, of SubRip, WebVTT or MP4.
        stream: where they are from.
        copy: what `add_text_stream` made.
    """
    write = _WRITERS[copy.container.format.name]
    cues = _cues(packets, _reader(stream))
    for cue in _separate(cues) if write is _write_mp4 else cues:
        packet = Packet(write(cue.text))
        packet.stream, packet.time_base, packet.is_keyframe = copy, _MILLISECOND, True
        packet.pts = packet.dts = cue.start
        packet.duration = cue.stop - cue.start
        yield packet


def _cues(packets: Iterable[AnyPacket], read: Callable[[bytes], Iterable[_Run]]) -> Iterator[_Cue]:
    """Yield the cues of packets; one without a duration lasts until the next."""
    unended: _Cue | None = None
    for packet in packets:
        start = round(begin_of(packet) / _MILLISECOND)
        if unended:
            yield replace(unended, stop=max(start, unended.start))
        duration = round((packet.duration or 0) * packet.time_base / _MILLISECOND)
        cue = _Cue(start, start + duration, _merge(read(bytes(packet))))
        unended = cue if cue.text and not duration else None
        if cue.text and duration:
            yield cue
    if unended:
        yield replace(unended, stop=unended.start + _UNENDED)


def _separate(cues: Iterable[_Cue]) -> Iterator[_Cue]:
    """Yield cues of which no two overlap."""
    shown: list[_Cue] = []
    now = 0
    for cue in cues:
        yield from _until(shown, now, max(now, cue.start))
        now = max(now, cue.start)
        shown = [*(each for each in shown if each.stop > now), cue]
    yield from _until(shown, now, max((each.stop for each in shown), default=now))


def _until(shown: Sequence[_Cue], start: int, stop: int) -> Iterator[_Cue]:
    """Yield what is shown from `start` to `stop`, anew whenever a cue ends."""
    borders = sorted({start, stop, *(cue.stop for cue in shown if start < cue.stop < stop)})
    for begin, end in pairwise(borders):
        texts = [cue.text for cue in shown if cue.stop >= end]
        if texts:
            yield _Cue(begin, end, _stack(texts))


def _stack(texts: Sequence[_Text]) -> _Text:
    runs = [run for text in texts for run in (_Run("\n"), *text)]
    return _merge(runs[1:])


def _merge(runs: Iterable[_Run]) -> _Text:
    """Return runs with neighbours of one style as one; none where there is no text."""
    merged = [
        _Run("".join(run.text for run in group), style)
        for style, group in groupby((run for run in runs if run.text), key=lambda run: run.style)
    ]
    return tuple(merged) if any(run.text.strip() for run in merged) else ()


def _reader(stream: SubtitleStream) -> Callable[[bytes], Iterable[_Run]]:
    context = stream.codec_context
    match context.codec.canonical_name:
        case "mov_text":
            return partial(_read_mp4, entry=context.extradata or b"")
        case "webvtt":
            return _read_vtt
    return _read_srt


def _lines(payload: bytes) -> str:
    text = payload.decode(errors="replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip("\n\0")


def _read_srt(payload: bytes) -> Iterator[_Run]:
    return _read_tags(_OVERRIDES.sub(_as_tags, _lines(payload)), _SRT_TAG, _srt_style)


def _as_tags(overrides: re.Match[str]) -> str:
    switches = _SWITCH.findall(overrides[1])
    return "".join(f"<{'' if is_on == '1' else '/'}{letter}>" for letter, is_on in switches)


def _srt_style(style: _Style, tag: str, rest: str) -> _Style:
    color = _SRT_COLOR.search(rest)
    if tag != "font" or not color:
        return replace(style, face=style.face | _FACES.get(tag, 0))
    return replace(style, color=_parse_color(color[1].lower(), style.color))


def _parse_color(name: str, fallback: int | None) -> int | None:
    if re.fullmatch("[0-9a-f]{6}", name):
        return int(name, 16)
    return _HTML_COLORS.get(name, fallback)


def _read_vtt(payload: bytes) -> Iterator[_Run]:
    runs = _read_tags(_lines(payload), _VTT_TAG, _vtt_style)
    return (replace(run, text=html.unescape(run.text)) for run in runs)


def _vtt_style(style: _Style, tag: str, rest: str) -> _Style:
    colors = [_VTT_COLORS[name] for name in rest.split(".") if tag == "c" and name in _VTT_COLORS]
    color = colors[-1] if colors else style.color
    return _Style(style.face | _FACES.get(tag, 0), color)


def _read_tags(
    text: str, pattern: re.Pattern[str], restyle: Callable[[_Style, str, str], _Style]
) -> Iterator[_Run]:
    """Yield the text between tags; `restyle` tells what an opening tag makes of a style."""
    style, opened, place = _Style(), list[tuple[str, _Style]](), 0
    for match in pattern.finditer(text):
        yield _Run(text[place : match.start()], style)
        place, tag = match.end(), match[2].lower()
        if not match[1]:
            opened.append((tag, style))
            style = restyle(style, tag, match[3])
        elif any(tag == name for name, _ in opened):
            name = ""
            while name != tag:
                name, style = opened.pop()
    yield _Run(text[place:], style)


def _read_mp4(payload: bytes, entry: bytes) -> Iterator[_Run]:
    size = int.from_bytes(payload[:2], "big")
    data = payload[2 : 2 + size]
    text = data.decode("utf-16" if data[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8", errors="replace")
    face, white = _default_style(entry)
    plain, place = _Style(face), 0
    for start, stop, _, face, _, color in _styles(payload[2 + size :]):
        yield _Run(_plain_lines(text[place:start]), plain)
        own = None if color >> 8 == white else color >> 8
        yield _Run(_plain_lines(text[max(start, place) : stop]), _Style(face & 7, own))
        place = max(place, stop)
    yield _Run(_plain_lines(text[place:]), plain)


def _plain_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _default_style(entry: bytes) -> tuple[int, int]:
    """Return the face and the colour of text in MP4 that says nothing of them."""
    if len(entry) < _DEFAULT_STYLE + _STYLE.size:
        return 0, _WHITE
    _, _, _, face, _, color = _STYLE.unpack_from(entry, _DEFAULT_STYLE)
    return face & 7, color >> 8


def _styles(boxes: bytes) -> Iterator[tuple[int, ...]]:
    """Yield the styles among the boxes that follow the text, in ascending order."""
    while len(boxes) >= _STYLES_HEADER.size:
        size, name, count = _STYLES_HEADER.unpack_from(boxes)
        records = boxes[_STYLES_HEADER.size :][: count * _STYLE.size]
        if name == b"styl":
            yield from sorted(_STYLE.iter_unpack(records[: len(records) // _STYLE.size * _STYLE.size]))
        boxes = boxes[max(size, _STYLES_HEADER.size) :]


def _write_srt(text: _Text) -> bytes:
    return "".join(_tagged(run.text, run.style.face, *_font(run.style.color)) for run in text).encode()


def _font(color: int | None) -> tuple[str, str]:
    return ("", "") if color is None else (f'<font color="#{color:06x}">', "</font>")


def _write_vtt(text: _Text) -> bytes:
    return _BLANK_LINES.sub(
        "\n",
        "".join(
            _tagged(html.escape(run.text, quote=False), run.style.face, *_class(run.style.color))
            for run in text
        ),
    ).encode()


def _class(color: int | None) -> tuple[str, str]:
    names = [name for name, known in _VTT_COLORS.items() if known == color]
    return (f"<c.{names[0]}>", "</c>") if names else ("", "")


def _tagged(text: str, face: int, before: str, after: str) -> str:
    for letter, bit in _FACES.items():
        if face & bit:
            text = f"<{letter}>{text}</{letter}>"
    return before + text + after


def _write_mp4(text: _Text) -> bytes:
    data = "".join(run.text for run in text).encode()[:_MAX_BYTES].decode(errors="ignore").encode()
    records, place = [], 0
    for run in text:
        color = _WHITE if run.style.color is None else run.style.color
        if run.style != _Style():
            end = place + len(run.text)
            records.append(_STYLE.pack(place, end, _FONT, run.style.face, _FONT_SIZE, color << 8 | _OPAQUE))
        place += len(run.text)
    styles = b"".join(records)
    header = _STYLES_HEADER.pack(_STYLES_HEADER.size + len(styles), b"styl", len(records))
    return struct.pack(">H", len(data)) + data + (header + styles if records else b"")


_WRITERS: Mapping[str, Callable[[_Text], bytes]] = {
    "mp4": _write_mp4,
    "mov": _write_mp4,
    "matroska": _write_srt,
    "webm": _write_vtt,
}
