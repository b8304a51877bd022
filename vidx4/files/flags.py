"""Flags of `os.open` that not every system has; 0 where one is missing."""

import os

BINARY: int = getattr(os, "O_BINARY", 0)
NO_FOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
"""Fail if the last part of the path is a link."""
NO_WAIT: int = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""Don't wait for the other end of a pipe, and take no terminal over."""
