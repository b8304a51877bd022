"""The streams and the metadata of an output: everything but its packets."""

import logging
from io import BytesIO
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vidx4.media.container import BITEXACT, open_part, open_source, read_frame_packets, read_packets
from vidx4.media.description import is_steady
from vidx4.media.display import immersive
from vidx4.media.display.aperture import to_box
from vidx4.media.display.color import tag_colors
from vidx4.media.display.hdr import to_boxes
from vidx4.media.display.immersive import STEREO_TAG, shape_of_view, sphere_box, stereo_tag
from vidx4.media.formats.boxes import add_to_sample_entry, append_to_sample_entry
from vidx4.media.formats.codec_name import codec_name
from vidx4.media.formats.containers import MATROSKA, RIFF_AUDIO
from vidx4.media.formats.demuxers import file_url
from vidx4.media.formats.edit_lists import common_timescale
from vidx4.media.formats.limits import MAX_CHAPTERS
from vidx4.media.formats.matroska import holds_shape, leave_room, write_shape
from vidx4.media.formats.tiny_file import write_tiny_file
from vidx4.media.output import Output
from vidx4.media.tracks.audio import name_channels
from vidx4.media.tracks.audio_delay import declare_delay
from vidx4.media.tracks.chapters import chapters_of, set_chapters
from vidx4.media.tracks.convert import add_converted
from vidx4.video import Source

_logger = logging.getLogger(__name__)


def open_output(path: Path, output: Output, original: InputContainer) -> OutputContainer:
    """Open the file of an output for writing.

    Args:
        path: where to write it, which need not be its final place.
        output: what it will hold.
        original: the source, opened.
    """
    options = muxer_options(output, original)
    return av.open(file_url(path), "w", format=output.muxer, container_options=options)


def muxer_options(output: Output, original: InputContainer) -> dict[str, str]:
    """Return the options with which a muxer keeps every timestamp exactly, if the container can.

    `set_movie_timescale` adds that of edit lists.
    """
    if output.muxer not in ("mp4", "mov"):
        return BITEXACT | ({"mpegts_copyts": "1"} if output.muxer == "mpegts" else {})
    tags = output.description.file.options.get("movflags", "")
    time_base = output.source.time_base
    videos = (time_base, *(stream.time_base for stream in original.streams.video))
    # The boxes that `finish_layout` adds move all that comes after them.
    place = "-faststart" if _late_boxes(output) else "+faststart"
    return BITEXACT | {
        "movflags": place + tags,
        "video_track_timescale": str(common_timescale(videos) or time_base.denominator),
    }


def add_video(
    container: OutputContainer, template: VideoStream, part: Path, original: Stream, output: Output
) -> VideoStream:
    """Add the enlarged video to an output; `template` is the stream of `part`, one of its parts."""
    source, target = output.source, output.target
    video = container.add_stream_from_template(template, opaque=True)
    boxes = to_boxes(target.hdr) + to_box(target.margins, target.width, target.height)
    if target.sphere and output.muxer in MATROSKA:
        boxes += sphere_box(target.sphere)
    add_boxes(video, part, template.container.format.name.split(",")[0], boxes)
    video.time_base = source.time_base
    context = video.codec_context
    context.sample_aspect_ratio = target.sample_aspect_ratio
    if source.frame_rate and is_steady(source):
        context.framerate = source.frame_rate  # Matroska states it, and players trust it
    tag_colors(context, target.color)
    if context.name == "hevc" and output.muxer in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # Apple's players refuse the default, hev1
    video.set_display_matrix(target.display_matrix)
    _describe(video, original, output)
    if target.stereo and output.muxer in MATROSKA:
        video.metadata[STEREO_TAG] = stereo_tag(target.stereo)
    if _has_late_shape(output):
        leave_room(video)
    return video


def _late_boxes(output: Output) -> bytes:
    """Return boxes that FFmpeg's muxer of MP4 can't write so that its demuxer reads the same."""
    target = output.target
    return immersive.to_boxes(target.sphere, target.stereo) if output.muxer in ("mp4", "mov") else b""


def _has_late_shape(output: Output) -> bool:
    """Return whether the shape of pixels is written after all else, by `finish_layout`."""
    ratio = output.target.sample_aspect_ratio
    return output.muxer in MATROSKA and ratio != 1 and holds_shape(ratio)


def finish_layout(path: Path, output: Output) -> None:
    """Write what can only be written when a file is otherwise complete."""
    if _has_late_shape(output):
        target = output.target
        write_shape(path, shape_of_view(target.sample_aspect_ratio, target.stereo))
    if boxes := _late_boxes(output):
        append_to_sample_entry(path, boxes)


def add_copies(container: OutputContainer, original: InputContainer, output: Output) -> dict[int, Stream]:
    """Add the other streams of a source; return those with packets by their index in the source."""
    copies: dict[int, Stream] = {}
    for carried in output.streams.carried:
        stream = original.streams[carried.stream.index]
        if output.suffix == ".mkv" and stream.disposition & Disposition.attached_pic:
            _attach(container, stream, output.source)
            continue
        if carried.codec:
            copy = add_converted(container, stream, carried.codec)
        else:
            copy = _add_copy(container, stream)
            if isinstance(copy, AudioStream):
                if copy.codec_context is not None:
                    name_channels(copy)
                declare_delay(copy, output.source.path, stream.index, output.cut)
        copies[stream.index] = copy
        _describe(copy, stream, output)
        if copy.type == "video":
            copy.disposition &= ~Disposition.default  # players should choose the enlarged one
    return copies


def _add_copy(output: OutputContainer, stream: Stream) -> Stream:
    """Add a stream with the parameters of another."""
    codec = codec_name(stream)
    is_riff = output.format.name == "matroska" and codec in RIFF_AUDIO
    if not is_riff and (stream.type in ("attachment", "data") or stream.codec_context):
        return output.add_stream_from_template(stream, opaque=True)
    # PyAV refuses codecs that the muxer doesn't list, and streams without a decoder. So a stream of a codec
    # that it lists is added, and a bitstream filter that changes no packet gives it the parameters.
    copy = output.add_mux_stream("pcm_s16le" if is_riff else codec)
    copy.time_base = stream.time_base
    BitStreamFilterContext("null", stream, copy)
    return copy


def _attach(output: OutputContainer, cover: Stream, source: Source) -> None:
    """Add a cover as Matroska stores it: as an attached file."""
    with open_source(source.path) as container:
        picture = bytes(next(read_packets(container, container.streams[cover.index])))
    kind = "png" if cover.codec_context.name == "png" else "jpeg"
    name = cover.metadata.get("filename", f"cover.{kind}")
    output.add_attachment(name, cover.metadata.get("mimetype", f"image/{kind}"), picture)


def _describe(stream: Stream, original: Stream, output: Output) -> None:
    """Give a stream of an output the disposition and the metadata of the original."""
    stream.disposition = original.disposition
    stream.metadata.update(output.description.of_stream(original.index))


def describe_output(container: OutputContainer, original: InputContainer, output: Output) -> None:
    """Copy the metadata and the chapters of a source."""
    container.metadata.update(output.description.file.kept)
    if output.muxer != "mpegts":
        if output.max_packets and len(original.chapters()) > MAX_CHAPTERS:  # said once, before the work
            _logger.warning(
                "%s: only the first %s chapters are kept.", output.source.path, f"{MAX_CHAPTERS:,}"
            )
        set_chapters(container, chapters_of(original, output.cut))


_UNDO_MP4 = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}


def add_boxes(video: VideoStream, part: Path, demuxer: str, boxes: bytes) -> None:
    """Give the video stream of an output the metadata that some boxes of MP4 hold, in any container.

    PyAV copies such metadata from stream to stream, but can't set it. So the part's first packet is written
    to an MP4 file in memory, the boxes are added to its header, and what FFmpeg reads from it is copied.

    Args:
        video: a stream of the output, with the parameters of the part's.
        part: a file of `encode_part` that holds a frame.
        demuxer: FFmpeg's name of its format.
        boxes: boxes of a sample entry.
    """
    if not boxes:
        return
    with open_part(part, demuxer) as container:
        described = add_to_sample_entry(_tiny_mp4(container), boxes)
    with av.open(BytesIO(described)) as tiny:
        template = tiny.streams.video[0]
        # MP4 has its own form of these codecs' headers; the packets of parts are in the usual one (Annex B).
        BitStreamFilterContext(
            _UNDO_MP4.get(template.codec_context.codec.canonical_name, "null"), template, video
        )
    video.codec_context.codec_tag = "\0\0\0\0"  # zero: the muxer chooses


def _tiny_mp4(container: InputContainer) -> bytes:
    stream = container.streams.video[0]
    muxer = "mov" if stream.codec_context.name.startswith("prores") else "mp4"
    return write_tiny_file(stream, next(read_frame_packets(container, stream)), muxer)
