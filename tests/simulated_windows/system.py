"""Take from this process what Windows does not have."""

import importlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import psutil

from tests.simulated_windows import files, msvcrt

LIBRARIES = "SIMULATED_WINDOWS_LIBRARIES"
"""Environment variable with the names of modules that look at the system when they are imported."""
_USUAL = "av cv2 numpy PIL.Image rich.progress safetensors.torch typer.core torch diffusers transformers"
_MODULES = frozenset({"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"})
_OF_OS = (
    *("chown", "fchmod", "fchown", "fork", "getegid", "geteuid", "getgid", "getpgid", "getuid", "killpg"),
    *("lchown", "mkfifo", "posix_fadvise", "pread", "preadv", "pwrite", "pwritev", "sched_getaffinity"),
    *("sched_getparam", "sched_getscheduler", "sched_setaffinity", "sched_setscheduler", "setsid", "statvfs"),
    *("sync", "uname", "O_CLOEXEC", "O_DIRECTORY", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC"),
)
_OF_SIGNAL = (
    *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1"),
    *("SIGUSR2", "alarm", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait", "siginterrupt"),
)


def simulate_windows() -> None:
    """Take them from this process, once the libraries are loaded, which have code for each system."""
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # type: ignore[assignment]
    for name in ("asyncio", "multiprocessing", "zoneinfo", *os.environ.get(LIBRARIES, _USUAL).split()):
        importlib.import_module(name)
    _replace_signals()
    _replace_processes()
    _keep_disk_usage()
    files.install()
    sys.modules["msvcrt"] = msvcrt
    for name in _OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in _MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Hidden())
    shutil._use_fd_functions = False  # type: ignore[attr-defined]
    io._WindowsConsoleIO = type("_WindowsConsoleIO", (io.RawIOBase,), {})  # type: ignore[attr-defined]
    sys.platform = "win32"


class _Hidden(MetaPathFinder):
    """Finds that modules of POSIX are not there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _MODULES:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


def _replace_signals() -> None:
    """Leave the signals that Windows has; SIGQUIT, which it lacks, stands for Ctrl-Break."""
    signal.SIGBREAK = signal.SIGQUIT  # type: ignore[attr-defined]
    for name in _OF_SIGNAL:
        delattr(signal, name)


def _replace_processes() -> None:
    """Give processes their handles as Windows does, and tell the peak of their memory."""
    start, facts = subprocess.Popen.__init__, psutil.Process.memory_info

    def started(self: Any, *args: Any, startupinfo: Any = None, **kwargs: Any) -> None:
        if {"preexec_fn", "pass_fds", "start_new_session"} & {key for key, value in kwargs.items() if value}:
            raise ValueError("Windows has no such way to start a process")
        handles = startupinfo.lpAttributeList["handle_list"] if startupinfo is not None else ()
        start(self, *args, pass_fds=handles, **kwargs)

    def told(self: psutil.Process) -> Any:
        found = facts(self)._asdict()
        return type("pmem", (), found | {"peak_wset": found["rss"]})

    subprocess.Popen.__init__ = started  # type: ignore[method-assign]
    subprocess.STARTUPINFO = _StartupInfo  # type: ignore[attr-defined]
    os.set_handle_inheritable = os.set_inheritable  # type: ignore[attr-defined]
    psutil.Process.memory_info = told  # type: ignore[method-assign]


def _keep_disk_usage() -> None:
    """Let `shutil` answer how full a disk is, which it asks Windows in another way."""
    ask = os.statvfs

    def disk_usage(path: Any) -> Any:
        found = ask(path)
        total, free = (found.f_frsize * each for each in (found.f_blocks, found.f_bavail))
        return shutil._ntuple_diskusage(total, total - free, free)

    shutil.disk_usage = disk_usage


class _StartupInfo:
    def __init__(self, *, lpAttributeList: dict[str, Any]) -> None:  # noqa: N803
        self.lpAttributeList = lpAttributeList
