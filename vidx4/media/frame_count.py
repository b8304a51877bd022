"""Count the frames of a video without the code that reads them for the model.

What is compared with this must not come from here: a frame that the reader misses is missed by nobody else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from vidx4.media.container import open_source
from vidx4.media.timing.frame_times import name_packets, number_of, set_number


def count_packets(path: Path, index: int) -> int:
    """Return how many packets of a video hold data that is shown.

    Args:
        path: the file.
        index: the video stream.

    Raises:
        SourceError: the file can't be opened.
    """
    with open_source(path) as container:
        stream = container.streams[index]
        packets = (each for each in _demuxed(container, stream) if each.size and not each.is_discard)
        if stream.codec_context.name.startswith(("vp9", "libvpx-vp9")):
            join_hidden = BitStreamFilterContext("vp9_superframe", stream)
            return sum(len(join_hidden.filter(packet)) for packet in packets)
        return sum(1 for _ in packets)


@dataclass
class Decoded:
    """What a plain decoder gives of a video."""

    packets: set[object] = field(default_factory=set)
    """The packets that frames came from: after damage, a decoder may repeat a frame."""
    is_whole: bool = True
    """Whether nothing was damaged."""

    @property
    def num_frames(self) -> int:
        """Number of different frames."""
        return len(self.packets)


def count_decoded(path: Path, index: int) -> Decoded:
    """Count the frames that a plain decoder gives of a video, in whatever order.

    Args:
        path: the file.
        index: the video stream.

    Raises:
        SourceError: the file can't be opened.
    """
    with open_source(path) as container:
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)
        name_packets(stream)
        decoded = Decoded()
        packets = (packet for packet in _demuxed(container, stream) if packet.size)
        for number, packet in enumerate(chain(packets, (None,))):
            if packet is not None:
                set_number(packet, number)
            _decode(stream, packet, decoded)
        return decoded


def _demuxed(container: InputContainer, stream: Stream) -> Iterator["Packet[Stream]"]:
    try:
        yield from container.demux(stream)
    except (FFmpegError, IndexError):  # PyAV fails to flush a stream that appears in the middle of a file
        return


def _decode(stream: VideoStream, packet: "Packet[Stream] | None", decoded: Decoded) -> None:
    try:
        for frame in stream.decode(packet):
            decoded.packets.add(number_of(frame))
            decoded.is_whole &= not frame.is_corrupt
    except EndOfFileError:
        return
    except FFmpegError:
        decoded.is_whole = False
