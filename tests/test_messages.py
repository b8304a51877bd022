"""All messages stand in one file, where a change of wording is seen and reviewed."""

from pathlib import Path

from scripts.messages import GOLDEN, ROOT, messages


def test_the_golden_file_is_current() -> None:
    assert GOLDEN.read_text("utf-8") == messages(ROOT / "vidx4"), "run python -m scripts.messages"


def test_messages_are_found_and_docstrings_are_not(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "module.py").write_text(
        '"""A docstring of a module."""\n\n'
        "def check(path, size):\n"
        '    """A docstring of a function."""\n'
        '    raise ValueError(f"{path.name} is too large: " f"{size / 1e6:.1f} MB.")\n\n'
        'LABELS = {"a key": "two words"}\n'
    )
    assert messages(package) == "package/module.py\n    {path.name} is too large: {size / 1000000.0} MB.\n"
