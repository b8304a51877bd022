"""What a report advises."""

import pytest

from tests.conftest import MakeVideo
from vidx4.errors import OptionError
from vidx4.jobs import report
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import StageSeconds
from vidx4.jobs.report import faster_codec
from vidx4.jobs.request import Request
from vidx4.media.encoder import EncoderSettings
from vidx4.media.options import EncodeOptions

SLOW_ENCODER = StageSeconds(model=80, encode=100, waiting=2)


@pytest.fixture
def has_nvenc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let GPUs' encoders start, as if there were a card."""

    def start(settings: EncoderSettings, width: int, height: int) -> None:
        if not settings.encoder.endswith("_nvenc"):
            raise OptionError("not asked for")

    monkeypatch.setattr(report, "try_out", start)


def plan(make_video: MakeVideo, **encode: object) -> Plan:
    path = make_video()
    request = Request(encode=EncodeOptions(**encode))  # type: ignore[arg-type]
    return plan_video(path, path.with_name("out.mkv"), request)


@pytest.mark.usefixtures("has_nvenc")
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_the_codec_of_the_gpu_that_is_as_the_one_in_use(make_video: MakeVideo, codec: str) -> None:
    assert faster_codec(plan(make_video, codec=codec), SLOW_ENCODER) == f"{codec}_nvenc"


@pytest.mark.usefixtures("has_nvenc")
@pytest.mark.parametrize(
    "stages",
    [
        StageSeconds(),
        StageSeconds(model=8, encode=10, waiting=0.2),  # too short to matter
        StageSeconds(model=150, encode=100, waiting=60),
    ],
    ids=str,
)
def test_no_advice_where_the_encoder_keeps_up(make_video: MakeVideo, stages: StageSeconds) -> None:
    assert faster_codec(plan(make_video), stages) is None


@pytest.mark.usefixtures("has_nvenc")
@pytest.mark.parametrize("codec", ["vp9", "ffv1"])
def test_no_advice_for_what_no_gpu_encodes(make_video: MakeVideo, codec: str) -> None:
    assert faster_codec(plan(make_video, codec=codec), SLOW_ENCODER) is None


def test_no_advice_where_the_encoder_does_not_start(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(settings: EncoderSettings, width: int, height: int) -> None:
        raise OptionError("It needs an NVIDIA GPU.")

    monkeypatch.setattr(report, "try_out", refuse)
    assert faster_codec(plan(make_video), SLOW_ENCODER) is None
