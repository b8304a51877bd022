"""Damaged videos: frames, or one clear sentence, and nothing else."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from damage import BAD, DAMAGES, Case, attempt, cases
from made import frames, late, program_stream, scene, text_track, write
from tests.helpers import upscale_nearest
from vidx4.errors import SourceError
from vidx4.jobs.parts import Job
from vidx4.jobs.plan import plan_video
from vidx4.jobs.run import run
from vidx4.media.damage import Damage
from vidx4.media.encoder import EncodeOptions
from vidx4.media.probe import probe
from vidx4.media.template import _with_boxes

SAMPLES = Path(__file__).parent.parent / "samples"
FAST = EncodeOptions(preset="ultrafast", crf=40)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    made = [make(folder) for make in (late, text_track, program_stream)]
    small = list(scene(8))
    made.append(write(folder / "a.avi", frames(small), codec="mpeg4", num_audio=0, audio_codec="mp2"))
    made.append(
        write(folder / "a.webm", frames(small), codec="libvpx-vp9", num_audio=0, options={"cpu-used": "8"})
    )
    return made


@pytest.mark.parametrize("number", range(10))
def test_a_sample_of_damages(number: int, clips: list[Path], tmp_path: Path) -> None:
    """A tenth of a hundred cases each; `scripts/damage.py` does thousands, in processes of their own."""
    counts: Counter[str] = Counter()
    for index, case in enumerate(cases(clips, 100, seed=7)[number::10]):
        folder = tmp_path / str(index)
        folder.mkdir()
        result = attempt(case, folder)
        assert result.outcome not in BAD, (case, result)
        counts[result.outcome] += 1
    assert sum(counts.values()) == 10


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_kind_changes_the_file(kind: str, tmp_path: Path) -> None:
    import random

    data = bytearray(SAMPLES.joinpath("bear.webm").read_bytes())
    before = bytes(data)
    DAMAGES[kind](data, random.Random(1))
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


def test_damage_is_told_with_its_places(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    plan = plan_video(path, tmp_path / "out.mkv", encode=FAST)
    report = run(Job(plan, upscale_nearest, 8), force=True)
    assert report.damage
    assert " s" in report.damage[0]
    assert probe(plan.output).num_frames <= plan.num_frames
    times = {round(1000 * pts * plan.source.time_base) for pts in plan.source.pts}
    assert {round(1000 * pts * probe(plan.output).time_base) for pts in probe(plan.output).pts} <= times


def test_strictly_damage_is_an_error(tmp_path: Path) -> None:
    path = damaged(tmp_path)
    plan = plan_video(path, tmp_path / "out.mkv", encode=FAST, is_strict=True)
    with pytest.raises(SourceError, match=r"a\.mp4 is damaged: .* at \d"):
        run(Job(plan, upscale_nearest, 8), force=True)
    assert not plan.output.exists()
    whole = plan_video(
        write(tmp_path / "b.mp4", frames(scene(5))), tmp_path / "b_out.mp4", encode=FAST, is_strict=True
    )
    assert run(Job(whole, upscale_nearest, 8), force=True).damage == ()


def test_sentences_name_a_few_places() -> None:
    damage = Damage()
    assert not damage
    for second in range(8):
        damage.packets.add(probe(SAMPLES / "bear.webm").time_base * 1000 * second)
    assert damage.sentences() == (
        "8 packets could not be decoded, at 0.00 s, 1.00 s, 2.00 s, 3.00 s, 4.00 s and 3 more.",
    )


def test_a_protected_file(tmp_path: Path) -> None:
    """Common encryption (ISO/IEC 23001-7), as its headers say it."""
    import struct

    def box(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), name) + content

    plain = write(tmp_path / "a.mp4", frames(scene(3)), num_audio=0).read_bytes()
    scheme = box(b"schm", struct.pack(">I4sI", 0, b"cenc", 0x10000))
    keys = box(b"schi", box(b"tenc", struct.pack(">IBBBB", 0, 0, 0, 1, 8) + bytes(16)))
    data = _with_boxes(plain, box(b"sinf", box(b"frma", b"avc1") + scheme + keys))
    place = data.index(b"avc1", data.index(b"stsd"))
    (tmp_path / "b.mp4").write_bytes(data[:place] + b"encv" + data[place + 4 :])
    with pytest.raises(SourceError, match="is protected"):
        probe(tmp_path / "b.mp4")


def test_an_archive_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path, "a.txt"))
    archive.rename(tmp_path / "film.mp4")
    with pytest.raises(SourceError):
        probe(tmp_path / "film.mp4")
