"""What opening, renaming and removing files can do on this system."""

import os
import sys

BINARY: int = getattr(os, "O_BINARY", 0)
NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
"""Fail if the last part of the path is a link; 0 where the flag is missing, as are those below."""
NO_WAIT: int = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""Don't wait for the other end of a pipe, and take no terminal over."""
FOLDER: int | None = getattr(os, "O_DIRECTORY", None)
"""Open a folder; None where only files can be opened, as on Windows."""
FREES_OPEN_FILES: bool = sys.platform != "win32"
"""Whether a file that is open can be renamed, replaced and removed; Windows denies access."""
