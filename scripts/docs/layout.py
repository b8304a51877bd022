"""The files of the package, each with the first line of its docstring."""

import ast
from pathlib import Path

from scripts.docs.markdown import cell, code, table

PACKAGE = Path(__file__).parents[2] / "vidx4"


def files() -> str:
    """Return a table for each folder in Markdown."""
    folders = sorted({path.parent for path in PACKAGE.rglob("*.py")})
    return "\n\n".join(_folder(folder) for folder in folders)


def _folder(folder: Path) -> str:
    rows = [
        (code(path.name), cell(text)) for path in sorted(folder.glob("*.py")) if (text := _first_line(path))
    ]
    name = folder.relative_to(PACKAGE.parent).as_posix()
    return f"### `{name}/`\n\n{table(('File', 'What it does'), rows)}"


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.partition("\n")[0]
