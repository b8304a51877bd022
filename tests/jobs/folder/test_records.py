"""The records of a folder's outputs: what is damaged or made up counts as missing."""

import json
from pathlib import Path
from typing import Any

import pytest

from vidx4.jobs.folder.records import FILE, Records

RECORD = {"identity": {"seed": 1, "prompt": None}, "source": [1, 2], "output": [3, 4], "digest": "ab"}


def find(folder: Path, content: str) -> object:
    (folder / FILE).write_text(content)
    return Records(folder).find(folder / "film_x4.mp4")


def test_a_record_is_found(tmp_path: Path) -> None:
    assert find(tmp_path, json.dumps({"film_x4.mp4": RECORD})) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"identity": [1]},
        {"identity": {"seed": [[]]}},
        {"identity": {"seed": float("nan")}},
        {"identity": {"seed": 10**300}},
        {"identity": {"seed": "long" * 99_999}},
        {"source": None},
        {"source": "ab"},
        {"source": [1]},
        {"source": [1, 2, 3]},
        {"output": [1.5, float("inf")]},
        {"output": {"0": 1}},
        {"digest": 5},
        {"digest": None},
    ],
)
def test_a_record_of_other_types_is_none(changes: dict[str, Any], tmp_path: Path) -> None:
    assert find(tmp_path, json.dumps({"film_x4.mp4": {**RECORD, **changes}})) is None


@pytest.mark.parametrize(
    "content",
    ["", "[]", "5", '{"film_x4.mp4": ', '{"film_x4.mp4": []}', "[" * 99_999, '{"a":' * 99_999, "9" * 9999],
)
def test_damaged_records_are_none(content: str, tmp_path: Path) -> None:
    assert find(tmp_path, content) is None
    (tmp_path / "film_x4.mp4").write_text("a film")
    Records(tmp_path).add(tmp_path / "film_x4.mp4", tmp_path / FILE, {})
    assert Records(tmp_path).find(tmp_path / "film_x4.mp4") is not None


def test_records_are_not_read_from_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "other.json").write_text(json.dumps({"film_x4.mp4": RECORD}))
    (out / FILE).symlink_to(tmp_path / "other.json")
    assert Records(out).find(out / "film_x4.mp4") is None
