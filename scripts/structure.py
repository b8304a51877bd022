"""Count what the layout of the code promises: `python -m scripts.structure` fails if a promise is broken.

Rooms are the files of a folder and its sub-folders, each sub-folder one room. An arrow is a room that imports
another, counted once however many imports there are. `__init__` files are ignored.
"""

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import grimp

PACKAGE = "vidx4"
MAX_ARROWS = {"vidx4.media": 99, "vidx4.jobs": 116}
MAX_FUNCTION_LINES = 40
COMMAND_LINE = "cli"
MAX_COMMAND_LINE_LINES = 1800
NUM_SHOWN = 5
"""Functions and files that are listed."""

Arrow = tuple[str, str]


@dataclass(frozen=True)
class Folder:
    """The rooms of a package, and which of them import which."""

    name: str
    """Dotted name of the package."""
    files: frozenset[str]
    """Rooms that are files."""
    sub_folders: frozenset[str]
    """Rooms that are packages."""
    arrows: frozenset[Arrow]

    @property
    def upward(self) -> list[Arrow]:
        """Arrows from a sub-folder to a file of the folder above it."""
        return sorted((a, b) for a, b in self.arrows if a in self.sub_folders and b in self.files)

    @cached_property
    def circles(self) -> list[list[str]]:
        """Rooms that import each other, directly or by way of others."""
        reached = {room: self._reached(room) for room in self.files | self.sub_folders}
        circles = {
            frozenset(other for other in reached[room] if room in reached[other])
            for room in reached
            if room in reached[room]
        }
        return sorted(map(sorted, circles))

    def _reached(self, room: str) -> set[str]:
        """Return the rooms that a room imports, directly or by way of others."""
        reached: set[str] = set()
        waiting = [room]
        while waiting:
            last = waiting.pop()
            new = {b for a, b in self.arrows if a == last} - reached
            reached |= new
            waiting += new
        return reached


@dataclass(frozen=True)
class Function:
    """A function and its length."""

    name: str
    """File and name, as in `cli/options.py:parse`."""
    num_lines: int
    """Lines from `def` to the end, without the docstring."""


def read_folders(package: str) -> list[Folder]:
    """Return a package and all packages inside it."""
    graph = grimp.build_graph(package, cache_dir=None)
    packages = [module for module in sorted(graph.modules) if graph.find_children(module)]
    return [_folder(graph, name, frozenset(packages)) for name in packages]


def _folder(graph: grimp.ImportGraph, name: str, packages: frozenset[str]) -> Folder:
    depth = name.count(".") + 1
    inside = graph.find_descendants(name) - packages
    arrows = {
        (importer.split(".")[depth], imported.split(".")[depth])
        for importer in inside
        for imported in graph.find_modules_directly_imported_by(importer) & inside
    }
    children = graph.find_children(name)
    return Folder(
        name,
        files=frozenset(child.split(".")[depth] for child in children - packages),
        sub_folders=frozenset(child.split(".")[depth] for child in children & packages),
        arrows=frozenset((a, b) for a, b in arrows if a != b),
    )


def read_functions(root: Path) -> list[Function]:
    """Return all functions below a folder, the longest first."""
    functions = [each for path in root.rglob("*.py") for each in _functions(path, root)]
    return sorted(functions, key=lambda function: (-function.num_lines, function.name))


def _functions(path: Path, root: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            num_lines = node.end_lineno - node.lineno + 1 - _docstring_lines(node)
            yield Function(f"{path.relative_to(root).as_posix()}:{node.name}", num_lines)


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None or first.end_lineno is None:
        return 0
    return first.end_lineno - first.lineno + 1


def count_lines(root: Path) -> dict[str, int]:
    """Return the number of lines of all files below a folder, the largest first."""
    lines = {
        path.relative_to(root).as_posix(): len(path.read_text().splitlines()) for path in root.rglob("*.py")
    }
    return dict(sorted(lines.items(), key=lambda item: (-item[1], item[0])))


def broken_promises(folders: Sequence[Folder], functions: Sequence[Function], root: Path) -> list[str]:
    """Return a sentence for each promise that is broken."""
    sentences = [
        f"{folder.name}: {', '.join(circle)} import each other."
        for folder in folders
        for circle in folder.circles
    ]
    sentences += [
        f"{folder.name} has {len(folder.arrows)} arrows; {MAX_ARROWS[folder.name]} are allowed."
        for folder in folders
        if len(folder.arrows) > MAX_ARROWS.get(folder.name, sys.maxsize)
    ]
    sentences += [
        f"{function.name} has {function.num_lines} lines; {MAX_FUNCTION_LINES} are allowed."
        for function in functions
        if function.num_lines > MAX_FUNCTION_LINES
    ]
    if (num_lines := sum(count_lines(root / COMMAND_LINE).values())) > MAX_COMMAND_LINE_LINES:
        sentences.append(
            f"{COMMAND_LINE} has {num_lines} lines in all; {MAX_COMMAND_LINE_LINES} are allowed."
        )
    return sentences


def main() -> None:
    """Print the numbers; exit with 1 if a promise is broken."""
    root = Path(__file__).parents[1] / PACKAGE
    folders, functions = read_folders(PACKAGE), read_functions(root)
    _print_folders(folders)
    _print_longest("longest functions", {each.name: each.num_lines for each in functions})
    _print_longest("largest files", count_lines(root))
    _print_longest(
        "lines of folders",
        {path.name: sum(count_lines(path).values()) for path in sorted(root.iterdir()) if path.is_dir()},
    )
    broken = broken_promises(folders, functions, root)
    print("\n" + ("\n".join(broken) or "All promises are kept."))
    sys.exit(bool(broken))


def _print_folders(folders: Sequence[Folder]) -> None:
    columns: dict[str, Callable[[Folder], object]] = {
        "rooms": lambda folder: len(folder.files | folder.sub_folders),
        "arrows": lambda folder: len(folder.arrows),
        "allowed": lambda folder: MAX_ARROWS.get(folder.name, ""),
        "circles": lambda folder: len(folder.circles),
        # The files of the root are the nouns that everything else stands on.
        "upward": lambda folder: len(folder.upward) if "." in folder.name else "",
    }
    print(f"{'folder':24}" + "".join(f"{heading:>9}" for heading in columns))
    for folder in folders:
        print(f"{folder.name:24}" + "".join(f"{column(folder):>9}" for column in columns.values()))


def _print_longest(heading: str, lines: dict[str, int]) -> None:
    print(f"\n{heading:60}{'lines':>9}")
    for name, num_lines in islice(lines.items(), NUM_SHOWN):
        print(f"{name:60}{num_lines:>9}")


if __name__ == "__main__":
    main()
