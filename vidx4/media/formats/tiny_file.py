"""Files of one packet, in memory."""

from io import BytesIO

import av
from av.packet import Packet
from av.stream import Stream


def write_tiny_file(stream: Stream, packet: "Packet[Stream]", muxer: str, **options: str) -> bytes:
    """Return a file that holds one packet of a stream, and all that its container says of the stream.

    PyAV copies everything from stream to stream, but has no attributes for some of it. That can be read from
    the header of such a file, or changed there, to be copied from the file.

    Args:
        stream: the stream that is described.
        packet: one of its packets, moved to the time 0.
        muxer: the name of FFmpeg's muxer.
        options: options of the muxer.
    """
    file = BytesIO()
    with av.open(file, "w", format=muxer, container_options=options) as tiny:
        packet.stream = tiny.add_stream_from_template(stream, opaque=True)
        packet.pts = packet.dts = 0
        tiny.mux(packet)
    return file.getvalue()
