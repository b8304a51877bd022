"""The layout of the code keeps its promises, and the functions that count them see what breaks them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import structure
from scripts.structure import Folder, broken_promises, count_lines, read_folders, read_functions

ROOT = Path(__file__).parents[1] / structure.PACKAGE


@pytest.fixture(scope="module")
def folders() -> list[Folder]:
    return read_folders(structure.PACKAGE)


def test_no_rooms_import_each_other(folders: list[Folder]) -> None:
    assert {folder.name: folder.circles for folder in folders if folder.circles} == {}


@pytest.mark.parametrize("name", structure.MAX_ARROWS)
def test_folders_have_few_arrows(name: str, folders: list[Folder]) -> None:
    folder = next(folder for folder in folders if folder.name == name)
    assert len(folder.arrows) <= structure.MAX_ARROWS[name]


def test_no_function_is_long() -> None:
    longest = read_functions(ROOT)[0]
    assert longest.num_lines <= structure.MAX_FUNCTION_LINES, longest.name


def test_the_command_line_is_small() -> None:
    num_lines = sum(count_lines(ROOT / structure.COMMAND_LINE).values())
    assert num_lines <= structure.MAX_COMMAND_LINE_LINES


SHORT_AND_LONG = '''
def short():
    """Have a docstring
    of two lines."""
    return 1


async def long():
    x = 1

    return x
'''

MakePackage = Callable[[dict[str, str]], Path]


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePackage:
    """Return a function that writes the package `small` and returns its folder."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "small" / name
            for folder in (path.parent, tmp_path / "small"):
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "__init__.py").touch()
            path.write_text(text)
        return tmp_path / "small"

    return make


def test_an_arrow_counts_once(make_package: MakePackage) -> None:
    make_package(
        {
            "a.py": "import small.b\nfrom small.b import x\nfrom small.sub import c, d\n",
            "b.py": "x = 1\n",
            "sub/c.py": "import small.sub.d\n",
            "sub/d.py": "import small.b\n",
            "sub/__init__.py": "import small.a\n",
        }
    )
    root, sub = read_folders("small")
    assert root.files == {"a", "b"}
    assert root.sub_folders == {"sub"}
    assert root.arrows == {("a", "b"), ("a", "sub"), ("sub", "b")}
    assert root.upward == [("sub", "b")]
    assert sub.arrows == {("c", "d")}
    assert root.circles == sub.circles == []


def test_circles_are_found(make_package: MakePackage) -> None:
    root = make_package(
        {
            "a.py": "import small.b\n",
            "b.py": "def later():\n    import small.c\n",
            "c.py": "import small.a\n",
            "d.py": "import small.a\nimport small.sub.e\n",
            "sub/e.py": "import small.d\n",
        }
    )
    folders = read_folders("small")
    assert folders[0].circles == [["a", "b", "c"], ["d", "sub"]]
    (root / "cli").mkdir()
    broken = broken_promises(folders, [], root)
    assert len(broken) == 2
    assert "a, b, c" in broken[0]


def test_broken_limits_are_named(make_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_package(
        {
            "a.py": "import small.b\n",
            "b.py": SHORT_AND_LONG,
            "cli/c.py": "x = 1\ny = 2\n",
        }
    )
    folders, functions = read_folders("small"), read_functions(root)
    assert [(each.name, each.num_lines) for each in functions] == [("b.py:long", 4), ("b.py:short", 2)]
    assert count_lines(root / "cli") == {"c.py": 2, "__init__.py": 0}
    assert broken_promises(folders, functions, root) == []
    monkeypatch.setattr(structure, "MAX_ARROWS", {"small": 0})
    monkeypatch.setattr(structure, "MAX_FUNCTION_LINES", 3)
    monkeypatch.setattr(structure, "MAX_COMMAND_LINE_LINES", 1)
    arrows, function, lines = broken_promises(folders, functions, root)
    assert "small has 1" in arrows
    assert function.startswith("b.py:long has 4")
    assert lines.startswith("cli has 2")
