"""Marks for tests that need what not every system has; each is found out by what the system can do."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest


def _can_link() -> bool:
    """Return whether links can be made, which needs a privilege on Windows."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            Path(folder, "link").symlink_to("nowhere")
        except (OSError, NotImplementedError):
            return False
    return True


def _keeps_permissions() -> bool:
    """Return whether files can be closed to their owner's group and to others."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.touch()
        path.chmod(0o600)
        return path.stat().st_mode & 0o777 == 0o600


def _ignores_case() -> bool:
    """Return whether names that differ in case are the same to the file system of temporary files."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "name").touch()
        return Path(folder, "NAME").exists()


def known_signals(*names: str) -> list[signal.Signals]:
    """Return the signals with these names that the system has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


CAN_LINK = _can_link()
TAKES_ANY_NAME = sys.platform != "win32"
"""Whether a name may hold everything but a slash."""
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

needs_links = pytest.mark.skipif(not CAN_LINK, reason="needs symbolic links")
needs_any_name = pytest.mark.skipif(not TAKES_ANY_NAME, reason="needs a name that Windows refuses")
needs_clusters = pytest.mark.skipif(sys.platform == "win32", reason="Ray is not used on Windows")
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
needs_permissions = pytest.mark.skipif(not _keeps_permissions(), reason="needs permissions of files")
needs_case = pytest.mark.skipif(_ignores_case(), reason="needs names that differ in case only")
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
needs_user = pytest.mark.skipif(IS_ROOT, reason="root may do anything")
needs_folder_descriptors = pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="needs `dir_fd`")
needs_signals = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs the signals of POSIX")
needs_open_files_to_go = pytest.mark.skipif(
    not hasattr(os, "O_DIRECTORY"), reason="needs to rename and remove files that are open"
)
needs_shell = pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs a shell of POSIX")
needs_proc = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
