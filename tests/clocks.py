"""Files whose timestamps restart, jump, repeat or come in the wrong order."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from tests.video_files import write_video

TICKS = 90000
"""Units of time per second in MPEG-TS and MPEG-PS."""
_FLV_HEADER = 13
"""Bytes before the first tag of an FLV file."""


def recording(path: Path, num_frames: int = 30, **options: Any) -> Path:
    """Write a short video with sound, for `joined` and `shifted`."""
    write_video(path, num_frames=num_frames, **options)
    return path


def joined(path: Path, *pieces: Path) -> Path:
    """Join files byte by byte, as `cat` does."""
    header = _FLV_HEADER if path.suffix == ".flv" else 0
    first, *others = (piece.read_bytes() for piece in pieces)
    path.write_bytes(first + b"".join(piece[header:] for piece in others))
    return path


def shifted(path: Path, source: Path, seconds: Fraction) -> Path:
    """Copy a file to MPEG-TS with its clock moved; the muxer keeps 33 bits of the ticks."""
    return retimed(path, source, lambda index, time: time + round(seconds * TICKS))


def retimed(path: Path, source: Path, time_of: Callable[[int, int], int], muxer: str = "mpegts") -> Path:
    """Copy a file to MPEG-TS with other times.

    Args:
        path: the copy.
        source: the file.
        time_of: returns the new time of a packet, from its stream's index and its time, in ticks.
        muxer: FFmpeg's name of the container.
    """
    options = {"mpegts_copyts": "1", "avoid_negative_ts": "disabled"}
    with av.open(str(source)) as original, av.open(str(path), "w", format=muxer, options=options) as copy:
        streams = [copy.add_stream_from_template(stream) for stream in original.streams]
        for packet in original.demux():
            if packet.size:
                index = packet.stream_index
                for name in ("pts", "dts"):
                    ticks = round(getattr(packet, name) * packet.time_base * TICKS)
                    setattr(packet, name, time_of(index, ticks))
                packet.time_base = Fraction(1, TICKS)
                packet.stream = streams[index]
                copy.mux(packet)
    return path


def remuxed(path: Path, source: Path, pts: Callable[[int], int]) -> Path:
    """Copy the video of a file; `pts` returns the time of a packet from its place in order of decoding."""
    with av.open(str(source)) as original, av.open(str(path), "w") as copy:
        stream = original.streams.video[0]
        written = copy.add_stream_from_template(stream)
        packets = [packet for packet in original.demux(stream) if packet.size]
        for index, packet in enumerate(packets):
            packet.pts = packet.dts = pts(index)
            packet.stream = written
            copy.mux(packet)
    return path
