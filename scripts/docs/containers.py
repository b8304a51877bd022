"""The table of what each container keeps, measured."""

import io
from contextlib import redirect_stdout

from scripts.stress import containers


def table() -> str:
    """Return the table in Markdown."""
    text = io.StringIO()
    with redirect_stdout(text):
        containers.table()
    return text.getvalue()
