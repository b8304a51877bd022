"""The records of a folder's outputs: what is damaged or made up counts as missing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.capabilities import needs_links, needs_open_files_to_go
from vidx4.errors import OutputError
from vidx4.jobs.folder.records import EARLIER_FILE, FILE, Record, Records

EARLIER = {"identity": {"seed": 1, "prompt": None}, "source": [1, 2], "output": [3, 4], "digest": "ab"}
RECORD = {**EARLIER, "name": "film_x4.mp4", "source_name": "film.mp4", "asked": "cd"}


def find(folder: Path, content: str) -> Record | None:
    (folder / FILE).write_text(content)
    return Records(folder).find(folder / "film_x4.mp4")


def line(**changes: Any) -> str:
    return json.dumps({**RECORD, **changes}) + "\n"


def test_the_last_record_counts(tmp_path: Path) -> None:
    found = find(tmp_path, line() + line(digest="ef") + line(name="other_x4.mp4"))
    assert found is not None
    assert (found.digest, found.source_name, found.asked) == ("ef", "film.mp4", "cd")
    outputs = Records(tmp_path).outputs_of("film.mp4")
    assert outputs == [tmp_path / "other_x4.mp4", tmp_path / "film_x4.mp4"]


def test_a_torn_line_and_those_of_other_versions_are_ignored(tmp_path: Path) -> None:
    other = json.dumps({"version": 9, "name": ["?"]}) + "\n"
    whole = line()
    assert find(tmp_path, other + whole + whole.replace("ab", "ef")[:-5]) is not None
    (tmp_path / "film_x4.mp4").write_text("a film")
    Records(tmp_path).add(tmp_path / "film_x4.mp4", tmp_path / FILE, {}, "new.mp4")
    found = Records(tmp_path).find(tmp_path / "film_x4.mp4")
    assert found is not None
    assert found.source_name == "new.mp4"


def test_records_of_earlier_versions_are_found(tmp_path: Path) -> None:
    (tmp_path / EARLIER_FILE).write_text(json.dumps({"film_x4.mp4": EARLIER}))
    assert Records(tmp_path).find(tmp_path / "film_x4.mp4") is not None


def test_two_batches_see_what_the_other_records(tmp_path: Path) -> None:
    (tmp_path / "film_x4.mp4").write_text("a film")
    one, other = Records(tmp_path), Records(tmp_path)
    one.open()
    other.open()
    for number in range(20):
        each = (one, other)[number % 2]
        each.add(tmp_path / "film_x4.mp4", tmp_path / FILE, {"number": number})
        found = (other, one)[number % 2].find(tmp_path / "film_x4.mp4")
        assert found is not None
        assert found.identity == {"number": number}


@needs_open_files_to_go
def test_records_that_count_no_more_are_removed(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(2000 * line() + line(name="other_x4.mp4"))
    earlier = Records(tmp_path)
    assert earlier.find(tmp_path / "film_x4.mp4") is not None
    Records(tmp_path).open()
    assert len((tmp_path / FILE).read_text().splitlines()) == 2
    (tmp_path / "film_x4.mp4").write_text("a film")
    earlier.add(tmp_path / "film_x4.mp4", tmp_path / FILE, {"seed": 7})  # not to the file that was replaced
    found = Records(tmp_path).find(tmp_path / "film_x4.mp4")
    assert found is not None
    assert found.identity == {"seed": 7}


def test_a_folder_in_the_place_of_records_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    for check in (Records(tmp_path).check, Records(tmp_path).open):
        with pytest.raises(OutputError, match=re.escape(FILE)):
            check()


@needs_links
def test_a_link_in_the_place_of_records_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="link"):
        Records(tmp_path / "out").open()
    assert not (tmp_path / "elsewhere").exists()


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
    assert find(tmp_path, line(**changes)) is None
    (tmp_path / EARLIER_FILE).write_text(json.dumps({"film_x4.mp4": {**EARLIER, **changes}}))
    assert find(tmp_path, "") is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        '{"name": ',
        '{"name": [], "source_name": 1}\n',
        "[" * 99_999,
        '{"a":' * 99_999,
        "9" * 9999,
    ],
)
def test_damaged_records_are_none(content: str, tmp_path: Path) -> None:
    assert find(tmp_path, content) is None
    (tmp_path / "film_x4.mp4").write_text("a film")
    Records(tmp_path).add(tmp_path / "film_x4.mp4", tmp_path / FILE, {})
    assert Records(tmp_path).find(tmp_path / "film_x4.mp4") is not None


@needs_links
def test_records_are_not_read_from_elsewhere(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "other.json").write_text(line())
    (out / FILE).symlink_to(tmp_path / "other.json")
    assert Records(out).find(out / "film_x4.mp4") is None
