"""Damaged videos: frames, or one clear sentence, and nothing else."""

import os
import random
import re
import shutil
import struct
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import av
import pytest

from scripts.stress.damage import cases
from scripts.stress.damage_case import BAD, Case, attempt
from scripts.stress.mutations import MUTATIONS
from tests.capabilities import needs_pipes
from tests.hard_videos import late, program_stream, text_track
from tests.helpers import upscale_nearest
from tests.video_builder import frames, scene, write
from vidx4.errors import OutputError, SourceError
from vidx4.jobs import pipeline
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.pipeline import Place, decoded
from vidx4.jobs.plan import plan_video
from vidx4.jobs.progress import Control, Monitor
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.container import is_cut_off
from vidx4.media.damage import Damage
from vidx4.media.decode import read_frames
from vidx4.media.formats.boxes import add_to_sample_entry
from vidx4.media.options import EncodeOptions, StreamOptions
from vidx4.media.probe import probe
from vidx4.media.streams import choose_streams

SAMPLES = Path(__file__).parents[2] / "samples"
FAST = EncodeOptions(encoder_preset="ultrafast", crf=40)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    videos = [write_hard(folder) for write_hard in (late, text_track, program_stream)]
    small = list(scene(8))
    videos.append(write(folder / "a.avi", frames(small), codec="mpeg4", num_audio=0, audio_codec="mp2"))
    videos.append(
        write(folder / "a.webm", frames(small), codec="libvpx-vp9", num_audio=0, options={"cpu-used": "8"})
    )
    return videos


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_damaged_files_end_well(number: int, clips: list[Path], tmp_path: Path) -> None:
    """Try a tenth of a hundred cases; `scripts.stress.damage` tries thousands, in processes of their own."""
    counts: Counter[str] = Counter()
    for index, case in enumerate(cases(clips, 100, seed=7)[number::10]):
        folder = tmp_path / str(index)
        folder.mkdir()
        result = attempt(case, folder)
        assert result.outcome not in BAD, (case, result)
        counts[result.outcome] += 1
    assert sum(counts.values()) == 10


@pytest.mark.parametrize("kind", MUTATIONS)
def test_every_mutation_changes_the_file(kind: str, tmp_path: Path) -> None:
    data = bytearray(SAMPLES.joinpath("bear.webm").read_bytes())
    before = bytes(data)
    MUTATIONS[kind](data, random.Random(1))
    assert bytes(data) != before
    assert Case("a", kind, 1).kind == kind


def damaged(tmp_path: Path) -> Path:
    """Flip bits in the middle of one second of H.264."""
    path = write(tmp_path / "a.mp4", frames(scene(50)), num_audio=0)
    data = bytearray(path.read_bytes())
    start, size = data.index(b"mdat") + 8, len(data)
    for place in range((start + size) // 2, (start + 3 * size) // 4, 40):
        data[place] ^= 0xFF
    path.write_bytes(data)
    return path


def test_damage_is_reported_with_its_places(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    plan = plan_video(path, tmp_path / "out.mkv", Request(encode=FAST))
    report = run(Job(plan, LocalExecutor(upscale_nearest), 8))
    assert re.search(r"\d\.\d\d s", report.damage[0])
    assert probe(plan.output).num_frames <= plan.num_frames
    times = {round(1000 * pts * plan.source.time_base) for pts in plan.source.pts}
    assert {round(1000 * pts * probe(plan.output).time_base) for pts in probe(plan.output).pts} <= times


def test_damage_is_an_error_if_strict(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    plan = plan_video(path, tmp_path / "out.mkv", Request(encode=FAST, strict=True))
    with pytest.raises(SourceError, match=r"a\.mp4.* \d\.\d\d s"):
        run(Job(plan, LocalExecutor(upscale_nearest), 8))
    assert not plan.output.exists()
    whole = plan_video(
        write(tmp_path / "b.mp4", frames(scene(5))), tmp_path / "b_out.mp4", Request(encode=FAST, strict=True)
    )
    assert run(Job(whole, LocalExecutor(upscale_nearest), 8)).damage == ()


@pytest.mark.parametrize("name", ["london.mp4", "bear.webm", "a.avi"])
def test_a_truncated_file_is_read_to_its_end(name: str, tmp_path: Path) -> None:
    whole = SAMPLES / name
    if not whole.exists():
        whole = write(
            tmp_path / name, frames(scene(30)), codec="mpeg4", num_audio=0, time_base=Fraction(1, 25)
        )
    data = whole.read_bytes()
    path = tmp_path / f"cut{whole.suffix}"
    path.write_bytes(data[: 2 * len(data) // 3])
    source, damage = probe(path), Damage()
    assert source.num_frames < probe(whole).num_frames
    num_frames = len(list(read_frames(source, damage=damage)))
    assert 0 < num_frames <= source.num_frames
    assert damage.end == source.duration
    assert f"{float(source.duration):.2f} s" in damage.sentences()[0]


def test_whole_and_longer_files_are_not_truncated(tmp_path: Path) -> None:
    for path in SAMPLES.iterdir():
        assert not is_cut_off(path), path
    longer = tmp_path / "bear.webm"
    longer.write_bytes(SAMPLES.joinpath("bear.webm").read_bytes() + bytes(100))
    assert not is_cut_off(longer)


def test_patience_with_a_decoder_on_its_way_to_a_late_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed job decodes everything before its place: for hours, without a frame that it needs."""
    plan = plan_video(write(tmp_path / "a.mp4", frames(scene(20)), num_audio=0), tmp_path / "b.mkv")
    last = plan.source.pts[-1]

    class SlowControl(Control):
        def check(self) -> None:
            time.sleep(0.05)

    monkeypatch.setattr(pipeline, "PATIENCE", 0.5)
    place = Place(last, last)
    work = decoded(plan, 8, place, Monitor(SlowControl(), lambda _: None))
    assert [each.batch.pts for each in work] == [(last,)]


def test_sentences_have_counts_and_the_first_places() -> None:
    damage = Damage()
    assert not damage
    damage.packets.update(map(Fraction, range(8)))
    damage.frames.add(Fraction(1, 2))
    damage.end = Fraction(9)
    assert [re.findall(r"[\d.]*\d", sentence) for sentence in damage.sentences()] == [
        ["9.00"],
        ["8", "0.00", "1.00", "2.00", "3.00", "4.00", "3"],
        ["1", "0.50"],
    ]


def test_a_protected_file(tmp_path: Path) -> None:
    """Mark a file as protected by common encryption (ISO/IEC 23001-7)."""

    def box(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), name) + content

    plain = write(tmp_path / "a.mp4", frames(scene(3)), num_audio=0).read_bytes()
    scheme = box(b"schm", struct.pack(">I4sI", 0, b"cenc", 0x10000))
    keys = box(b"schi", box(b"tenc", struct.pack(">IBBBB", 0, 0, 0, 1, 8) + bytes(16)))
    data = add_to_sample_entry(plain, box(b"sinf", box(b"frma", b"avc1") + scheme + keys))
    place = data.index(b"avc1", data.index(b"stsd"))
    (tmp_path / "b.mp4").write_bytes(data[:place] + b"encv" + data[place + 4 :])
    with pytest.raises(SourceError, match="protected"):
        probe(tmp_path / "b.mp4")


def _packets(path: Path) -> list[tuple[str, int, bytes]]:
    with av.open(str(path)) as container:
        return [
            (packet.stream.type, packet.pos or 0, bytes(packet))
            for packet in container.demux()
            if packet.size
        ]


def test_protected_sound(tmp_path: Path) -> None:
    """Encrypt a file, then put its plain video back: some shops only encrypt the sound."""
    plain = write(tmp_path / "a.mp4", frames(scene(3)), num_audio=1)
    keys = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "01" * 16,
        "encryption_kid": "02" * 16,
    }
    protected = tmp_path / "b.mp4"
    with av.open(str(plain)) as original, av.open(str(protected), "w", container_options=keys) as output:
        copies = [output.add_stream_from_template(stream) for stream in original.streams]
        for packet in original.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                output.mux(packet)
    data = bytearray(protected.read_bytes().replace(b"encv", b"avc1", 1).replace(b"sinf", b"free", 1))
    for (kind, _, payload), (_, place, locked) in zip(_packets(plain), _packets(protected), strict=True):
        if kind == "video":
            data[place : place + len(locked)] = payload
    protected.write_bytes(data)
    source = probe(protected)
    assert [stream.is_protected for stream in source.streams] == [False, True]
    with pytest.raises(OutputError, match=r"\b1\b.*b\.mp4.*--audio"):
        choose_streams(source, ".mkv")
    assert not choose_streams(source, ".mkv", options=StreamOptions(audio="none")).carried


def test_an_archive_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path, "a.txt"))
    archive.rename(tmp_path / "film.mp4")
    with pytest.raises(SourceError):
        probe(tmp_path / "film.mp4")


@needs_pipes
@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile pipe.ts\n", "#EXTM3U\n#EXTINF:2,\npipe.ts\n", "<MPD>pipe.ts</MPD>"]
)
def test_a_playlist_that_names_a_pipe_does_not_block(text: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ts")
    path = tmp_path / "film.m3u8"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"film\.m3u8 is a list"):
        probe(path)


def test_protected_windows_media(tmp_path: Path) -> None:
    """Add a content encryption object to the end of the header (ASF specification, 3.14)."""
    data = write(
        tmp_path / "a.asf", frames(scene(3)), codec="wmv2", num_audio=0, time_base=Fraction(1, 1000)
    ).read_bytes()
    length, count = int.from_bytes(data[16:24], "little"), int.from_bytes(data[24:28], "little")
    words = b"".join(
        len(word).to_bytes(4, "little") + word for word in (b"secret", b"DRM\0", b"key\0", b"url\0")
    )
    key = (
        UUID("2211b3fb-bd23-11d2-b4b7-00a0c955fc6e").bytes_le
        + (24 + len(words)).to_bytes(8, "little")
        + words
    )
    sizes = (length + len(key)).to_bytes(8, "little") + (count + 1).to_bytes(4, "little")
    path = tmp_path / "b.wmv"
    path.write_bytes(data[:16] + sizes + data[28:length] + key + data[length:])
    with pytest.raises(SourceError, match="protected"):
        probe(path)


def test_protected_matroska(tmp_path: Path) -> None:
    """Give a track an encryption key (RFC 9559, 5.1.4.1.31), in place of padding before it."""

    def element(name: str, content: bytes) -> bytes:
        return bytes.fromhex(name) + bytes([0x80 | len(content)]) + content

    data = bytearray(write(tmp_path / "a.mkv", frames(scene(3)), time_base=Fraction(1, 1000)).read_bytes())
    encryption = element("5035", element("47e1", b"\5") + element("47e2", bytes(range(1, 17))))
    encodings = element("6d80", element("6240", element("5033", b"\1") + encryption))
    padding, track = (data.index(bytes([name, 1]) + bytes(6)) for name in (0xEC, 0xAE))
    tracks = data.index(bytes.fromhex("1654ae6b")) + 4
    end = track + 9 + data[track + 8]
    data[end:end] = encodings
    data[track + 8] += len(encodings)
    width = 9 - data[tracks].bit_length()
    size = int.from_bytes(data[tracks : tracks + width], "big") + len(encodings)
    data[tracks : tracks + width] = size.to_bytes(width, "big")
    del data[padding + 9 : padding + 9 + len(encodings)]
    data[padding + 8] -= len(encodings)
    path = tmp_path / "b.mkv"
    path.write_bytes(data)
    with pytest.raises(SourceError, match="protected"):
        probe(path)
