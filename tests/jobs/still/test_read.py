"""The limits of what is read: threads share Pillow's switches, so none is moved while work runs."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from vidx4.errors import SourceError
from vidx4.jobs.still import read as read_module
from vidx4.jobs.still.read import is_picture, read_enlarged, read_picture, stored_size

# pytest replaces the filters of warnings, among them the one that `read.py` sets when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def bomb(path: Path, width: int, height: int) -> Path:
    """Write a PNG file that says how large it is and holds no pixels."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(b""), b"IEND")
    parts = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def small(path: Path) -> Path:
    Image.new("RGB", (12, 8), "red").save(path)
    return path


@pytest.mark.parametrize("side", [13378, 53508, 53510, 100_000])
def test_a_picture_that_is_far_too_large_is_refused(side: int, tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.png", side, side)
    assert is_picture(path)
    with pytest.raises(SourceError, match=r"bomb\.png.*too large"):
        read_picture(path)


def test_a_picture_that_is_merely_large_is_not(tmp_path: Path) -> None:
    """It is damaged, which shows only after its size was found to be right."""
    with pytest.raises(SourceError, match=r"^(?!.*too large)"):
        read_picture(bomb(tmp_path / "large.png", 13377, 13377))


def test_the_copy_of_the_largest_source_is_admitted(tmp_path: Path) -> None:
    path = bomb(tmp_path / "copy.png", 4 * 13377, 4 * 13377)
    assert stored_size(path) == (4 * 13377, 4 * 13377)
    with pytest.raises(SourceError, match="too large"):
        read_enlarged(bomb(path, 4 * 13377 + 100, 4 * 13377), (13377, 13377))


def test_threads_move_no_switch_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every copy is read beside others, and no source is let through meanwhile."""
    monkeypatch.setattr(read_module, "MAX_PIXELS", 90)
    path, limit, filters = small(tmp_path / "a.png"), Image.MAX_IMAGE_PIXELS, list(warnings.filters)

    def read(_: int) -> None:
        assert is_picture(path)
        assert read_enlarged(path, (3, 2)).size == (12, 8)
        with pytest.raises(SourceError, match="too large"):
            read_picture(path)
        assert limit == Image.MAX_IMAGE_PIXELS
        assert list(warnings.filters) == filters

    with ThreadPoolExecutor(max_workers=4) as threads:
        assert list(threads.map(read, range(400))) == [None] * 400
