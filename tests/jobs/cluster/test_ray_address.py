"""A cluster that does not answer is reported, not waited for."""

import socket

import pytest

from vidx4.errors import OptionError

pytest.importorskip("ray")

from vidx4.jobs.cluster.ray_address import check_address


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def test_a_dead_address(closed_port: int) -> None:
    with pytest.raises(OptionError, match=f"127.0.0.1:{closed_port}"):
        check_address(f"ray://127.0.0.1:{closed_port}")


def test_a_dead_address_in_the_environment(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    with pytest.raises(OptionError, match=f":{closed_port}"):
        check_address("auto")


@pytest.mark.parametrize("address", ["ray://", "ray://host", "ray://127.0.0.1:99999999", "ray://[::1]:x"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(OptionError, match="does not answer"):
        check_address(address)
