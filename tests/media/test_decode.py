import logging
import re
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from av.packet import Packet

from tests.conftest import MakeVideo
from tests.helpers import read_all
from tests.video_files import gradient
from vidx4.errors import SourceError
from vidx4.frames import pixel_dtype
from vidx4.media.probe import probe
from vidx4.video import TimeRange

LONDON = Path(__file__).parents[2] / "samples" / "london.mp4"
VFR = [0, 512, 1024, 2600, 3112, 5000, 5001, 9000, 9512, 10100, 10600, 12000, 13000, 13400, 15000]
LATE = [128_000 + 512 * index for index in range(25)]

KINDS: dict[str, dict[str, object]] = {
    "cfr": {},
    "vfr": {"pts": VFR},
    "late": {"pts": LATE},
    "no B-frames": {"num_b_frames": 0},
    "open groups": {"options": {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal", "g": "7"}},
    "mkv": {"name": "a.mkv", "time_base": Fraction(1, 25)},
    "avi": {"name": "a.avi", "codec": "mpeg4", "time_base": Fraction(1, 25)},
    "avi h264": {"name": "a.avi", "time_base": Fraction(1, 25)},
    "no container": {"name": "a.h264", "time_base": Fraction(1, 25), "num_audio": 0},
    "ts": {"name": "a.ts", "time_base": Fraction(1, 90000)},
    "mpg": {"name": "a.mpg", "codec": "mpeg2video", "time_base": Fraction(1, 25), "num_audio": 0},
    "webm": {"name": "a.webm", "codec": "libvpx-vp9", "time_base": Fraction(1, 1000), "num_audio": 0},
    "odd": {"name": "a.webm", "codec": "libvpx-vp9", "width": 63, "height": 47, "num_audio": 0},
    "10 bits": {"codec": "libx265", "pix_fmt": "yuv420p10le", "options": {"x265-params": "log-level=none"}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_span_is_a_slice_of_the_whole(make_video: MakeVideo, kind: str) -> None:
    source = probe(make_video(**{"num_frames": 25, **KINDS[kind]}))
    whole = read_all(source)
    assert whole.pts == source.pts
    assert whole.data.dtype == pixel_dtype(source.bit_depth)
    for start, stop in [(0, 1), (3, 9), (10, 13), (len(whole) - 2, len(whole))]:
        first, after = source.pts[start], (*source.pts, source.stop_pts)[stop]
        part = read_all(source, TimeRange(source.seconds_of(first), source.seconds_of(after)))
        assert part.pts == whole.pts[start:stop]
        assert torch.equal(part.data.view(torch.uint8), whole.data[start:stop].view(torch.uint8))


def test_lossless_colors_are_exact(make_video: MakeVideo) -> None:
    path = make_video(codec="libx264rgb", pix_fmt="rgb24", num_frames=5, options={"qp": "0"}, num_audio=0)
    expected = [torch.from_numpy(frame.to_ndarray()).permute(2, 0, 1) for frame in gradient(64, 48, 5)]
    assert torch.equal(read_all(probe(path)).data, torch.stack(expected))


def test_damaged_frames_are_skipped(make_video: MakeVideo, caplog: pytest.LogCaptureFixture) -> None:
    path = make_video("a.mkv", codec="ffv1", time_base=Fraction(1, 25), num_audio=0)
    _damage(path, 7)
    source = probe(path)
    with caplog.at_level(logging.WARNING):
        frames = read_all(source)
    assert source.num_frames == 20
    assert 10 <= len(frames) < 20
    assert set(frames.pts) <= set(source.pts)


def test_empty_packets_are_not_frames(make_video: MakeVideo, tmp_path: Path) -> None:
    plain = probe(make_video(num_b_frames=0, num_audio=0))
    path = tmp_path / "repeated.nut"
    _repeat_frames(plain.path, path)
    source = probe(path)
    assert [pts * source.time_base for pts in source.pts] == [pts * plain.time_base for pts in plain.pts]
    assert torch.equal(read_all(source).data, read_all(plain).data)
    span = TimeRange(Fraction(13, 25))
    assert torch.equal(read_all(source, span).data, read_all(plain, span).data)


def _repeat_frames(path: Path, copy: Path) -> None:
    """Copy a video and put an empty packet, as Theora has them, after each frame."""
    with av.open(str(path)) as plain, av.open(str(copy), "w") as container:
        stream = container.add_stream_from_template(plain.streams.video[0], opaque=True)
        for packet in plain.demux(video=0):
            if packet.dts is None or packet.duration is None:
                continue
            empty = Packet(0)
            empty.stream, empty.time_base = stream, packet.time_base
            empty.pts = empty.dts = packet.dts + packet.duration // 2
            packet.stream = stream
            container.mux([packet, empty])


def test_a_span_without_frames_is_an_error(make_video: MakeVideo) -> None:
    source = probe(make_video())
    with pytest.raises(SourceError, match=re.escape(str(source.path))):
        read_all(source, TimeRange(start=Fraction(100)))


def test_a_change_of_size_is_refused(make_video: MakeVideo, tmp_path: Path) -> None:
    small = make_video("small.ts", time_base=Fraction(1, 90000), num_audio=0)
    large = make_video("large.ts", time_base=Fraction(1, 90000), num_audio=0, width=96)
    path = tmp_path / "both.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(SourceError, match=r"64x48.*96x48"):
        read_all(probe(path))


def _damage(path: Path, index: int) -> None:
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][index]
        payload = bytes(packet)
    content = path.read_bytes()
    path.write_bytes(content.replace(payload, b"\xff" * len(payload)))


def test_damaged_videos_decode_the_same_way_each_time(tmp_path: Path) -> None:
    """A decoder with threads would conceal errors differently each time."""
    content = bytearray(LONDON.read_bytes())
    start = content.index(b"mdat") + 3000
    for place in range(start, 3 * len(content) // 4, 4001):
        content[place] ^= 0x55
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    source = probe(damaged)
    first, *others = (read_all(source).data for _ in range(4))
    assert not torch.equal(first, read_all(probe(LONDON)).data)
    assert all(torch.equal(first, other) for other in others)
