"""A Ray of this machine alone: nobody but its user can reach it, neither by the network nor by files."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

LOOPBACK = "127.0.0.1"
MAX_FOLDER = 40
"""Longest path of a folder for temporary files, in bytes: Ray's sockets lie 64 bytes deeper, and the system
allows 107 (103 on macOS)."""
_CLUSTERS = "ENABLE_RAY_CLUSTER"
_CLUSTERS_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextmanager
def private_ray() -> Iterator[dict[str, Any]]:
    """Give the options for `ray.init` to start a Ray that only this user on this machine can reach.

    It listens on the loopback interface, asks for a token that is made for this run, has no dashboard, and
    keeps its files in a folder that is closed to others, and removed at the end.
    """
    with _private_folder() as folder, _own_token(), _without_clusters(), _without_questions(folder):
        yield {"_node_ip_address": LOOPBACK, "_temp_dir": str(folder / "ray"), "include_dashboard": False}


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Give a folder that only this user can enter; what Ray makes in it is open to all."""
    usual = tempfile.gettempdir()
    base = usual if len(os.fsencode(usual)) + len("/vidx4-12345678/ray") <= MAX_FOLDER else "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="vidx4-", dir=base))
    try:
        yield folder
    finally:
        # Processes that are about to end may still write.
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_token() -> Iterator[None]:
    """Have Ray ask for a token of this run, as every version does that knows tokens and isn't told not to."""
    token = {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with _environment(token, without=("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")):
        _forget_token()
        yield
    _forget_token()


def _forget_token() -> None:
    """Have Ray read its settings and its token again, which it does once for a process."""
    if config := getattr(ray._raylet, "Config", None):
        config.initialize("")
    if loader := getattr(ray._raylet, "AuthenticationTokenLoader", None):
        loader.instance().reset_cache()


@contextmanager
def _without_clusters() -> Iterator[None]:
    """Have Ray listen where it is told: otherwise it replaces the loopback address by one for other machines.

    On macOS and Windows, it is always like this.
    """
    constants = ray._private.ray_constants
    before = getattr(constants, _CLUSTERS, None)
    setattr(constants, _CLUSTERS, False)
    try:
        with _environment({_CLUSTERS_VARIABLE: "0"}):
            yield
    finally:
        setattr(constants, _CLUSTERS, before)


@contextmanager
def _without_questions(folder: Path) -> Iterator[None]:
    """Keep Ray from asking the network which cloud it is in.

    The process that could report to its makers asks even if it is told to report nothing, unless there is a
    file of settings in its home.
    """
    (folder / "ray_bootstrap_config.yaml").write_text("{}", encoding="utf-8")
    services = ray._private.services
    start = services.start_ray_process

    def started(command: Any, process_type: str, *args: Any, **kwargs: Any) -> Any:
        if process_type == ray._private.ray_constants.PROCESS_TYPE_DASHBOARD:
            kwargs["env_updates"] = {**(kwargs.get("env_updates") or {}), "HOME": str(folder)}
        return start(command, process_type, *args, **kwargs)

    setattr(services, start.__name__, started)
    try:
        yield
    finally:
        setattr(services, start.__name__, start)


@contextmanager
def _environment(values: Mapping[str, str], without: tuple[str, ...] = ()) -> Iterator[None]:
    """Set environment variables, which processes that Ray starts inherit, and remove others."""
    before = {name: os.environ.get(name) for name in (*values, *without)}
    for name in without:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
