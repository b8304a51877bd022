"""Find out what a file holds."""

from array import array
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideDataType
from av.stream import AttachmentStream, Discard, Disposition, Stream
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from vidx4.appearance import UNSPECIFIED, ColorDescription, Margins
from vidx4.errors import OptionError, SourceError
from vidx4.media.container import knows_order, open_source
from vidx4.media.display.aperture import margins_of
from vidx4.media.display.chroma import chroma_location
from vidx4.media.display.codes import RGB_MATRIX, is_gray, is_yuv, odd_codes, understood
from vidx4.media.display.color import complete
from vidx4.media.display.hdr import read_hdr
from vidx4.media.display.immersive import read_sphere, read_stereo
from vidx4.media.display.side_data import SideDataOf, SideDataReader, lost_metadata
from vidx4.media.formats.codec_name import codec_name
from vidx4.media.formats.held_tags import read_tags
from vidx4.media.formats.limits import check_size
from vidx4.media.scan import Scan, scan
from vidx4.media.stall import Pulse, watched
from vidx4.video import STEADY, Source, StreamInfo

_FULL_RANGE = 2
"""`AVColorRange` of the full range."""
_BT601_YCC = ColorDescription(matrix=5, full_range=True)
"""Colours of a TIFF picture in YCbCr (TIFF 6.0, section 21)."""
_INTERLACED_ORDERS = range(2, 6)
"""Values of `AVFieldOrder` for interlaced video; 0 is unknown, 1 progressive."""
_TOP_FIRST_ORDERS = (2, 5)
"""Values of `AVFieldOrder` if the top field is shown first, whichever is coded first."""
_UNCHANGED = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
"""The display matrix of a picture that is shown as it is stored."""


def probe(path: str | Path, video_stream: int | None = None) -> Source:
    """Return what a video file holds; the whole file is read, only its first frame decoded.

    Args:
        path: the file.
        video_stream: the number of a video stream; None for the one that players show.

    Raises:
        SourceError: the file can't be read, holds no video, or none of its frames can be decoded.
        OptionError: no video stream has that number.
    """
    path = Path(path)
    return watched(lambda pulse: _probe(path, video_stream, pulse), f"Reading {path}")


def _probe(path: Path, video_stream: int | None, pulse: Pulse) -> Source:
    with open_source(path) as container:
        stream = _video_stream(container, path, video_stream)
        return _source(path, container, stream, scan(container, stream, path, pulse))


def is_chapter_track(stream: Stream) -> bool:
    """Return whether a stream only holds chapters, which the demuxer has read already."""
    return stream.type == "data" and stream.discard == Discard.all


def _source(path: Path, container: InputContainer, stream: VideoStream, found: Scan) -> Source:
    frame, pts = found.first_frame, found.times.pts
    time_base = Fraction(stream.time_base or 1)
    rate = stream.average_rate or stream.guessed_rate
    stop_pts = pts[-1] + (found.times.last_duration or _usual_duration(pts, rate, time_base))
    stated, beside = _color(stream, frame), SideDataReader().read(frame)
    source = Source(
        path=path,
        container=container.format.name,
        video_index=stream.index,
        width=frame.width,
        height=frame.height,
        time_base=time_base,
        pts=pts,
        stop_pts=stop_pts,
        frame_rate=_frame_rate(len(pts), (stop_pts - pts[0]) * time_base, rate),
        streams=tuple(_describe(each, found) for each in container.streams if not is_chapter_track(each)),
        color=complete(understood(stated, frame.format.name), frame.format.name, frame.height),
        odd_colors=odd_codes(stated, frame.format.name),
        bit_depth=max(8, *(component.bits for component in frame.format.components)),
        sample_aspect_ratio=Fraction(stream.sample_aspect_ratio or 1),
        rotation=frame.rotation % 360,
        is_interlaced=_is_interlaced(stream, frame),
        pix_fmt=frame.format.name,
        has_alpha=_has_alpha(stream, frame),
        top_field_first=_top_field_first(stream),
        hdr=read_hdr(beside),
        display_matrix=_display_matrix(beside),
        margins=margins_of(stream) if _may_have_margins(container) else Margins(),
        has_captions=found.has_captions,
        sphere=read_sphere(beside),
        stereo=read_stereo(beside),
        lost_metadata=lost_metadata(beside),
        tags=tuple(container.metadata.items()),
    )
    return _with_order(source, found, knows_order(container))


def _with_order(source: Source, found: Scan, has_order: bool) -> Source:
    """Return a source with what tells which frame is which, and whether the container states their order."""
    times = found.times
    has_own_times = not times.is_ordered_by_decoder and not times.num_respaced and found.clock == STEADY
    return replace(
        source,
        clock=found.clock,
        packet_frames=None if has_own_times else times.packet_frames,
        is_ordered_by_decoder=times.is_ordered_by_decoder,
        has_wrong_order=times.is_ordered_by_decoder and has_order,
        num_leading=times.num_leading,
        num_respaced=times.num_respaced,
    )


def _may_have_margins(container: InputContainer) -> bool:
    return container.format.name.startswith(("matroska", "mov"))


def _video_stream(container: InputContainer, path: Path, number: int | None) -> VideoStream:
    best = container.streams.best("video") if number is None else _numbered(container, path, number)
    if not isinstance(best, VideoStream) or best.disposition & Disposition.attached_pic:
        raise SourceError(f"{path} holds no video.")
    if best.codec_context is None:
        raise SourceError(f"The video of {path} can't be decoded: its codec is unknown, or it is protected.")
    check_size(best.width, best.height, path)
    return best


def _numbered(container: InputContainer, path: Path, number: int) -> Stream:
    there = {stream.index: stream for stream in container.streams.video}
    if number not in there:
        known = ", ".join(map(str, there)) or "none"
        raise OptionError(f"Stream {number} of {path} is not a video stream. Video streams: {known}.")
    return there[number]


def _describe(stream: Stream, found: Scan) -> StreamInfo:
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec="" if stream.type == "attachment" else codec_name(stream),
        details=_details(stream),
        language=stream.language or "",
        title=read_tags(stream).get("title", ""),
        is_default=bool(stream.disposition & Disposition.default),
        is_cover=bool(stream.disposition & Disposition.attached_pic),
        is_protected=stream.index in found.protected,
        is_described=_is_described(stream),
        start=None if stream.start_time is None else float(stream.start_time * (stream.time_base or 1)),
        tags=tuple(stream.metadata.items()),
        stretches=found.presence.of(stream),
        most_at_once=found.presence.most_at_once(stream),
    )


def _is_described(stream: Stream) -> bool:
    """Return whether the file describes a stream well enough to be written again."""
    match stream:
        case VideoStream():
            return stream.codec_context is None or bool(stream.width and stream.height)
        case AudioStream():
            return stream.codec_context is None or bool(stream.sample_rate and stream.channels)
    return True


def _details(stream: Stream) -> str:
    match stream:
        case VideoStream(codec_context=context) if context:
            return f"{context.width}x{context.height} {context.pix_fmt or ''}".strip()
        case AudioStream(codec_context=context) if context:
            return f"{stream.layout.name} {stream.sample_rate} Hz"
        case AttachmentStream():
            return " ".join(filter(None, (stream.name, stream.mimetype)))
    return ""


def _usual_duration(pts: tuple[int, ...], rate: Fraction | None, time_base: Fraction) -> int:
    if len(pts) > 1:
        return median_low(b - a for a, b in pairwise(pts))
    return max(1, round(1 / rate / time_base)) if rate else 1


def _frame_rate(num_frames: int, duration: Fraction, nominal: Fraction | None) -> Fraction | None:
    """Return the nominal rate if it is about right, since that is free of the rounding of pts."""
    if num_frames == 1:
        return nominal
    average = num_frames / duration
    return nominal if nominal and abs(nominal / average - 1) < Fraction(1, 100) else average


def _color(stream: VideoStream, frame: VideoFrame) -> ColorDescription:
    context = stream.codec_context
    is_full = _FULL_RANGE in (context.color_range, frame.color_range) or frame.format.name.startswith("yuvj")
    if context.name == "tiff" and is_yuv(frame.format):
        return _BT601_YCC
    # A grey picture is RGB of one channel; a video in grey, whose matrix is not that of RGB, is one of luma.
    is_luma = is_yuv(frame.format) or (is_gray(frame.format) and frame.colorspace != RGB_MATRIX)
    return ColorDescription(
        matrix=_stated(context.colorspace, frame.colorspace),
        primaries=_stated(context.color_primaries, frame.color_primaries),
        transfer=_stated(context.color_trc, frame.color_trc),
        full_range=is_full and is_luma,
        chroma_location=chroma_location(frame),
    )


def _stated(*codes: int) -> int:
    return next((int(code) for code in codes if code != UNSPECIFIED), UNSPECIFIED)


def _is_interlaced(stream: VideoStream, frame: VideoFrame) -> bool:
    return stream.codec_context.field_order in _INTERLACED_ORDERS or frame.interlaced_frame


def _has_alpha(stream: VideoStream, frame: VideoFrame) -> bool:
    if stream.metadata.get("alpha_mode") == "1":  # VP8 and VP9: FFmpeg decodes them without their alpha
        return True
    if not frame.format.has_palette and not any(component.is_alpha for component in frame.format.components):
        return False
    if frame.format.name.startswith("yaf32"):
        return True  # the scaler would end the process
    try:
        # Alpha depends on no matrix, but the scaler refuses some.
        rgba = frame.reformat(format="rgba", src_colorspace=Colorspace.ITU601)
    except FFmpegError:
        return True  # a format that can't be read, as `read_source` says
    return int(rgba.to_ndarray()[..., 3].min()) < 255


def _top_field_first(stream: VideoStream) -> bool | None:
    order = stream.codec_context.field_order
    return order in _TOP_FIRST_ORDERS if order in _INTERLACED_ORDERS else None


def _display_matrix(found: SideDataOf) -> tuple[int, ...] | None:
    """Return the display matrix of a frame, given its side data; None if it changes nothing."""
    stored = found.get(SideDataType.DISPLAYMATRIX)
    matrix = None if stored is None else tuple(array("i", stored))
    return None if matrix == _UNCHANGED else matrix
