"""What Windows lacks and refuses, for processes that run on a POSIX system.

It hides modules, functions, flags and signals, and has files behave as they do there: none that is open can
be renamed, replaced or removed, folders can't be opened, links need a privilege. How paths are written is not
simulated: that is tested where it is decided.
"""

import os
import sys
from pathlib import Path

_HERE = Path(__file__).parent
CTRL_BREAK = 3
"""The number of the signal that stands for Ctrl-Break: SIGQUIT."""


def environment(**others: str) -> dict[str, str]:
    """Return the environment of a process in which Windows is simulated, with a console of the West."""
    places = [str(_HERE / "site"), str(_HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    text = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**os.environ, **text, "PYTHONPATH": os.pathsep.join(places), **others}


def command(*arguments: object) -> list[str]:
    """Return what runs vidx4 in such a process."""
    return [sys.executable, "-m", "vidx4", *map(str, arguments)]
