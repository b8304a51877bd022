"""Pictures as a video: numbered files, read and written, and animations."""

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.capabilities import needs_links
from vidx4.errors import DiskFullError, OutputError, SourceError
from vidx4.media.decode import read_frames
from vidx4.media.pictures.animated_webp import is_animation, open_animation
from vidx4.media.pictures.png16 import encode_png
from vidx4.media.pictures.read_sequence import find_sequence, is_sequence, open_sequence, sequence_digest
from vidx4.media.pictures.write_sequence import split_output, write_pictures
from vidx4.media.place import check_folder
from vidx4.media.source import read_source

Pixels = NDArray[Any]


def noise(num_frames: int = 4, dtype: type[np.unsignedinteger[Any]] = np.uint8) -> list[Pixels]:
    numbers = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (num_frames, 24, 33, 3))
    return list(numbers.astype(dtype))


def save(folder: Path, names: Sequence[str], pictures: Sequence[Pixels], **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(folder / name, **options)
    return folder


def frames_of(path: Path, rate: Fraction = Fraction(25)) -> list[VideoFrame]:
    with open_sequence(path, rate) as container:
        return list(container.decode(video=0))


def rgb(frame: VideoFrame, name: str = "rgb24") -> Pixels:
    return frame.reformat(format=name).to_ndarray()


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["img_0010.png", "img_0009.png", "img_0011.png"], ["img_0009.png", "img_0010.png", "img_0011.png"]),
        (["10.png", "9.png", "8.png"], ["8.png", "9.png", "10.png"]),
        (
            ["frame12.jpg", "frame2.JPG", ".frame3.jpg", "cover.jpg", "frame3.txt"],
            ["frame2.JPG", "frame12.jpg"],
        ),
        (["s02e01_0.tif", "s02e01_1.tif"], ["s02e01_0.tif", "s02e01_1.tif"]),
    ],
)
def test_a_folder_is_ordered_by_number(names: list[str], expected: list[str], tmp_path: Path) -> None:
    folder = touch(tmp_path / "frames", *names)
    assert is_sequence(folder)
    assert list(find_sequence(folder).names) == expected


def test_a_pattern_selects_files(tmp_path: Path) -> None:
    touch(
        tmp_path, "a_0001.png", "a_0002.png", "a_3.png", "a_12345.png", "a_0004.jpg", "b_0001.png", "a_x.png"
    )
    pattern = tmp_path / "a_%04d.png"
    assert is_sequence(pattern)
    assert find_sequence(pattern).names == ("a_0001.png", "a_0002.png", "a_12345.png")
    assert find_sequence(tmp_path / "a_%d.png").names == ("a_3.png", "a_12345.png")


def test_other_files_are_not_sequences(tmp_path: Path) -> None:
    touch(tmp_path, "film.mp4", "img_%04d.png")
    assert not any(is_sequence(tmp_path / name) for name in ("film.mp4", "100%done.png", "missing.png"))
    assert not is_sequence(tmp_path / "img_%04d.png")  # a file of that name
    assert not is_sequence(touch(tmp_path / "films", "1.mp4"))


@pytest.mark.parametrize(
    ("names", "facts"),
    [
        (["a_1.png", "b_1.png"], r"frames.*a_#\.png, b_#\.png"),
        (["1.png", "01.png"], r"(?=.*\b1\.png)(?=.*\b01\.png).*frames"),
        (["notes.txt"], r"frames.*\.png"),
    ],
)
def test_an_ambiguous_or_empty_folder_is_an_error(names: list[str], facts: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=facts):
        find_sequence(touch(tmp_path / "frames", *names))


def test_gaps_are_reported(tmp_path: Path) -> None:
    assert find_sequence(touch(tmp_path / "a", "7.png", "8.png")).warnings == ()
    (warning,) = find_sequence(touch(tmp_path / "b", "7.png", "9.png", "12.png")).warnings
    assert re.search(rf"\b3 .*{re.escape(str(tmp_path / 'b'))}.*\b8\b", warning)
    (warning,) = find_sequence(touch(tmp_path / "c", "6.png", "8.png")).warnings
    assert re.search(rf"\b1 .*{re.escape(str(tmp_path / 'c'))}.*\b7\b", warning)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", {}), (".tif", {"compression": "tiff_lzw"}), (".webp", {"lossless": True})],
)
def test_frames_are_the_pictures(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    pictures = noise()
    names = [f"img_{number}{suffix}" for number in (8, 9, 10, 12)]
    folder = save(tmp_path / "frames", names, pictures, **options)
    frames = frames_of(folder)
    assert [frame.pts for frame in frames] == [0, 1, 2, 3]
    assert all(np.array_equal(rgb(f), p) for f, p in zip(frames, pictures, strict=True))


def test_frames_are_jpeg_pictures(tmp_path: Path) -> None:
    pictures = [np.full((16, 24, 3), level, np.uint8) for level in (20, 120, 220)]
    folder = save(tmp_path / "frames", ["1.jpg", "2.jpg", "3.jpg"], pictures)
    assert [round(rgb(frame).mean()) for frame in frames_of(folder)] == [20, 120, 220]


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    pictures = noise(2, np.uint16)
    for number, picture in enumerate(pictures):
        (tmp_path / f"{number}.png").write_bytes(encode_png(picture))
    frames = frames_of(tmp_path)
    assert all(np.array_equal(rgb(f, "rgb48le"), p) for f, p in zip(frames, pictures, strict=True))


def test_a_wrong_suffix_does_no_harm(tmp_path: Path) -> None:
    pictures = noise()
    folder = save(tmp_path / "frames", ["1.jpg", "2.jpg", "3.jpg", "4.jpg"], pictures, format="PNG")
    assert np.array_equal(rgb(frames_of(folder)[3]), pictures[3])


def test_times_are_exact_on_every_read(tmp_path: Path) -> None:
    folder = save(tmp_path / "frames", [f"{number}.png" for number in range(30)], noise() * 7 + noise(2))
    rate = Fraction(24000, 1001)
    first, second = frames_of(folder, rate), frames_of(folder, rate)
    assert [frame.pts for frame in first] == [1001 * index for index in range(30)]
    assert {frame.duration for frame in first} == {1001}
    assert first[0].time_base == Fraction(1, 24000)
    assert [frame.pts for frame in second] == [frame.pts for frame in first]


def test_seeking_reaches_any_frame(tmp_path: Path) -> None:
    pictures = noise(9)
    folder = save(tmp_path / "frames", [f"{number}.png" for number in range(9)], pictures)
    with open_sequence(folder) as container:
        for index in (7, 2, 8, 0):
            container.seek(index, stream=container.streams.video[0])
            assert np.array_equal(rgb(next(container.decode(video=0))), pictures[index])


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"text"])
def test_a_damaged_picture_affects_no_other(content: bytes, tmp_path: Path) -> None:
    folder = save(tmp_path / "frames", ["1.png", "2.png", "3.png", "4.png"], noise())
    (folder / "3.png").write_bytes(content)
    with open_sequence(folder) as container:
        packets = [packet for packet in container.demux() if packet.size]
        assert [packet.pts for packet in packets] == [0, 1, 2, 3]
        decoder = container.streams.video[0]
        kept = [frame.pts for index in (0, 1, 3) for frame in decoder.decode(packets[index])]
    assert kept == [0, 1, 3]


def test_a_picture_that_changes_while_reading_is_an_error(tmp_path: Path) -> None:
    folder = save(tmp_path / "frames", ["1.png", "2.png", "3.png", "4.png"], noise())
    with open_sequence(folder) as container:
        (folder / "3.png").write_bytes(b"another")
        with pytest.raises(SourceError, match="frames"):
            list(container.demux())
    (folder / "3.png").unlink()
    with open_sequence(folder) as container:
        (folder / "4.png").unlink()
        with pytest.raises(SourceError, match=r"4\.png"):
            list(container.demux())


def test_pictures_of_another_format_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"GIF89a")
    with pytest.raises(SourceError, match=r"1\.png.*PNG, JPEG, TIFF, BMP or WebP"):
        open_sequence(tmp_path)


def test_the_digest_covers_names_and_contents(tmp_path: Path) -> None:
    folder = save(tmp_path / "frames", ["1.png", "2.png"], noise(2))
    digest = sequence_digest(folder)
    assert sequence_digest(save(tmp_path / "again", ["1.png", "2.png"], noise(2))) == digest
    assert sequence_digest(folder / "%d.png") == digest
    assert sequence_digest(save(tmp_path / "other", ["1.png", "3.png"], noise(2))) != digest
    assert sequence_digest(save(tmp_path / "swapped", ["2.png", "1.png"], noise(2))) != digest


def drawn(mode: str, num_frames: int = 5) -> list[Image.Image]:
    """Return frames in which only a part changes, some of it half transparent."""
    frames = []
    for index in range(num_frames):
        frame = Image.new(mode, (49, 33), (40, 80, 120) if mode == "RGB" else (10, 0, 0, 0))
        color = (255, 200 - 30 * index, 30 * index) + ((255 - 64 * (index % 2),) if mode == "RGBA" else ())
        ImageDraw.Draw(frame).rectangle((4 + 6 * index, 8, 12 + 6 * index, 20), fill=color)
        frames.append(frame)
    return frames


DURATIONS = [40, 100, 250, 70, 500]


def test_pictures_of_several_sizes_give_one_sentence(tmp_path: Path) -> None:
    sizes = {"f000.bmp": (32, 24), "f001.bmp": (32, 24), "f002.bmp": (64, 48)}
    for name, size in sizes.items():
        Image.new("RGB", size).save(tmp_path / name)
    with pytest.raises(SourceError) as caught:
        read_source(tmp_path)
    assert str(caught.value).count(".bmp") == 1
    assert str(caught.value).startswith(f"{tmp_path / 'f002.bmp'} differs in size from the first picture")


@needs_links
def test_links_lead_to_pictures_of_the_folder_only(tmp_path: Path) -> None:
    folder = save(tmp_path / "film", ["f0.png", "f1.png"], noise(2))
    save(tmp_path / "private", ["secret.png"], noise(1))
    (folder / "f2.png").symlink_to("f1.png")
    (tmp_path / "link").symlink_to(folder)
    assert len(frames_of(tmp_path / "link")) == 3
    (folder / "f3.png").symlink_to("../private/secret.png")
    (folder / "f4.png").symlink_to("f3.png")
    for path in (folder, folder / "f%d.png"):
        with pytest.raises(
            SourceError, match=r"f3\.png is a link that leads out of its folder: copy the files"
        ):
            read_source(path)


def animate(
    path: Path, mode: str = "RGB", durations: Sequence[int] = DURATIONS, **options: Any
) -> list[Image.Image]:
    first, *others = drawn(mode, len(durations))
    first.save(path, save_all=True, append_images=others, duration=list(durations), loop=3, **options)
    return [first, *others]


def check_animation(frames: Sequence[VideoFrame], expected: Sequence[Image.Image]) -> None:
    """Check that frames show the pictures; colours of transparent pixels don't count."""
    for frame, picture in zip(frames, expected, strict=True):
        found, wanted = rgb(frame, "rgba"), np.asarray(picture.convert("RGBA"))
        visible = wanted[..., 3] > 0
        assert np.array_equal(found[..., 3], wanted[..., 3])
        assert np.array_equal(found[visible], wanted[visible])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_lossless_animation_is_read_exactly(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    pictures = animate(path, mode, lossless=True, minimize_size=True)
    assert is_animation(path)
    with open_animation(path) as container:
        frames = list(container.decode(video=0))
    assert [(frame.pts, frame.duration) for frame in frames] == [
        (0, 40),
        (40, 100),
        (140, 250),
        (390, 70),
        (460, 500),
    ]
    assert frames[0].time_base == Fraction(1, 1000)
    assert frames[0].format.name == ("rgb24" if mode == "RGB" else "rgba")
    check_animation(frames, pictures)


def test_a_lossy_animation_is_read_closely(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    animate(path, "RGBA", quality=90, allow_mixed=True)
    with open_animation(path) as container, Image.open(path) as picture:
        for index, frame in enumerate(container.decode(video=0)):
            picture.seek(index)
            wanted = np.asarray(picture.convert("RGBA")).astype(float)
            assert abs(rgb(frame, "rgba") - wanted)[wanted[..., 3] > 0].mean() < 2


def test_seeking_reaches_any_frame_of_an_animation(tmp_path: Path) -> None:
    pictures = animate(tmp_path / "a.webp", lossless=True)
    with open_animation(tmp_path / "a.webp") as container:
        for index, pts in ((3, 390), (1, 40), (4, 460), (0, 0)):
            container.seek(pts, stream=container.streams.video[0])
            check_animation([next(container.decode(video=0))], [pictures[index]])


def test_frames_without_a_duration_last_for_a_while(tmp_path: Path) -> None:
    animate(tmp_path / "a.webp", durations=[0, 10, 11, 30], lossless=True)
    with open_animation(tmp_path / "a.webp") as container:
        assert [frame.duration for frame in container.decode(video=0)] == [100, 100, 11, 30]


def test_a_truncated_animation_gives_its_complete_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    pictures = animate(path, lossless=True)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"ANMF") + 30])
    with open_animation(path) as container:
        check_animation(list(container.decode(video=0)), pictures[:4])
    path.write_bytes(content[:40])
    with pytest.raises(SourceError, match=r"a\.webp"):
        open_animation(path)


def test_other_files_are_not_animated_webp(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8)).save(tmp_path / "a.webp")
    animate(tmp_path / "a.gif")
    assert not any(is_animation(tmp_path / name) for name in ("a.webp", "a.gif", "missing"))


@pytest.mark.parametrize(("suffix", "ticks"), [(".gif", 10), (".png", Fraction(1, 100))])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_ffmpeg_plays_other_animations(suffix: str, ticks: Fraction, mode: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    pictures = animate(path, "RGB" if suffix == ".gif" else mode)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [(frame.pts or 0) * ticks for frame in frames] == [0, 40, 140, 390, 460]
    assert frames[-1].duration * ticks == 500
    check_animation([frames[0], frames[-1]], [pictures[0], pictures[-1]])


def packets_of(pictures: Sequence[Pixels]) -> list["Packet[Any]"]:
    return [Packet(encode_png(picture)) for picture in pictures]


def write(
    packets: Iterable["Packet[Any]"], folder: Path, pattern: str = "%06d.png", *, overwrite: bool = False
) -> None:
    check_folder(folder, folder.parent / "film.mp4", pattern, overwrite=overwrite)
    write_pictures(packets, folder, pattern, overwrite=overwrite)


@pytest.mark.parametrize("is_there", [False, True])
def test_packets_become_numbered_files(is_there: bool, tmp_path: Path) -> None:
    pictures, folder = noise(3, np.uint16), tmp_path / "frames"
    if is_there:
        folder.mkdir()
    write(packets_of(pictures), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["000001.png", "000002.png", "000003.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]
    frames = frames_of(folder)
    assert all(np.array_equal(rgb(f, "rgb48le"), p) for f, p in zip(frames, pictures, strict=True))


def test_a_pattern_names_the_files(tmp_path: Path) -> None:
    write(packets_of(noise(2)), tmp_path / "frames", "a_%d.png")
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["a_1.png", "a_2.png"]


def test_a_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    def breaking(error: BaseException) -> Iterator["Packet[Any]"]:
        yield from packets_of(noise(2))
        assert not (tmp_path / "frames").exists()
        raise error

    for error, kind in (
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space left on device"), DiskFullError),
        (OSError(errno.EIO, "Input/output error"), OutputError),
    ):
        with pytest.raises(kind):
            write(breaking(error), tmp_path / "frames")
        assert list(tmp_path.iterdir()) == []


def test_the_users_files_are_not_overwritten(tmp_path: Path) -> None:
    folder = touch(tmp_path / "frames", "000001.png", "notes.txt")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"000001\.png|notes\.txt"):
            write(packets_of(noise(2)), folder, overwrite=overwrite)
    assert len(list(folder.iterdir())) == 2
    (folder / "notes.txt").unlink()
    with pytest.raises(OutputError, match=r"000001\.png|notes\.txt"):
        write(packets_of(noise(2)), folder)
    write(packets_of(noise(2)), folder, overwrite=True)
    assert len(list(folder.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]
    with pytest.raises(OutputError, match="000001"):
        write(packets_of(noise(2)), folder / "000001.png")


def test_numbered_pictures_are_meant_by_a_pattern_alone(tmp_path: Path) -> None:
    assert split_output(tmp_path) is None
    assert split_output(tmp_path / "new" / "a_%04d.png") == (tmp_path / "new", "a_%04d.png")
    assert split_output(tmp_path / "new.mp4") is None
    assert split_output(tmp_path / "100%done.png") is None
    assert split_output(tmp_path / "a%d.mp4") is None
    with pytest.raises(OutputError, match="PNG"):
        split_output(tmp_path / "%04d.jpg")


def one_of_each() -> list[Image.Image]:
    """Return a picture of each kind that PNG has."""
    rng = np.random.default_rng(1)
    rgb, gray = rng.integers(0, 256, (24, 33, 3)), rng.integers(0, 256, (24, 33))
    color, gray8 = Image.fromarray(rgb.astype(np.uint8)), Image.fromarray(gray.astype(np.uint8))
    gray16 = Image.fromarray((gray * 257).astype(np.uint16))
    return [
        gray8,
        gray8.convert("LA"),
        gray8.convert("1"),
        color.quantize(200),
        color.quantize(4),
        gray16,
        color,
    ]


@pytest.mark.parametrize(
    ("suffix", "kinds"), [("png", range(7)), ("tif", (0, 1, 2, 3, 5)), ("bmp", (0, 2, 3, 4, 6))]
)
def test_pictures_of_all_kinds_are_read_exactly(suffix: str, kinds: Sequence[int], tmp_path: Path) -> None:
    pictures = one_of_each()
    for kind in kinds:
        folder = tmp_path / str(kind)
        folder.mkdir()
        pictures[kind].save(folder / f"1.{suffix}")
        check_pixels(folder, [pictures[kind]])


@pytest.mark.parametrize("first", range(7))
def test_the_kind_may_change_from_picture_to_picture(first: int, tmp_path: Path) -> None:
    """Programs that shrink PNG files store a grey frame as grey, and one of few colours with a palette."""
    pictures = one_of_each()
    pictures = [*pictures[first:], *pictures[:first]]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    check_pixels(tmp_path, pictures)


def check_pixels(folder: Path, pictures: Sequence[Image.Image]) -> None:
    """Check that frames hold the colours of pictures; those of 16 bits may become 8, and the reverse."""
    source = read_source(folder)
    assert (source.color.full_range, source.odd_colors) == (False, ())
    for frame, picture in zip(read_frames(source), pictures, strict=True):
        levels = (
            np.asarray(picture, float) / 257
            if picture.mode == "I;16"
            else np.asarray(picture.convert("RGB"), float)
        )
        levels = levels if levels.ndim == 3 else levels[..., None].repeat(3, axis=2)
        peak = np.iinfo(frame.data.numpy().dtype).max
        assert np.array_equal(frame.data.permute(1, 2, 0).numpy(), np.rint(levels * (peak / 255)))


def test_a_damaged_bmp_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.bmp").write_bytes(b"BM" + bytes(60))
    with pytest.raises(SourceError, match="BMP"):
        open_sequence(tmp_path)
