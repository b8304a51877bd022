"""A Ray that is started here is for this user only."""

import os
import stat
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[client]'")

from vidx4.jobs.cluster.local_ray import MAX_FOLDER, private_ray


def test_its_files_are_closed_to_others_and_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(
        "tempfile.tempdir", str(tmp_path / ("long" * 20))
    )  # too long for the paths of sockets
    with private_ray() as options:
        folder = Path(options["_temp_dir"]).parent
        assert len(options["_temp_dir"]) <= MAX_FOLDER
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "ray").mkdir()
        (folder / "ray/log").write_text("text")
    assert not folder.exists()


def test_each_has_a_token_of_its_own_and_leaves_the_environment_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "mine")
    before, tokens = dict(os.environ), set()
    for _ in range(2):
        with private_ray() as options:
            assert (options["_node_ip_address"], options["include_dashboard"]) == ("127.0.0.1", False)
            assert "RAY_AUTH_MODE" not in os.environ  # Ray asks for a token unless it is told not to
            tokens.add(os.environ["RAY_AUTH_TOKEN"])
        assert dict(os.environ) == before
    assert len(tokens - {"mine"}) == 2
