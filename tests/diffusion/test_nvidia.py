"""What the driver of NVIDIA cards says is understood, and it may say nothing."""

import stat
import sys
from pathlib import Path

import pytest

from vidx4.diffusion import nvidia
from vidx4.diffusion.nvidia import NvidiaCard, nvidia_cards

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a program is a script here")


@pytest.fixture(autouse=True)
def _nothing_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(nvidia, "_PROC", tmp_path / "gpus")
    nvidia_cards.cache_clear()


def smi(folder: Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_machine_without_a_driver_has_no_cards() -> None:
    assert list(nvidia_cards()) == []


def test_the_driver_is_asked(tmp_path: Path) -> None:
    smi(tmp_path, "echo 'NVIDIA GeForce RTX 3060, 580.10, 8.6'; echo 'Tesla T4, 580.10, 7.5'")
    first = NvidiaCard("NVIDIA GeForce RTX 3060", "580.10", "8.6")
    assert list(nvidia_cards()) == [first, NvidiaCard("Tesla T4", "580.10", "7.5")]


def test_a_card_is_described_by_what_is_known() -> None:
    assert str(NvidiaCard("Tesla T4", "580.10", "7.5")) == "Tesla T4, compute capability 7.5, driver 580.10"
    assert str(NvidiaCard("NVIDIA A10")) == "NVIDIA A10"


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'"])
def test_a_driver_that_fails_has_no_cards(script: str, tmp_path: Path) -> None:
    smi(tmp_path, script)
    assert list(nvidia_cards()) == []


def test_a_container_without_the_program_lists_its_cards(tmp_path: Path) -> None:
    information = tmp_path / "gpus" / "0000:01:00.0" / "information"
    information.parent.mkdir(parents=True)
    information.write_text("Model: \t\t NVIDIA A10\nIRQ:   \t\t 92\n")
    assert list(nvidia_cards()) == [NvidiaCard("NVIDIA A10")]
