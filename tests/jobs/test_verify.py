"""A good output passes; every planted fault is found, and under its own name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from tests.hard_videos import attachments_and_ass, late, mirrored, text_track, variable
from tests.helpers import upscale_nearest
from tests.video_builder import frames, scene, write
from vidx4.errors import OutputError
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.verify import verify
from vidx4.media.checks import check_kept, verify_output
from vidx4.media.container import AnyPacket
from vidx4.media.formats.edit_lists import set_movie_timescale
from vidx4.media.headers import muxer_options
from vidx4.media.options import EncodeOptions
from vidx4.video import WHOLE, TimeRange

FAST = EncodeOptions(encoder_preset="ultrafast", crf=40)
Fault = Callable[[AnyPacket, int], "AnyPacket | None"]
"""Changes a packet, given its number in its stream, or drops it."""


def enlarged(path: Path, output: Path, span: TimeRange = WHOLE) -> Plan:
    plan = plan_video(path, output, Request(span=span, encode=FAST))
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    return plan


def lost(plan: Plan, path: Path) -> list[str]:
    return [check.subject for check in verify_output(plan.written, path) if not check.is_kept]


def remuxed(
    plan: Plan,
    fault: Fault = lambda packet, number: packet,
    change: Callable[[OutputContainer, dict[int, Stream]], object] = lambda container, streams: None,
) -> Path:
    """Write an output again, with a fault."""
    path = plan.output.with_name(f"faulty{plan.output.suffix}")
    with av.open(str(plan.output)) as good, av.open(str(plan.source.path)) as original:
        options = muxer_options(plan.written, original)
        with av.open(str(path), "w", container_options=options) as bad:
            streams = _copied(good, bad)
            change(bad, streams)
            set_movie_timescale(bad, {})
            for packet in _faulty(good, fault, set(streams)):
                packet.stream = streams[packet.stream.index]
                bad.mux(packet)
    return path


def _copied(good: InputContainer, bad: OutputContainer) -> dict[int, Stream]:
    streams = {}
    for stream in good.streams:
        if stream.type == "attachment":
            bad.add_stream_from_template(stream)
        elif stream.type != "data":
            copy = streams[stream.index] = bad.add_stream_from_template(stream, opaque=True)
            copy.metadata.update(stream.metadata)
            copy.disposition = stream.disposition
            copy.time_base = stream.time_base
            if isinstance(copy, VideoStream) and good.metadata.get("mirrored"):
                copy.set_display_matrix(None)
    bad.metadata.update(good.metadata)
    bad.set_chapters(good.chapters())
    return streams


def _faulty(good: InputContainer, fault: Fault, wanted: set[int]) -> Iterator[AnyPacket]:
    numbers: dict[int, int] = {}
    for packet in good.demux([good.streams[index] for index in wanted]):
        if packet.dts is None:
            continue
        number = numbers.get(packet.stream_index, 0)
        numbers[packet.stream_index] = number + 1
        if (changed := fault(packet, number)) is not None:
            yield changed


def of_kind(kind: str, number: int, change: Callable[[AnyPacket], "AnyPacket | None"]) -> Fault:
    return lambda packet, n: change(packet) if packet.stream.type == kind and n == number else packet


def dropped(packet: AnyPacket) -> None:
    return None


def moved(packet: AnyPacket) -> AnyPacket:
    assert packet.pts is not None
    packet.pts += 1
    return packet


def flipped(packet: AnyPacket) -> AnyPacket:
    payload = bytearray(bytes(packet))
    payload[len(payload) // 2] ^= 1
    changed: AnyPacket = Packet(bytes(payload))
    changed.stream, changed.time_base = packet.stream, packet.time_base
    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
    return changed


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Variable rate, two tracks of sound."""
    folder = tmp_path_factory.mktemp("plain")
    return enlarged(variable(folder), folder / "out.mp4")


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Chapters, metadata, a font, subtitles, languages, dispositions."""
    folder = tmp_path_factory.mktemp("rich")
    return enlarged(attachments_and_ass(folder), folder / "out.mkv")


def test_a_good_output_passes(plan: Plan) -> None:
    assert lost(plan, plan.output) == []
    assert lost(plan, remuxed(plan)) == []
    assert all(check.is_kept for check in verify(plan.source.path, plan.output))


@pytest.mark.parametrize("make", [mirrored, text_track, late, attachments_and_ass])
def test_other_kinds_pass(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    for suffix in (".mkv",) if make is attachments_and_ass else (".mp4", ".mkv"):
        plan = enlarged(path, tmp_path / f"out{suffix}")
        assert lost(plan, plan.output) == []


@pytest.mark.parametrize("suffix", [".mkv"])
def test_drawn_subtitles_in_pieces_pass(suffix: str, tmp_path: Path) -> None:
    """Blu-ray discs hold each segment of a picture in a packet, Matroska all of them in one."""
    segments = [b"\x16\0\x0b" + bytes(10) + b"\1", b"\x17\0\1\0", b"\x80\0\0"]

    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        return [container.add_mux_stream("hdmv_pgs_subtitle")]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        for number, segment in enumerate(2 * segments):
            packet: AnyPacket = Packet(segment)
            packet.stream, packet.time_base = streams[0], Fraction(1, 90_000)
            packet.pts = packet.dts = 90_000 + 9_000 * (number // 3) + number
            container.mux(packet)

    path = write(tmp_path / "disc.m2ts", frames(scene(10)), num_audio=0, prepare=prepare, fill=fill)
    with av.open(str(path)) as container:
        assert [bytes(packet) for packet in container.demux(subtitles=0) if packet.size] == 2 * segments
    enlarged(path, tmp_path / f"b{suffix}")


def test_a_range_passes(tmp_path: Path) -> None:
    path = attachments_and_ass(tmp_path)
    span = TimeRange(Fraction(1, 4), Fraction(3, 4))
    plan = enlarged(path, tmp_path / "out.mkv", span)
    assert lost(plan, plan.output) == []
    assert (
        lost(replace(plan, written=replace(plan.written, span=WHOLE)), plan.output)[0] == "number of frames"
    )


@pytest.mark.parametrize("number", [1, 5, 11])
def test_a_dropped_frame(plan: Plan, number: int) -> None:
    found = lost(plan, remuxed(plan, of_kind("video", number, dropped)))
    assert found[0] == "number of frames"


@pytest.mark.parametrize("number", [0, 5])
def test_a_frame_moved_by_a_tick(plan: Plan, number: int) -> None:
    found = lost(plan, remuxed(plan, of_kind("video", number, moved)))
    assert len(found) == 1
    assert found[0].startswith("time of frame ")


def test_the_last_frame_made_longer(plan: Plan) -> None:
    def longer(packet: AnyPacket) -> AnyPacket:
        packet.duration = (packet.duration or 0) + 1
        return packet

    last_decoded = plan.num_frames - 1
    assert lost(plan, remuxed(plan, of_kind("video", last_decoded, longer))) in (
        ["end of the last frame 0"],
        [],
    )


def test_a_bit_of_sound(plan: Plan) -> None:
    assert lost(plan, remuxed(plan, of_kind("audio", 3, flipped))) == ["audio 1: content", "audio 2: content"]


def test_a_packet_of_sound_is_missing(plan: Plan) -> None:
    found = lost(plan, remuxed(plan, of_kind("audio", 3, dropped)))
    assert "audio 1: number of packets" in found
    assert "audio 1: content" in found


def test_sound_is_late_by_a_sample(plan: Plan) -> None:
    def late_by_one(packet: AnyPacket, number: int) -> AnyPacket:
        if packet.stream.type == "audio" and packet.pts is not None and packet.dts is not None:
            packet.pts, packet.dts = packet.pts + 1, packet.dts + 1
        return packet

    found = lost(plan, remuxed(plan, late_by_one))
    assert found == ["audio 1: time of packet 0", "audio 2: time of packet 0"]


@pytest.mark.parametrize(
    ("attribute", "value", "subject"),
    [
        ("colorspace", 1, "colour matrix"),
        ("color_primaries", 9, "colour primaries"),
        ("color_range", 2, "colour range"),
    ],
)
def test_a_wrong_colour_tag(tmp_path: Path, attribute: str, value: int, subject: str) -> None:
    """Without a tag in the codec's own stream, the container's is what counts."""
    path = variable(tmp_path)
    plan = plan_video(path, tmp_path / "out.mkv", Request(encode=EncodeOptions("ffv1")))
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    assert lost(plan, plan.output) == []

    def change(container: OutputContainer, streams: dict[int, Stream]) -> None:
        setattr(streams[0].codec_context, attribute, value)

    assert lost(plan, remuxed(plan, change=change)) == [subject]


def test_a_wrong_shape_of_pixels(tmp_path: Path) -> None:
    plan = enlarged(mirrored(tmp_path), tmp_path / "out.mov")
    wrong = replace(plan.written.target, sample_aspect_ratio=Fraction(1), display_matrix=None, width=100)
    found = lost(replace(plan, written=replace(plan.written, target=wrong)), plan.output)
    assert found == ["size", "shape of pixels", "display matrix"]


def test_rotation_is_lost(tmp_path: Path) -> None:
    plan = enlarged(mirrored(tmp_path), tmp_path / "out.mov")

    def upright(container: OutputContainer, streams: dict[int, Stream]) -> None:
        video = streams[0]
        assert isinstance(video, VideoStream)
        video.set_display_rotation(0)

    assert "display matrix" in lost(plan, remuxed(plan, change=upright))


def _without_chapter(container: OutputContainer, streams: dict[int, Stream]) -> None:
    container.set_chapters(container.chapters()[1:])


def _renamed_chapter(container: OutputContainer, streams: dict[int, Stream]) -> None:
    first, second = container.chapters()
    container.set_chapters([first | {"metadata": {"title": "Other"}}, second])


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        (_without_chapter, "number of chapters"),
        (_renamed_chapter, "chapter 1"),
        (lambda container, streams: container.metadata.pop("ARTIST"), "metadata ARTIST"),
        (lambda container, streams: streams[1].metadata.update(language="ita"), "audio 1: language"),
        (lambda container, streams: streams[1].metadata.update(title="Other"), "audio 1: title"),
        (
            lambda container, streams: setattr(streams[4], "disposition", Disposition(0)),
            "subtitle 4: dispositions",
        ),
    ],
    ids=["chapter missing", "chapter renamed", "metadata", "language", "title", "disposition"],
)
def test_a_description_is_lost(
    rich: Plan, change: Callable[[OutputContainer, dict[int, Stream]], object], subject: str
) -> None:
    assert subject.lower() in [each.lower() for each in lost(rich, remuxed(rich, change=change))]


def test_a_font_is_another(rich: Plan) -> None:
    path = rich.output.with_name("faulty.mkv")
    path.write_bytes(rich.output.read_bytes().replace(b"glyphsglyphs", b"glyphsglyphz", 1))
    assert lost(rich, path) == ["attachment 5: content"]


def test_a_text_is_another(rich: Plan) -> None:
    path = rich.output.with_name("faulty.mkv")
    path.write_bytes(rich.output.read_bytes().replace(b"Signs", b"Sighs", 1))
    assert lost(rich, path) == ["subtitle 3: content"]


def test_a_loss_is_an_error_that_names_it(plan: Plan) -> None:
    faulty = remuxed(plan, of_kind("video", 5, dropped))
    with pytest.raises(OutputError, match=r"number of frames .*11.*12"):
        check_kept(plan.written, faulty)
    check_kept(plan.written, faulty, accept_loss=True)
