"""Checks that an output holds what it should: every frame at its time, every packet, every tag."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from hashlib import sha256
from itertools import pairwise, zip_longest
from pathlib import Path

from av.container.streams import StreamContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vidx4.appearance import COLOR_NAMES, ColorDescription, Margins, color_name
from vidx4.errors import LossError
from vidx4.media.container import open_source
from vidx4.media.display.hdr import is_same_hdr
from vidx4.media.display.rotation import is_same_matrix
from vidx4.media.formats.held_tags import read_tags
from vidx4.media.formats.tags import is_same_value, written_dispositions
from vidx4.media.frame_count import count_decoded, count_packets
from vidx4.media.output import Output
from vidx4.media.probe import is_chapter_track, probe
from vidx4.media.streams import Carried
from vidx4.media.tracks.captions import delays, read_captions, written_captions
from vidx4.media.tracks.chapters import Chapter, chapters_of
from vidx4.media.tracks.digest import StreamDigest, digests
from vidx4.media.tracks.timecode import is_timecode
from vidx4.media.tracks.timeline import shown_times
from vidx4.video import Fields, Source

_logger = logging.getLogger(__name__)

_DRAWN = frozenset({"dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle"})
"""Codecs of subtitles that are pictures."""
_CLOCKED = frozenset({"dvb_teletext"})
"""Codecs whose packets FFmpeg moves to the clock of the file when it reads them."""
_CHAPTER_TOLERANCE = Fraction(1, 1000)
"""Seconds by which a chapter may be off; MP4 stores milliseconds."""
_CAPTION_DELAY = Fraction(1, 2)
"""Seconds by which closed captions may be late because several frames' were too much for one."""
_EXACT = frozenset({"mp4", "mov"})
"""Muxers that keep the time base of a video."""


@dataclass(frozen=True)
class Check:
    """One property of an output, as it should be and as it was found."""

    subject: str
    expected: str
    found: str
    is_kept: bool
    is_minor: bool = False
    """Whether nothing that is seen or heard depends on it: tags."""

    @classmethod
    def of(cls, subject: str, expected: object, found: object) -> "Check":
        """Return the check that two values are equal."""
        return cls(subject, str(expected), str(found), expected == found)


def check_kept(output: Output, path: Path, missing: Sequence[int] = (), *, accept_loss: bool = False) -> None:
    """Check that a file holds everything that an output should.

    Args:
        output: what the file should hold.
        path: the file, which need not be at the output's own place.
        missing: pts of frames of the source that could not be decoded.
        accept_loss: whether a loss is only logged.

    Raises:
        LossError: something is lost, and `accept_loss` is not set.
    """
    require_kept(verify_output(output, path, missing), output.path, accept_loss=accept_loss)


def require_kept(checks: Sequence[Check], path: Path, *, accept_loss: bool) -> None:
    """Raise an error about checks that failed; log a warning about each that is minor.

    Args:
        checks: checks of a file that is about to appear.
        path: the place where it should appear.
        accept_loss: whether a loss is only logged.

    Raises:
        LossError: something is lost, and `accept_loss` is not set.
    """
    failed = [check for check in checks if not check.is_kept]
    lost = [check for check in failed if not check.is_minor]
    for each in failed if accept_loss else (check for check in failed if check.is_minor):
        _logger.warning("%s: %s is %s but should be %s.", path, each.subject, each.found, each.expected)
    if lost and not accept_loss:
        what = "; ".join(f"{each.subject} is {each.found} but should be {each.expected}" for each in lost[:3])
        more = f"; and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise LossError(
            f"{path} can't keep everything of its source: {what}{more}. Use --accept-loss to write it all "
            "the same."
        )


def verify_output(output: Output, path: Path, missing: Sequence[int] = ()) -> list[Check]:
    """Compare a file with what an output should hold.

    Args:
        output: what the file should hold.
        path: the file, which need not be at the output's own place.
        missing: pts of frames of the source that could not be decoded.

    Raises:
        SourceError: a file can't be read.
    """
    copy = probe(path, _enlarged_video(path))
    if output.is_pictures:
        return [*_counts(output, path, copy, missing), *_pictures(output, copy, missing)]
    checks = (
        *_counts(output, path, copy, missing),
        *_frames(output, copy, missing),
        *_picture(output, copy),
        *_captions(output, path, copy),
        *_streams(output, path, copy),
        *_description(output, path),
    )
    return [check for check in checks if check.is_kept or check.subject not in output.unkept]


def _enlarged_video(path: Path) -> int:
    """Return the index of the enlarged video: the first one, though players may choose another of several."""
    with open_source(path) as container:
        covers = Disposition.attached_pic
        videos = [each.index for each in container.streams.video if not each.disposition & covers]
    return videos[0] if videos else 0


def _counts(output: Output, path: Path, copy: Source, missing: Sequence[int]) -> Iterator[Check]:
    """Count the frames of both files by their packets, or by a plain decoder where packets don't tell.

    Nothing here comes from the code that reads frames for the model.
    """
    yield from source_checks(output.source)
    stored = output.source.untreated or output.source
    if not output.is_pictures:
        yield Check.of("packets of the video", copy.num_frames, count_packets(path, copy.video_index))
    # Pulldown is removed with a frame repeated in place of a missing one.
    if (
        missing
        and output.max_packets is None
        and output.span.is_whole
        and output.source.fields != Fields.FILM
    ):
        per_frame = output.source.num_frames // stored.num_frames
        num_kept = output.source.num_frames - len(missing)
        decoded = count_decoded(stored.path, stored.video_index)
        # After damage, a decoder may repeat frames.
        most = min(decoded.num_frames, stored.num_frames)
        at_least = per_frame * most if decoded.is_whole else num_kept
        yield Check("frames that can be decoded", f"at least {at_least}", str(num_kept), num_kept >= at_least)


def source_checks(source: Source) -> Iterator[Check]:
    """Yield the check that a source's frames are all those that its file holds."""
    stored = source.untreated or source
    yield _no_fewer("frames of the source", stored.num_frames + stored.num_leading, stored)


def _no_fewer(subject: str, found: int, source: Source) -> Check:
    by_packets = count_packets(source.path, source.video_index)
    if found == by_packets:
        return Check.of(subject, by_packets, found)
    decoded = count_decoded(source.path, source.video_index).num_frames
    return Check(subject, f"{decoded} to {by_packets}", str(found), decoded <= found <= by_packets)


def _pictures(output: Output, copy: Source, missing: Sequence[int]) -> list[Check]:
    expected = len(output.frames) - len(missing)
    target = output.target
    return [
        Check.of("number of pictures", expected, copy.num_frames),
        Check.of("size", f"{target.width}x{target.height}", f"{copy.width}x{copy.height}"),
        Check.of("bit depth", target.encoder.bit_depth, copy.bit_depth),
    ]


def _frames(output: Output, copy: Source, missing: Sequence[int]) -> Iterator[Check]:
    source, cut, absent = output.source, output.cut, set(missing)
    shown = shown_times(source, cut)
    pts = [each for each in shown if each not in absent]
    expected = [shown[each][0] * source.time_base - cut.origin for each in pts]
    found = [each * copy.time_base for each in copy.pts]
    yield Check.of("number of frames", len(expected), len(found))
    if output.muxer in _EXACT:
        finer = (source.time_base / copy.time_base).denominator == 1
        yield Check("time base", str(source.time_base), str(copy.time_base), finer)
    yield _times("time of frame", expected, found, copy.time_base / 2)
    # A frame lasts until the next that the source has, whether that could be decoded or not.
    has_durations = output.muxer not in ("mpegts", "webm")
    if expected and found and not absent and has_durations:
        last = shown[pts[-1]][1] * source.time_base - cut.origin
        tolerance = 2 * copy.time_base  # both its start and its duration are rounded
        if output.muxer in _EXACT:
            # MP4 holds the times between decoded frames, and the last one shown need not be decoded last.
            steps = [stop - start for start, stop in pairwise([*expected, last])]
            tolerance += max(steps) - min(steps)
        yield _times("end of the last frame", [last], [copy.stop_pts * copy.time_base], tolerance)


def _times(
    subject: str, expected: Sequence[Fraction], found: Sequence[Fraction], tolerance: Fraction
) -> Check:
    for index, (given, kept) in enumerate(zip_longest(expected, found)):
        if given is None or kept is None or abs(given - kept) > tolerance:
            return Check(f"{subject} {index}", _seconds(given), _seconds(kept), False)
    return Check(f"{subject}s" if len(expected) > 1 else subject, f"{len(expected)} kept", "the same", True)


def _seconds(time: Fraction | None) -> str:
    return "none" if time is None else f"{float(time):.6f} s"


def _picture(output: Output, copy: Source) -> Iterator[Check]:
    target, color = output.target, output.target.color
    yield Check.of("size", f"{target.width}x{target.height}", f"{copy.width}x{copy.height}")
    yield Check.of("shape of pixels", *map(_ratio, (target.sample_aspect_ratio, copy.sample_aspect_ratio)))
    is_same = is_same_matrix(target.display_matrix, copy.display_matrix)
    yield Check("display matrix", _matrix(target.display_matrix), _matrix(copy.display_matrix), is_same)
    yield Check.of("margins", *map(_margins, (target.margins, copy.margins)))
    for name in COLOR_NAMES:
        codes = (getattr(each, name.replace(" ", "_")) for each in (color, copy.color))
        yield Check.of(f"colour {name}", *(color_name(name, code) for code in codes))
    yield Check.of("colour range", *map(_range, (color, copy.color)))
    yield Check.of("bit depth", target.encoder.bit_depth, copy.bit_depth)
    yield _same("360-degree mapping", target.sphere, copy.sphere)
    yield _same("stereoscopic layout", target.stereo, copy.stereo)
    if target.hdr.mastering_display or target.hdr.content_light:
        is_kept = is_same_hdr(target.hdr, copy.hdr)
        yield Check("HDR metadata", "as the source's", "the same" if is_kept else "another", is_kept)


def _same(subject: str, expected: object, found: object) -> Check:
    """Return the check that two values are equal whose parts would tell people nothing."""
    if expected is None or found is None:
        return Check.of(subject, *("none" if each is None else "stored" for each in (expected, found)))
    return Check(subject, "as wanted", "the same" if expected == found else "another", expected == found)


def _ratio(ratio: Fraction) -> str:
    return f"{ratio.numerator}:{ratio.denominator}"


def _matrix(matrix: tuple[int, ...] | None) -> str:
    return "upright" if matrix is None else " ".join(map(str, matrix))


def _margins(margins: Margins) -> str:
    return ", ".join(f"{side} {width}" for side, width in asdict(margins).items() if width) or "none"


def _range(color: ColorDescription) -> str:
    return "full" if color.full_range else "limited"


def _captions(output: Output, path: Path, copy: Source) -> Iterator[Check]:
    """Compare closed captions as decoded from the source with those in the packets of the copy."""
    if not output.keeps_captions:
        return
    given = list(read_captions(output.source, output.made_span))
    kept = written_captions(path, copy.video_index)
    expected, found = (b"".join(caption.triplets for caption in captions) for captions in (given, kept))
    sizes = f"{len(expected)} bytes", f"{len(found)} bytes"
    yield Check("closed captions", *sizes, expected == found)
    late = list(delays(given, kept, output.cut.origin, copy))
    worst = max(late, key=abs, default=Fraction(0))
    is_near = min(late, default=0) >= 0 and worst <= _CAPTION_DELAY
    most = f"at most {_seconds(_CAPTION_DELAY)}"
    yield Check("delay of closed captions", most, _seconds(worst), is_near, is_minor=True)


def _streams(output: Output, path: Path, copy: Source) -> Iterator[Check]:
    source, carried = output.source, output.streams.carried
    with open_source(source.path) as original, open_source(path) as written:
        pairs = list(_pairs(original.streams, carried, written.streams, copy.video_index))
        given = digests(original, [stream for _, stream, _ in pairs], output.cut)
        kept = digests(written, [twin for *_, twin in pairs if twin is not None])
        video = original.streams[source.video_index], written.streams[copy.video_index]
        yield from _tags(*video, output)
        for each, stream, twin in pairs:
            name = f"{each.stream.kind} {stream.index}"
            if twin is None:
                yield Check(name, each.stream.codec or each.stream.details, "missing", False)
                continue
            is_cut = not output.cut.is_whole and each.stream.kind == "audio"
            if not output.cut.is_whole and each.stream.codec in _DRAWN:
                # The picture that is shown when the range begins was composed again, as its first packet.
                yield Check.of(f"{name}: codec", each.stream.codec, kept[twin.index].codec)
                continue
            yield from _packets(name, each, given[stream.index], kept[twin.index], is_cut=is_cut)
            yield from _tags(stream, twin, output)
        yield from _surplus(pairs, written.streams, copy.video_index, output)


def _pairs(
    originals: StreamContainer, carried: Sequence[Carried], written: StreamContainer, video_index: int
) -> Iterator[tuple[Carried, Stream, Stream | None]]:
    """Pair streams by their order among those of one kind; a container may order the kinds differently."""
    left: dict[str, list[Stream]] = {}
    for stream in written:
        if stream.index != video_index and not is_chapter_track(stream):
            left.setdefault(stream.type, []).append(stream)
    for each in carried:
        twins = left.get(each.stream.kind, [])
        yield each, originals[each.stream.index], twins.pop(0) if twins else None


def _parameters(name: str, given: StreamDigest, kept: StreamDigest) -> Check:
    is_kept = given.parameters == kept.parameters
    return Check(f"{name}: parameters", _sound(given.parameters), _sound(kept.parameters), is_kept)


def _sound(parameters: Sequence[object]) -> str:
    """Return the parameters of a stream, those of sound if it has any, in words."""
    match parameters:
        case bytes() as header, rate, channels:
            return f"{rate} Hz, {channels} channels, header {sha256(header).hexdigest()[:8]}"
        case _, rate, channels:
            return f"{rate} Hz, {channels} channels"
    return "none"


def _surplus(
    pairs: Sequence[tuple[Carried, Stream, Stream | None]],
    written: StreamContainer,
    video_index: int,
    output: Output,
) -> Iterator[Check]:
    known = {video_index, *(twin.index for *_, twin in pairs if twin is not None)}
    if output.description.has_timecode and output.muxer in _EXACT:
        known |= {stream.index for stream in written if is_timecode(stream.type, stream.metadata)}
    extra = [s for s in written if s.index not in known and not is_chapter_track(s)]
    yield Check.of("further streams", 0, len(extra))


def _packets(
    name: str, each: Carried, given: StreamDigest, kept: StreamDigest, *, is_cut: bool
) -> Iterator[Check]:
    if each.codec is None and is_cut:
        yield Check.of(f"{name}: codec", given.codec, kept.codec)
        yield _parameters(name, given, kept)
        if given.has_packets:  # the output has more before, for its decoder
            (content, times), (other, found) = (each.last(given.num_packets) for each in (given, kept))
            yield Check.of(f"{name}: content", content, other)
            slack = (
                given.time_base if given.is_coarse else given.rounding
            )  # `trim_sound` finds the exact times
            yield _times(f"{name}: time of packet", times, found, (kept.time_base + slack) / 2)
    elif each.codec is None:
        yield Check.of(f"{name}: codec", given.codec, kept.codec)
        yield Check.of(f"{name}: content", given.content, kept.content)
        if given.has_packets and kept.has_packets:
            yield Check.of(f"{name}: number of packets", len(given.times), len(kept.times))
            tolerance = (kept.time_base + given.rounding) / 2
            if each.stream.codec not in _CLOCKED:
                yield _times(f"{name}: time of packet", given.times, kept.times, tolerance)
            yield _parameters(name, given, kept)
    elif each.stream.kind == "audio":
        yield Check.of(f"{name}: channels", *(each.parameters[-1] for each in (given, kept)))
        yield _times(f"{name}: length", [given.length], [kept.length], Fraction(1, 10))
    else:
        there = set(kept.texts)
        lost = [text for text in given.texts if text not in there]
        yield Check(f"{name}: texts", f"{len(given.texts)}", f"{len(given.texts) - len(lost)}", not lost)


def _tags(stream: Stream, twin: Stream, output: Output) -> Iterator[Check]:
    name = f"{stream.type} {stream.index}"
    found = read_tags(twin)
    if output.muxer in _EXACT:  # other programs that rewrite the file keep only this one
        found.setdefault("title", found.get("handler_name", ""))
    for key, value in output.description.of_stream(stream.index).items():
        kept = found.get(key.lower(), "")
        yield Check(f"{name}: {key}", value, kept, value == kept, is_minor=True)
    written = written_dispositions(output.muxer)
    wanted = stream.disposition & written
    if isinstance(stream, VideoStream) and stream.index != output.source.video_index:
        wanted &= ~Disposition.default
    is_kept = not wanted & ~twin.disposition
    flags = _flags(wanted), _flags(twin.disposition & written)
    yield Check(f"{name}: dispositions", *flags, is_kept, is_minor=True)


def _flags(dispositions: Disposition) -> str:
    return ", ".join((each.name or "").replace("_", " ") for each in dispositions) or "none"


def _description(output: Output, path: Path) -> Iterator[Check]:
    with open_source(output.source.path) as original, open_source(path) as written:
        if output.muxer != "mpegts":
            found = read_tags(written)
            for key, value in output.description.file.kept.items():
                other = found.get(key.lower(), "")
                yield Check(f"metadata {key}", value, other, is_same_value(key, value, other), is_minor=True)
            given, kept = chapters_of(original, output.cut), chapters_of(written)
            yield Check.of("number of chapters", len(given), len(kept))
            pairs = zip(given, kept, strict=False)
            yield from (_chapter(number, *pair) for number, pair in enumerate(pairs, start=1))


def _chapter(number: int, given: Chapter, kept: Chapter) -> Check:
    is_kept = given.title == kept.title and all(
        abs(a - b) <= _CHAPTER_TOLERANCE for a, b in ((given.start, kept.start), (given.stop, kept.stop))
    )
    # MP4 has no gaps between chapters, and none before the first.
    return Check(f"chapter {number}", str(given), str(kept), is_kept, is_minor=True)
