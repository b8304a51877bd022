"""The metadata of an HDR master reaches both the stream and the container."""

from pathlib import Path
from typing import Any

import av
import pytest

from tests.helpers import upscale_nearest
from tests.video_builder import frames, scene, write
from vidx4.appearance import HdrMetadata
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.display.hdr import encoder_options, is_same_hdr, read_hdr, to_boxes
from vidx4.media.display.side_data import SideDataReader
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe

MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
PQ: dict[str, Any] = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}


@pytest.fixture
def hdr10(tmp_path: Path) -> Path:
    params = f"log-level=error:hdr10=1:master-display={MASTERING}:max-cll=1000,400"
    return write(
        tmp_path / "hdr10.mp4",
        frames(scene(6), "yuv420p10le"),
        codec="libx265",
        num_audio=0,
        options={"x265-params": params},
        **PQ,
    )


def test_metadata_is_read(hdr10: Path) -> None:
    hdr = probe(hdr10).hdr
    assert encoder_options(hdr, "libx265") == {"x265-params": f"master-display={MASTERING}:max-cll=1000,400"}
    assert encoder_options(hdr, "libx264") == {"x264-params": f"mastering-display={MASTERING}:cll=1000,400"}
    assert encoder_options(hdr, "hevc_nvenc") == {}
    assert encoder_options(HdrMetadata(), "libx265") == {}
    assert to_boxes(HdrMetadata()) == b""


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("hevc", ".mp4"), ("hevc", ".mov"), ("hevc", ".mkv"), ("hevc", ".ts"), ("av1", ".mp4"), ("av1", ".webm"),
     ("ffv1", ".mkv"), ("prores", ".mov"), ("vp9", ".mkv")],
)  # fmt: skip
def test_metadata_is_kept(hdr10: Path, tmp_path: Path, codec: str, suffix: str) -> None:
    presets = {"hevc": "ultrafast", "av1": "10", "vp9": "8"}
    encode = EncodeOptions(codec, encoder_preset=presets.get(codec), bit_depth=None if codec == "vp9" else 10)
    plan = plan_video(hdr10, tmp_path / f"out{suffix}", Request(encode=encode))
    run(Job(plan, LocalExecutor(upscale_nearest), 8))  # also verifies the output
    source, output = probe(hdr10), probe(plan.output)
    assert is_same_hdr(source.hdr, output.hdr)
    assert output.color.transfer == 16
    assert output.bit_depth == (8 if codec == "vp9" else 10)
    assert any("8 bits" in warning for warning in plan.warnings) == (codec == "vp9")


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_metadata_is_in_the_stream_itself(hdr10: Path, tmp_path: Path, codec: str) -> None:
    """Decoders that never see the container find the metadata."""
    preset = {"hevc": "ultrafast", "av1": "10"}[codec]
    plan = plan_video(
        hdr10, tmp_path / "out.mp4", Request(encode=EncodeOptions(codec, encoder_preset=preset))
    )
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    with av.open(str(plan.output)) as container, av.open(str(tmp_path / "bare.nut"), "w") as bare:
        stream = bare.add_stream_from_template(container.streams.video[0], opaque=True)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                bare.mux(packet)
    with av.open(str(tmp_path / "bare.nut")) as container:
        found = SideDataReader().read(next(container.decode(video=0)))
    assert is_same_hdr(probe(hdr10).hdr, read_hdr(found))


def test_metadata_is_not_made_up(tmp_path: Path) -> None:
    path = write(tmp_path / "plain.mp4", frames(scene(2)), num_audio=0)
    assert probe(path).hdr == HdrMetadata()
    assert not is_same_hdr(HdrMetadata(), HdrMetadata(content_light=b"\1\0\0\0\1\0\0\0"))
