"""Nothing listens on an address that other machines reach, and nothing connects anywhere."""

import json
import os
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from tests.conftest import MakeVideo

FAST = ("--encoder-preset", "ultrafast", "--device", "cpu", "--model", "compact")
HOOKED = """
import json, sys

log, commands = open(sys.argv[1], "a", buffering=1), json.loads(sys.argv[2])

def hook(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"):
        print(event, *map(repr, arguments[-1:] if event != "socket.getaddrinfo" else arguments), file=log)

sys.addaudithook(hook)
from vidx4.cli.commands import main

for command in commands:
    sys.argv = ["vidx4", *command]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (command, end.code)
"""
"""Runs commands, and notes which sockets Python uses."""


def addresses(process: psutil.Process) -> set[str]:
    """Return the addresses at which a process and those that it started listen, and those they talk to."""
    found = set()
    for each in [process, *process.children(recursive=True)]:
        try:
            connections = each.net_connections(kind="inet")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        for one in connections:
            found |= {address.ip for address in (one.laddr, one.raddr) if address}
    return found


def is_loopback(address: str) -> bool:
    parsed = ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


def watched(commands: list[list[str]], folder: Path) -> tuple[str, set[str]]:
    """Run commands; return what Python did with sockets, and the addresses that the system knew meanwhile.

    When it is imported, urllib3 finds out whether this machine knows IPv6: it binds a socket to ::1.
    """
    log, seen = folder / "sockets.log", set()
    with subprocess.Popen(
        [sys.executable, "-c", HOOKED, str(log), json.dumps(commands)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None:
            try:
                seen |= addresses(psutil.Process(process.pid))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.05)
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    lines = log.read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line != "socket.bind ('::1', 0)\n"), seen


@pytest.mark.slow
def test_no_command_opens_a_socket(make_video: MakeVideo, tmp_path: Path) -> None:
    source, output = str(make_video(num_frames=2)), str(tmp_path / "out.mkv")
    (tmp_path / "folder").mkdir()
    os.link(source, tmp_path / "folder/a.mp4")
    commands = [
        ["doctor"],
        ["models"],
        ["probe", source],
        ["upscale", source, output, *FAST],
        ["verify", source, output],
        ["preview", source, str(tmp_path / "preview.mp4"), *FAST],
        ["batch", str(tmp_path / "folder"), str(tmp_path / "results"), "--settled-after", "0", *FAST],
    ]
    assert watched(commands, tmp_path) == ("", set())


@pytest.mark.slow
def test_a_model_in_a_folder_opens_no_socket(
    make_video: MakeVideo, tiny_folder: Path, tmp_path: Path
) -> None:
    source = str(make_video(num_frames=1, width=16, height=16))
    command = ["upscale", source, str(tmp_path / "out.mkv"), *FAST[:-1], str(tiny_folder), "--steps", "1"]
    assert watched([command], tmp_path) == ("", set())


@pytest.mark.ray
@pytest.mark.slow
def test_a_local_cluster_stays_on_this_machine(make_video: MakeVideo, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    command = ["upscale", str(make_video(num_frames=2)), str(tmp_path / "out.mkv"), *FAST]
    _, seen = watched([[*command, "--cluster", "local", "--workers", "1"]], tmp_path)
    assert seen
    assert not [each for each in seen if not is_loopback(each)]
