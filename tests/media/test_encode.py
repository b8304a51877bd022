import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

from tests.conftest import MakeVideo
from tests.helpers import nearest, packets, psnr, read_all
from vidx4.errors import OptionError, OutputError
from vidx4.frames import FrameBatch
from vidx4.media.decode import read_frames
from vidx4.media.encode import encode_part
from vidx4.media.encoder import resolve
from vidx4.media.mux import join
from vidx4.media.options import EncodeOptions
from vidx4.media.output import plan_output
from vidx4.media.probe import probe
from vidx4.media.target import target_of
from vidx4.video import Source

FAST = EncodeOptions(encoder_preset="ultrafast")
BEST = EncodeOptions(crf=1, encoder_preset="veryfast")
VFR = [7, 512, 1024, 2600, 3112, 5000, 5001, 9000]
PATCHES = [(200, 30, 40), (30, 180, 60), (40, 60, 220), (128, 128, 128), (250, 240, 10), (10, 12, 14)]


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9", "ffv1"])
def test_times_are_kept_and_bytes_repeat(make_video: MakeVideo, tmp_path: Path, codec: str) -> None:
    source = probe(make_video(pts=VFR))
    for part in (tmp_path / "a.nut", tmp_path / "b.nut"):
        num_frames = encode_part(
            part,
            [nearest(read_all(source))],
            source,
            target_of(source, ".mkv", EncodeOptions(codec)),
        )
        assert num_frames == len(VFR)
    assert (tmp_path / "a.nut").read_bytes() == (tmp_path / "b.nut").read_bytes()
    part_source = probe(tmp_path / "a.nut")
    assert [pts * part_source.time_base for pts in part_source.pts] == [pts * source.time_base for pts in VFR]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at threads as Linux shows them")
@pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() != 0, reason="SVT-AV1 does so only where root runs it"
)
def test_no_encoder_takes_the_machine_for_itself(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video(num_frames=2))
    target = target_of(
        source, ".mkv", EncodeOptions("av1", encoder_preset="10")
    )  # the encoder is tried out, too

    def batches() -> Iterator[FrameBatch]:
        for frame in read_frames(source):
            yield nearest(FrameBatch.of([frame]))
            threads = [int(each.name) for each in Path("/proc/self/task").iterdir()]
            assert {os.sched_getscheduler(each) for each in threads} == {os.SCHED_OTHER}

    assert encode_part(tmp_path / "a.nut", batches(), source, target) == 2


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("depth", [8, 10])
def test_colors_survive(
    make_video: MakeVideo, tmp_path: Path, matrix: int, full_range: bool, depth: int
) -> None:
    pictures = [np.full((48, 64, 3), patch, dtype=np.uint8) for patch in PATCHES]
    pix_fmt = "yuv420p" if depth == 8 else "yuv420p10le"
    frames = [_to_yuv(picture, pix_fmt, matrix, full_range) for picture in pictures]
    tags = {"colorspace": matrix, "color_primaries": 1, "color_trc": 1, "color_range": 1 + full_range}
    options = {"crf": "1"}
    source = probe(
        make_video(frames=frames, pix_fmt=pix_fmt, num_frames=6, num_audio=0, options=options, **tags)
    )
    output = plan_output(source, tmp_path / "out.mp4", encode=BEST)
    encode_part(tmp_path / "a.nut", [nearest(read_all(source))], source, output.target)
    join([tmp_path / "a.nut"], output)

    result = probe(tmp_path / "out.mp4")
    assert (result.color, result.bit_depth) == (source.color, depth)
    given, found = _means(source), _means(result)
    assert torch.allclose(found, given, atol=1)
    assert torch.allclose(found, torch.tensor(PATCHES).double(), atol=3)  # two encoders and 4:2:0 of 8 bits


def _means(source: Source) -> torch.Tensor:
    """Return the mean colour of each frame in 8-bit levels, (N, 3)."""
    levels = 1 if source.bit_depth == 8 else 257
    return read_all(source).data.double().mean(dim=(2, 3)) / levels


def _to_yuv(picture: np.ndarray, pix_fmt: str, matrix: int, full_range: bool) -> VideoFrame:
    rgb = VideoFrame.from_ndarray(picture, format="rgb24")
    rgb.colorspace = matrix
    return rgb.reformat(format=pix_fmt, dst_color_range=1 + full_range)


def test_frames_are_the_frames(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video(num_audio=0))
    given = nearest(read_all(source)).data
    output = plan_output(source, tmp_path / "out.mkv", encode=EncodeOptions("ffv1"))
    encode_part(tmp_path / "a.nut", [FrameBatch(given, source.pts)], source, output.target)
    join([tmp_path / "a.nut"], output)
    result = read_all(probe(tmp_path / "out.mkv")).data
    assert psnr(result, given) > 45


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_unfinished_part_is_invisible(
    make_video: MakeVideo, tmp_path: Path, error: type[BaseException]
) -> None:
    source = probe(make_video(num_audio=0))
    folder = tmp_path / "parts"
    folder.mkdir()

    def batches() -> Iterator[FrameBatch]:
        yield nearest(read_all(source))
        raise error

    with pytest.raises(error):
        encode_part(folder / "a.nut", batches(), source, target_of(source, ".mp4", FAST))
    assert list(folder.iterdir()) == []


def test_no_frame_gives_an_empty_file(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video())
    assert encode_part(tmp_path / "a.nut", [], source, target_of(source, ".mp4", FAST)) == 0
    assert (tmp_path / "a.nut").stat().st_size == 0


def test_a_folder_that_cannot_be_made(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video())
    (tmp_path / "file").touch()
    target = target_of(source, ".mp4", FAST)
    with pytest.raises(OutputError, match=r"a\.nut"):
        encode_part(tmp_path / "file" / "a.nut", [nearest(read_all(source))], source, target)


@pytest.mark.parametrize(
    ("width", "height", "bit_depth", "encoder"),
    [
        (2880, 2304, 8, "libx264"),
        (4096, 2304, 8, "libx264"),
        (4096, 2320, 8, "libx265"),
        (4112, 1024, 8, "libx265"),
        (1920, 1080, 10, "libx265"),
    ],
)
def test_auto_is_what_players_take(width: int, height: int, bit_depth: int, encoder: str) -> None:
    assert resolve(EncodeOptions(), width, height, bit_depth).encoder == encoder


@pytest.mark.parametrize(
    "options",
    [
        EncodeOptions("h264", crf=52),
        EncodeOptions("h264", crf=-1),
        EncodeOptions("h264", encoder_preset="warp"),
        EncodeOptions("av1", encoder_preset="medium"),
        EncodeOptions("ffv1", crf=10),
        EncodeOptions("ffv1", encoder_preset="fast"),
    ],
)
def test_options_that_do_not_fit(options: EncodeOptions) -> None:
    with pytest.raises(OptionError):
        resolve(options, 640, 480, 8)


@pytest.mark.parametrize("codec", ["mpeg7", "png", ""])
def test_an_unknown_codec(codec: str) -> None:
    with pytest.raises(OptionError, match="--codec"):
        EncodeOptions(codec)


def test_time_base_of_avi(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video("a.avi", codec="mpeg4", time_base=Fraction(1001, 30000), rate=30, num_audio=0))
    encode_part(tmp_path / "a.nut", [nearest(read_all(source))], source, target_of(source, ".mp4", FAST))
    times = sorted(pts for pts, _, _ in packets(tmp_path / "a.nut", 0))
    assert times == [pts * source.time_base for pts in source.pts]
