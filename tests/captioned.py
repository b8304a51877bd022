"""Videos with closed captions in their frames, and the captions that FFmpeg finds in a video."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.stream import Stream

from tests.video_builder import frames, scene, write
from vidx4.media.display.side_data import SideDataReader

NTSC = Fraction(30000, 1001)
_SLICE = b"\0\0\1\1"
"""The start code of a picture's first slice."""


def triplets(number: int, count: int = 2) -> bytes:
    """Return triplets that differ from frame to frame; some hold zeros."""
    return b"".join(bytes([0xFC + each % 4, number % 128, each * (number % 3)]) for each in range(count))


def atsc(data: bytes) -> bytes:
    """Return user data of MPEG-2 with closed captions (ATSC A/53 part 4, 6.2.3)."""
    return b"GA94\3" + bytes([0x40 | len(data) // 3, 0xFF]) + data + b"\xff"


def mpeg2_with(path: Path, user_data: Sequence[bytes], **options: Any) -> Path:
    """Write MPEG-2 video whose frames, in order of display, carry user data; B-frames are among them."""
    pictures = options.pop("pictures", None) or frames(scene(len(user_data)))
    settings: dict[str, Any] = {"codec": "mpeg2video", "num_audio": 0, "rate": NTSC, "time_base": 1 / NTSC}
    plain = write(path.with_name(f"{path.stem}-plain.ts"), pictures, **{**settings, **options})
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in source.demux(stream) if packet.size]
        order = sorted(packet.pts or 0 for packet in packets)
        for packet in packets:
            data, payload = bytes(packet), user_data[order.index(packet.pts or 0)]
            place = data.index(_SLICE)
            marked = data[:place] + (b"\0\0\1\xb2" + payload if payload else b"") + data[place:]
            other: Packet[Stream] = Packet(marked)
            other.pts, other.dts, other.duration = packet.pts, packet.dts, packet.duration
            other.time_base, other.is_keyframe, other.stream = packet.time_base, packet.is_keyframe, copy
            container.mux(other)
    return path


def captioned(path: Path, num_frames: int = 12, **options: Any) -> Path:
    """Write MPEG-2 video with two triplets in each frame."""
    return mpeg2_with(path, [atsc(triplets(number)) for number in range(num_frames)], **options)


def recoded(path: Path, copy: Path, codec: str) -> Path:
    """Encode a video with an encoder that carries closed captions over by itself, with B-frames."""
    with av.open(str(path)) as source:
        pictures = list(source.decode(video=0))
    options = {"a53cc": "1", **({"x265-params": "log-level=error"} if codec == "libx265" else {})}
    time_base = Fraction(1, 30000)
    return write(copy, pictures, codec=codec, rate=NTSC, time_base=time_base, num_audio=0, options=options)


def decoded_captions(path: Path) -> list[tuple[Fraction, bytes]]:
    """Return the second of each frame and the closed captions that FFmpeg's decoder finds in it."""
    reader = SideDataReader()
    with av.open(str(path)) as container:
        return [
            ((frame.pts or 0) * Fraction(frame.time_base or 1), reader.read(frame).get(Type.A53_CC, b""))
            for frame in container.decode(video=0)
        ]
