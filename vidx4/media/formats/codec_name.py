"""Names of codecs, with and without a decoder."""

import re
from io import BytesIO

import av
from av.bitstream import BitStreamFilterContext
from av.codec import Codec
from av.codec.codec import UnknownCodecError
from av.stream import Stream

_NONE = "none"
"""FFmpeg's name for a codec that it doesn't know."""


def codec_name(stream: Stream) -> str:
    """Return FFmpeg's name of a stream's codec; an empty string if it has none.

    PyAV tells it only of a stream with a decoder. FFmpeg's own form of lists of packets begins with a header
    that names the codec of any stream.
    """
    if stream.codec_context:
        return stream.codec_context.codec.canonical_name
    listing = BytesIO()
    with av.open(listing, "w", format="framecrc") as container:
        # A filter that changes no packet gives one stream the parameters of the other.
        BitStreamFilterContext("null", stream, container.add_data_stream())
        container.start_encoding()
    found = re.search(rb"^#codec_id 0: (\S+)", listing.getvalue(), re.MULTILINE)
    name = found[1].decode() if found else _NONE
    return "" if name == _NONE else name


def can_decode(codec: str) -> bool:
    """Return whether FFmpeg has a decoder for a codec, by its name of the codec."""
    try:
        return bool(Codec(codec))
    except UnknownCodecError:
        return False
