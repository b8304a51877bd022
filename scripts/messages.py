"""Write every message of the program into one file, so that its language can be read in one place.

    python -m scripts.messages            write tests/messages.txt
    python -m scripts.messages --check    fail if that file is not current

A message is a string of at least three words that is no docstring; values are shown as `{expression}`.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "messages.txt"
MIN_WORDS = 3


def messages(package: Path) -> str:
    """Return the messages of a package, by file, in the order of the code."""
    files = sorted(package.rglob("*.py"))
    found = {path: list(_in_module(ast.parse(path.read_text("utf-8")))) for path in files}
    return "\n".join(
        "\n".join([path.relative_to(package.parent).as_posix(), *(f"    {text}" for text in texts), ""])
        for path, texts in found.items()
        if texts
    )


def _in_module(tree: ast.AST) -> Iterator[str]:
    """Yield the messages below a node, without docstrings (expression statements) and quoted types."""
    annotations = [getattr(tree, name, None) for name in ("annotation", "returns")]
    for node in ast.iter_child_nodes(tree):
        if node in annotations or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        text = _template(node)
        if text is None:
            yield from _in_module(node)
        elif len(text.split()) >= MIN_WORDS:
            yield text.strip().replace("\n", "\\n")


def _template(node: ast.AST) -> str | None:
    """Return a string with expressions in place of values; None if the node is no string."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_template(value) or "" for value in values)
        case ast.FormattedValue(value=value):
            return f"{{{ast.unparse(value)}}}"
    return None


def main() -> None:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail if the file is not current")
    current = messages(ROOT / "vidx4")
    if not parser.parse_args().check:
        GOLDEN.write_text(current, "utf-8")
    elif GOLDEN.read_text("utf-8") != current:
        sys.exit(f"{GOLDEN.relative_to(ROOT)} is not current: run python -m scripts.messages")


if __name__ == "__main__":
    main()
