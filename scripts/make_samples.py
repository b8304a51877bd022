"""Make samples/ from the clips and pictures that samples/README.md names; nothing is encoded anew.

python scripts/make_samples.py --clips FOLDER --kodak FOLDER
"""

import argparse
import shutil
from fractions import Fraction
from pathlib import Path

import av
from av import Packet
from PIL import Image

SAMPLES = Path(__file__).parents[1] / "samples"


def copy_start(source: Path, output: Path, stop: Fraction) -> None:
    """Copy the packets of every stream of a video from its start to `stop` seconds."""
    with av.open(source) as reader, av.open(output, "w", options={"movflags": "faststart"}) as writer:
        copies = [writer.add_stream_from_template(stream) for stream in reader.streams]
        for stream, copy in zip(reader.streams, copies, strict=True):
            copy.metadata.update(stream.metadata)
            copy.disposition = stream.disposition
        packets: list[list[Packet]] = [[] for _ in copies]
        for packet in reader.demux():
            if packet.size:
                packets[packet.stream.index].append(packet)
        kept = [packet for one_stream in packets for packet in _prefix(one_stream, stop)]
        for packet in sorted(kept, key=lambda packet: packet.dts * packet.time_base):
            packet.stream = copies[packet.stream.index]
            writer.mux(packet)


def _prefix(packets: list[Packet], stop: Fraction) -> list[Packet]:
    """Return the most packets, in decoding order, that end by `stop` and leave no gap in the picture."""
    for count in range(len(packets), 0, -1):
        last = max(packets[:count], key=lambda packet: packet.pts)
        is_closed = all(packet.pts > last.pts for packet in packets[count:])
        if is_closed and (last.pts + last.duration) * last.time_base <= stop:
            return packets[:count]
    return []


def main() -> None:
    """Write every sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--kodak", type=Path, required=True)
    arguments = parser.parse_args()
    copy_start(arguments.clips / "london_320x240_60fps.mp4", SAMPLES / "london.mp4", Fraction(2))
    copy_start(arguments.clips / "nasa_webb_2v2a2s.mp4", SAMPLES / "nasa.mp4", Fraction("4.26"))
    shutil.copyfile(arguments.clips / "signer_face_vga_vfr.mkv", SAMPLES / "signer.mkv")
    shutil.copyfile(arguments.clips / "bear_320x240.webm", SAMPLES / "bear.webm")
    photo = Image.open(arguments.kodak / "kodim23.png")
    photo.resize((photo.width // 4, photo.height // 4), Image.Resampling.BICUBIC).save(SAMPLES / "photo.png")


if __name__ == "__main__":
    main()
