import pytest

from vidx4.media.formats.languages import is_same_language, written_language


@pytest.mark.parametrize(
    ("given", "mp4", "mov", "mpegts"),
    [
        ("eng", "eng", "eng", "eng"),
        ("en", "eng", "eng", "eng"),
        ("ENG", "eng", "eng", "eng"),
        ("de-DE", "deu", "ger", "deu"),
        ("pt_BR", "por", "por", "por"),
        ("Swedish", "swe", "sve", "swe"),
        ("eng,deu", "eng", "eng", "eng,deu"),
        ("hr ", "hrv", "hr ", "hrv"),
        ("mumbling", "", "", ""),
        ("日本語", "", "", ""),
        ("", "", "", ""),
    ],
)
def test_each_container_has_its_names(given: str, mp4: str, mov: str, mpegts: str) -> None:
    assert written_language(given, "mp4") == mp4
    assert written_language(given, "mov") == mov
    assert written_language(given, "mpegts") == mpegts


@pytest.mark.parametrize("language", ["en", "ENG", "de-DE", "mumbling"])
def test_matroska_takes_any_name(language: str) -> None:
    assert written_language(language, "matroska") == language


@pytest.mark.parametrize(
    ("given", "written", "is_same"),
    [
        ("en", "eng", True),
        ("deu", "ger", True),
        ("en,de", "eng,deu", True),
        ("eng,deu", "eng", False),
        ("deu,eng", "ger", False),
        ("de-DE", "deu", False),
        ("mumbling", "", False),
    ],
)
def test_what_is_lost(given: str, written: str, is_same: bool) -> None:
    assert is_same_language(given, written) == is_same
