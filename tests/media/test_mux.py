import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition

from tests.capabilities import needs_links
from tests.conftest import MakeVideo
from tests.helpers import nearest, packets, read_all
from tests.video_files import AUDIO_SAMPLES
from vidx4.errors import ContainerError, DiskFullError, OutputError, SourceError
from vidx4.frames import FrameBatch
from vidx4.media.decode import read_frames
from vidx4.media.encode import encode_part
from vidx4.media.formats.containers import check_codec
from vidx4.media.mux import join
from vidx4.media.options import EncodeOptions
from vidx4.media.output import plan_output
from vidx4.media.probe import probe
from vidx4.media.streams import choose_streams, choose_suffix
from vidx4.media.target import target_of
from vidx4.video import WHOLE, Source, TimeRange

if TYPE_CHECKING:
    from av.container.core import Chapter  # in the stubs only

FAST = EncodeOptions(encoder_preset="veryfast")
VFR = [0, 512, 1024, 2600, 3112, 5000, 5001, 9000, 9512, 10100, 10600, 12000, 13000, 13400, 15000]
LATE = [128_000 + 512 * index for index in range(15)]
JPEG = {"color_range": 2, "num_b_frames": 0, "num_audio": 0, "time_base": Fraction(1, 25)}
BETWEEN_MILLISECONDS = [12_345 + 512 * index for index in range(15)]


def enlarge(source: Source, output: Path, span: TimeRange = WHOLE, num_parts: int = 1) -> tuple[int, ...]:
    """Write an output by way of parts."""
    batches = [nearest(FrameBatch.of([frame])) for frame in read_frames(source, span)]
    size = -(-len(batches) // num_parts)
    parts = [output.with_name(f"{index}.nut") for index in range(num_parts)]
    written = plan_output(source, output, span, FAST, overwrite=True)
    for index, part in enumerate(parts):
        encode_part(part, batches[index * size : (index + 1) * size], source, written.target)
    return join(parts, written, overwrite=True)


@pytest.mark.parametrize("num_parts", [1, 3])
@pytest.mark.parametrize("pts", [None, VFR, LATE, BETWEEN_MILLISECONDS], ids=["cfr", "vfr", "late", "odd"])
def test_mp4_keeps_everything(make_video: MakeVideo, tmp_path: Path, pts: list[int], num_parts: int) -> None:
    source = probe(make_video(pts=pts, num_audio=2))
    assert enlarge(source, tmp_path / "out.mp4", num_parts=num_parts) == ()
    result = probe(tmp_path / "out.mp4")
    assert (result.pts, result.time_base, result.stop_pts) == (source.pts, source.time_base, source.stop_pts)
    assert (result.width, result.height) == (4 * source.width, 4 * source.height)
    for index in (1, 2):
        assert packets(tmp_path / "out.mp4", index) == packets(source.path, index)
    assert [stream.language for stream in result.streams[1:]] == ["eng", "fra"]


@pytest.mark.parametrize("pts", [None, [*VFR[:6], *VFR[7:]], LATE], ids=["cfr", "vfr", "late"])
def test_mkv_keeps_milliseconds(make_video: MakeVideo, tmp_path: Path, pts: list[int]) -> None:
    source = probe(make_video("a.mp4", pts=pts, num_audio=2))
    enlarge(source, tmp_path / "out.mkv", num_parts=2)
    result = probe(tmp_path / "out.mkv")
    times = [source.time_base * pts for pts in source.pts]
    assert [1000 * result.time_base * pts for pts in result.pts] == [round(1000 * time) for time in times]
    for index in (1, 2):
        written, given = packets(tmp_path / "out.mkv", index), packets(source.path, index)
        assert [payload for *_, payload in written] == [payload for *_, payload in given]
        assert all(abs(a[0] - b[0]) <= Fraction(1, 2000) for a, b in zip(written, given, strict=True))


def test_mkv_to_mkv(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video("a.mkv", time_base=Fraction(1, 1000), pts=[0, 33, 67, 140, 150], num_audio=2))
    enlarge(source, tmp_path / "out.mkv")
    assert probe(tmp_path / "out.mkv").pts == source.pts
    assert packets(tmp_path / "out.mkv", 2) == packets(source.path, 2)


def test_a_span_starts_at_zero(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video(pts=LATE))
    span = TimeRange(Fraction(3, 25), Fraction(9, 25))
    enlarge(source, tmp_path / "out.mp4", span)
    assert probe(tmp_path / "out.mp4").pts == tuple(512 * index for index in range(6))


SECOND = 12800
SLOW = [1280, 1280 + 2 * SECOND, *(1280 + 2 * SECOND + step for step in (512, 700, 1536, 2048))]
"""Times of frames: the first is shown for two seconds."""


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
@pytest.mark.parametrize(
    ("start", "stop", "times"),
    [
        ("1", "1.5", [0, "0.5"]),
        ("1", "2.05", [0, 1, "1.04", "1.05"]),
        ("1.99951", "2.1", [0, "0.04", "0.0546875", "0.1"]),
        ("1.90001", "2.05", [0, "0.09992", "0.13992", "0.14992"]),
        ("2.01", "2.1", [0, "0.03", "0.0446875", "0.09"]),
    ],
)
def test_a_span_may_begin_and_end_within_frames(
    make_video: MakeVideo, tmp_path: Path, suffix: str, start: str, stop: str, times: list[str]
) -> None:
    source, output = probe(make_video(pts=SLOW, num_b_frames=0, num_audio=0)), tmp_path / f"out{suffix}"
    enlarge(source, output, TimeRange(Fraction(start), Fraction(stop)))
    result = probe(output)
    assert result.num_frames == len(times) - 1
    found = [float(result.seconds_of(pts)) for pts in result.pts]
    tolerance = float(result.time_base) + 1 / SECOND
    assert found == pytest.approx([float(time) for time in times[:-1]], abs=tolerance)
    with av.open(str(output)) as container:
        if suffix != ".ts":
            assert (container.duration or 0) / av.time_base == pytest.approx(float(times[-1]), abs=0.1)


def test_a_span_keeps_the_audio_in_time(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video(num_frames=25))
    start, stop = Fraction(5, 25), Fraction(15, 25)
    enlarge(source, tmp_path / "out.mp4", TimeRange(start, stop))
    length = Fraction(AUDIO_SAMPLES, 48000)
    given = [p for p in packets(source.path, 1) if p[0] < stop and p[0] + length > start]
    found = packets(tmp_path / "out.mp4", 1)
    before, heard = found[: -len(given)], found[-len(given) :]
    assert heard == [(pts - start, dts - start, data) for pts, dts, data in given]
    assert heard[0][0] <= 0 < heard[0][0] + length
    assert all(time + length <= 0 for time, _, _ in before)  # needed by the decoder, and not heard


def test_chapters_metadata_and_attachments(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video("plain.mkv", time_base=Fraction(1, 1000), num_b_frames=0, num_audio=0)
    rich = tmp_path / "rich.mkv"
    _copy(path, rich, _enrich)
    source = probe(rich)
    enlarge(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        chapters = container.chapters()
        assert [_milliseconds(chapter) for chapter in chapters] == [(0, 300), (300, 800)]
        assert [chapter["metadata"]["title"] for chapter in chapters] == ["One", "Two"]
        assert container.metadata["title"] == "A film"
        assert [stream.data for stream in container.streams.attachments] == [b"glyphs"]
    enlarge(source, tmp_path / "clip.mkv", TimeRange(Fraction(2, 10), Fraction(4, 10)))
    with av.open(str(tmp_path / "clip.mkv")) as container:
        assert [_milliseconds(chapter) for chapter in container.chapters()] == [(0, 100), (100, 200)]


def _milliseconds(chapter: "Chapter") -> tuple[int, int]:
    scale = 1000 * Fraction(chapter["time_base"] or 1)
    return int(chapter["start"] * scale), int(chapter["end"] * scale)


def _enrich(container: OutputContainer) -> None:
    container.add_attachment("font.ttf", "font/ttf", b"glyphs")
    container.metadata["title"] = "A film"
    titles = (("One", 0, 300), ("Two", 300, 800))
    container.set_chapters(
        [
            {"id": n, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
            for n, (title, a, b) in enumerate(titles)
        ]
    )


def _copy(path: Path, copy: Path, add: Callable[[OutputContainer], object]) -> None:
    """Copy a file, and add to it."""
    with av.open(str(path)) as plain, av.open(str(copy), "w") as container:
        copies = [container.add_stream_from_template(stream, opaque=True) for stream in plain.streams]
        add(container)
        for packet in plain.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)


def test_rotation_and_shape(make_video: MakeVideo, tmp_path: Path) -> None:
    path, turned = make_video(sample_aspect_ratio=Fraction(16, 15)), tmp_path / "turned.mp4"
    with av.open(str(path)) as plain, av.open(str(turned), "w") as container:
        video = container.add_stream_from_template(plain.streams.video[0], opaque=True)
        video.set_display_rotation(90, hflip=True)
        for packet in plain.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
    source = probe(turned)
    assert source.rotation in (90, 270)
    enlarge(source, tmp_path / "out.mp4")
    result = probe(tmp_path / "out.mp4")
    assert (result.rotation, result.display_matrix) == (source.rotation, source.display_matrix)
    assert result.sample_aspect_ratio == Fraction(16, 15)


def test_same_bytes_twice(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video())
    for name in ("a.mp4", "b.mp4", "a.mkv", "b.mkv"):
        enlarge(source, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_frames_that_no_part_holds_are_returned(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video())
    batches = [nearest(FrameBatch.of([frame])) for frame in read_frames(source)]
    output = plan_output(source, tmp_path / "out.mp4", encode=FAST)
    encode_part(tmp_path / "a.nut", batches[:5] + batches[7:], source, output.target)
    encode_part(tmp_path / "b.nut", [], source, output.target)
    parts = [tmp_path / "a.nut", tmp_path / "b.nut"]
    with pytest.raises(OutputError, match="frames that can be decoded is 18"):
        join(parts, output)
    assert join(parts, output, accept_loss=True) == source.pts[5:7]
    with pytest.raises(SourceError, match=source.path.name):
        join([tmp_path / "b.nut"], replace(output, path=tmp_path / "none.mp4"))


@needs_links
def test_nothing_is_overwritten(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video())
    taken, linked, hard = tmp_path / "taken.mp4", tmp_path / "linked.mp4", tmp_path / "hard.mp4"
    taken.write_text("mine")
    linked.symlink_to(source.path)
    os.link(source.path, hard)
    output = plan_output(source, tmp_path / "out.mp4")
    with pytest.raises(OutputError, match=taken.name):
        join([], replace(output, path=taken))
    plan_output(source, taken, overwrite=True)
    for path in (source.path, linked, hard):
        with pytest.raises(OutputError, match=path.name):
            plan_output(source, path, overwrite=True)
    assert taken.read_text() == "mine"


def test_a_folder_is_not_an_output(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video())
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match=r"folder\.mp4"):
        plan_output(source, tmp_path / "folder.mp4", overwrite=True)


def test_long_names(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video())
    with pytest.raises(OutputError, match=252 * "a"):
        plan_output(source, tmp_path / f"{252 * 'a'}.mp4")
    longest = tmp_path / f"{251 * 'a'}.mp4"
    enlarge(source, longest)
    assert probe(longest).num_frames == source.num_frames


def test_a_folder_that_may_not_be_entered(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = probe(make_video())

    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(OutputError, match=r"out\.mp4.*Permission denied"):
        plan_output(source, tmp_path / "out.mp4")


@pytest.mark.parametrize("name", ["out.avi", "out", "out.wmv"])
def test_unknown_suffix(make_video: MakeVideo, tmp_path: Path, name: str) -> None:
    source = probe(make_video())
    with pytest.raises(OutputError, match=r"\.mp4.*\.mkv"):
        plan_output(source, tmp_path / name)


def test_a_failure_leaves_nothing(
    make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = probe(make_video())
    folder = tmp_path / "outputs"
    part = tmp_path / "a.nut"
    output = plan_output(source, folder / "out.mp4", encode=FAST)
    encode_part(part, [nearest(read_all(source))], source, output.target)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vidx4.media.mux.check_kept", fail)
    with pytest.raises(DiskFullError, match=r"out\.mp4.*No space left"):
        join([part], output)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options", "suffix"),
    [
        ("a.mp4", {}, ".mp4"),
        ("a.mov", {}, ".mp4"),
        ("a.mkv", {"time_base": Fraction(1, 1000)}, ".mkv"),
        ("a.avi", {"codec": "mpeg4", "time_base": Fraction(1, 25)}, ".mp4"),
    ],
)
def test_suffix(make_video: MakeVideo, name: str, options: dict[str, object], suffix: str) -> None:
    assert choose_suffix(probe(make_video(name, **options))) == suffix


def test_codecs_that_do_not_fit() -> None:
    check_codec("av1", ".mkv")
    check_codec("prores", ".mov")
    with pytest.raises(ContainerError, match=r"av1.*\.mp4, \.m4v, \.mkv, \.webm.*h264.*hevc.*prores"):
        check_codec("av1", ".mov")


def test_a_cover_stays_a_cover(make_video: MakeVideo, tmp_path: Path) -> None:
    plain, covered = make_video("plain.mkv", time_base=Fraction(1, 1000)), tmp_path / "covered.mkv"
    picture = make_video("cover.avi", codec="mjpeg", pix_fmt="yuvj420p", num_frames=1, **JPEG)
    payload = packets(picture, 0)[0][2]
    _copy(plain, covered, lambda container: container.add_attachment("cover.jpg", "image/jpeg", payload))
    source = probe(covered)
    for name in ("out.mkv", "out.mp4"):
        enlarge(source, tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            cover = container.streams.video[1]
            assert cover.disposition == Disposition.attached_pic
            assert bytes(next(container.demux(cover))) == payload


def test_another_video_stays_with_the_whole(make_video: MakeVideo, tmp_path: Path) -> None:
    first, second, both = make_video("a.mp4"), make_video("b.mp4", width=32), tmp_path / "both.mp4"
    with av.open(str(first)) as a, av.open(str(second)) as b, av.open(str(both), "w") as container:
        videos = [plain.streams.video[0] for plain in (a, b)]
        copies = [container.add_stream_from_template(video, opaque=True) for video in videos]
        for plain, copy in zip((a, b), copies, strict=True):
            copy.disposition = Disposition.default
            for packet in plain.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    container.mux(packet)
    source = probe(both)
    enlarge(source, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").width == 4 * source.width
    assert packets(tmp_path / "out.mp4", 1) == packets(both, 1 - source.video_index)
    span = TimeRange(Fraction(1, 5), Fraction(2, 5))
    enlarge(source, tmp_path / "clip.mp4", span)
    assert len(probe(tmp_path / "clip.mp4").streams) == 1
    assert choose_streams(source, ".mp4").lost == ()
    assert [stream.index for stream, _ in choose_streams(source, ".mp4", span).lost] == [
        1 - source.video_index
    ]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("num_frames", [2, 4, 20])
def test_another_video_of_mkv_may_be_reordered(
    make_video: MakeVideo, tmp_path: Path, suffix: str, num_frames: int
) -> None:
    videos = [
        make_video(f"{n}.mp4", width=n, num_audio=0, num_frames=num_frames, num_b_frames=3) for n in (64, 32)
    ]
    both, output = tmp_path / "both.mkv", tmp_path / f"out{suffix}"
    with av.open(str(both), "w") as container, ExitStack() as stack:
        plains = [stack.enter_context(av.open(str(path))) for path in videos]
        copies = [container.add_stream_from_template(plain.streams.video[0], opaque=True) for plain in plains]
        for plain, copy in zip(plains, copies, strict=True):
            for packet in plain.demux(video=0):
                if packet.dts is not None:
                    packet.stream = copy
                    container.mux(packet)
    source = probe(both)
    enlarge(source, output)
    assert _shown(output, 1) == _shown(both, 1 - source.video_index)


def _shown(path: Path, index: int) -> list[tuple[Fraction, bytes]]:
    """Return the seconds at which each packet of a stream is shown, and the packet."""
    with av.open(str(path)) as container:
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(container.streams[index])
            if packet.pts is not None
        ]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.avi", "adpcm_ms"), ("a.avi", "pcm_alaw"), ("a.avi", "wmav2"), ("a.wmv", "wmav2")],
)
def test_sound_with_a_tag_of_riff(make_video: MakeVideo, tmp_path: Path, name: str, codec: str) -> None:
    plain = make_video("plain.avi", codec="mpeg4", time_base=Fraction(1, 25), num_audio=0, num_b_frames=0)
    path = tmp_path / name
    with av.open(str(plain)) as original, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(original.streams.video[0], opaque=True)
        audio = container.add_stream(codec, rate=44100)
        assert isinstance(audio, AudioStream)
        audio.layout, audio.bit_rate = "stereo", 128_000
        for packet in original.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
        container.mux([*audio.encode(_noise(30_000)), *audio.encode(None)])
    source = probe(path)
    assert choose_streams(source, ".mkv").lost == ()
    enlarge(source, tmp_path / "out.mkv")
    enlarge(probe(tmp_path / "out.mkv"), tmp_path / "again.mkv")
    for output in (tmp_path / "out.mkv", tmp_path / "again.mkv"):
        assert probe(output).streams[1].codec == codec
        assert [payload for _, payload in _shown(output, 1)] == [payload for _, payload in _shown(path, 1)]
        assert torch.equal(_sound(output), _sound(path))


def _noise(num_samples: int) -> AudioFrame:
    samples = np.random.default_rng(0).integers(-8000, 8000, (1, 2 * num_samples), dtype=np.int16)
    frame = AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
    return frame


def _sound(path: Path) -> torch.Tensor:
    with av.open(str(path)) as container:
        return torch.cat([torch.from_numpy(frame.to_ndarray()) for frame in container.decode(audio=0)], dim=1)


def test_frame_batches_of_one_part_may_be_of_any_length(make_video: MakeVideo, tmp_path: Path) -> None:
    source = probe(make_video(num_audio=0))
    whole = read_all(source)
    target = target_of(source, ".mp4", FAST)
    encode_part(tmp_path / "a.nut", [whole], source, target)
    pieces = [FrameBatch(whole.data[n : n + 1], whole.pts[n : n + 1]) for n in range(20)]
    encode_part(tmp_path / "b.nut", pieces, source, target)
    assert (tmp_path / "a.nut").read_bytes() == (tmp_path / "b.nut").read_bytes()
