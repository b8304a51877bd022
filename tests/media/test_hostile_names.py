"""Names and contents by which FFmpeg would open something else than the file."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.capabilities import needs_links, needs_pipes
from tests.helpers import nearest, read_all
from tests.video_builder import frames, scene, write
from vidx4.errors import SourceError
from vidx4.media.container import open_part, open_source
from vidx4.media.encode import encode_part
from vidx4.media.formats.demuxers import reading_options
from vidx4.media.mux import join
from vidx4.media.output import plan_output
from vidx4.media.pictures.png16 import encode_png
from vidx4.media.probe import probe
from vidx4.media.source import read_source

NAMES = (
    *("tcp:127.0.0.1:{port}.mp4", "udp:127.0.0.1:{port}", "file:x.mp4", "pipe:1", "fd:0", "data:x.mp4"),
    *("concat:a.mp4|a.mp4", "subfile,,start,0,end,9,,:a.mp4", "-", "film%03d.mp4", "%d.mp4", "a*.mp4"),
)
PICTURES = ("%d.png", "dir%d/film.png", "private%*.png", "a{b,c}.png", "%%.png")
CONTENTS = {
    "hls": "\n\n#EXTM3U\n#EXTINF:1,\n{url}\n",
    "concat": "# a comment\nffconcat version 1.0\nfile '{url}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "dash": "  <?xml version='1.0'?><MPD><Period><AdaptationSet><Representation id='1'>"
    "<BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "vobsub": "# VobSub index file, v7 (do not modify this line!)\nsize: 720x576\n",
    "text": "hello\n",
}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


def is_untouched(listener: socket.socket) -> bool:
    """Return whether nobody has connected."""
    with pytest.raises(BlockingIOError):
        listener.accept()
    return True


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write(tmp_path / "film.mp4", frames(scene(3)), num_audio=0)


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_only_a_name(
    name: str, film: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(film.parent)
    named = Path(name.format(port=listener.getsockname()[1]))
    film.rename(named)
    source = probe(named)
    assert (source.container.split(",")[0], source.num_frames) == ("mov", 3)
    assert is_untouched(listener)


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such names")
def test_a_name_need_not_be_text(film: Path) -> None:
    named = film.with_name(os.fsdecode(b"\xff\xfe.mp4"))
    try:
        film.rename(named)
    except OSError:
        pytest.skip("this file system has no such names")
    assert probe(named).num_frames == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_no_pattern(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(encode_png(np.zeros((8, 16, 3), np.uint16)))
    for number in range(3):  # what the name would mean as a pattern
        other = tmp_path / name.replace("%d", str(number)).replace("%%", "%")
        other.parent.mkdir(exist_ok=True)
        if other != path:
            other.write_bytes(b"another")
    assert (probe(path).width, probe(path).num_frames) == (16, 1)


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents_open_nothing_else(kind: str, tmp_path: Path, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    path = tmp_path / "film.mp4"
    path.write_text(CONTENTS[kind].format(url=f"http://127.0.0.1:{port}/x.mp4", port=port))
    with pytest.raises(SourceError, match=r"film\.mp4 "):
        open_source(path)
    assert is_untouched(listener)


def test_files_beside_a_recording_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "film.mlv"
    path.write_bytes(b"MLVI" + struct.pack("<I8s", 52, b"v2.0") + bytes(36))
    with pytest.raises(SourceError, match=r"film\.mlv is a raw recording of Magic Lantern"):
        probe(path)
    with pytest.raises(av.FFmpegError):  # nor does FFmpeg recognise it, wherever it begins
        av.open(path, container_options=reading_options())
    assert "mlv" not in reading_options()["format_whitelist"].split(",")


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
@pytest.mark.parametrize("name", ["film.y", "film.Y", ".y", ".Y", "..y"])
def test_a_plane_is_no_video(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(bytes(100))
    with pytest.raises(SourceError, match=f"{name} holds one plane of a picture"):
        probe(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
def test_an_output_is_only_a_name(film: Path, listener: socket.socket) -> None:
    source = read_source(film)
    folder = film.parent / f"tcp:127.0.0.1:{listener.getsockname()[1]}"
    folder.mkdir()
    output = plan_output(source, folder / f"{folder.name}%d.mp4")
    part = folder / folder.name
    encode_part(part, [nearest(read_all(source))], source, output.target)
    join([part], output)
    assert probe(output.path).num_frames == 3
    assert is_untouched(listener)


def test_a_part_is_what_vidx4_writes(film: Path) -> None:
    with pytest.raises(SourceError, match=r"film\.mp4 is damaged or was not written by vidx4"):
        open_part(film, "nut")
    planted = film.with_name("part")
    planted.write_text("#EXTM3U\nfilm.mp4\n")
    with pytest.raises(SourceError, match="part is a list of other files"):
        open_part(planted, "nut")


@needs_links
@needs_pipes
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "film.mp4")
    (tmp_path / "link.mp4").symlink_to("film.mp4")
    for name in ("film.mp4", "link.mp4"):
        with pytest.raises(SourceError, match=f"{name} is not a file"):
            probe(tmp_path / name)


@needs_pipes
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp"])
def test_a_numbered_pipe_is_not_waited_for(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"1{suffix}")
    with pytest.raises(SourceError, match=f"1{suffix} "):
        probe(tmp_path)


def test_a_part_of_another_film_is_refused(film: Path) -> None:
    source = read_source(film)
    longer = read_source(write(film.with_name("longer.mp4"), frames(scene(5)), num_audio=0))
    output = plan_output(source, film.with_name("out.mp4"))
    part = film.with_name("part")
    encode_part(part, [nearest(read_all(longer))], longer, output.target)
    with pytest.raises(SourceError, match=r"a frame that is not in .*film\.mp4: delete the folder of parts"):
        join([part], output)
    assert not output.path.exists()
