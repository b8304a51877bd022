"""The files of a model that is sent arrive whole, and nobody else can put others in their place."""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.capabilities import needs_links
from tests.community import save_network
from tests.jobs.cluster.test_backend import STORE
from vidx4.diffusion.models.known import COMPACT_FOLDER
from vidx4.diffusion.models.registry import load
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import ModelError
from vidx4.jobs.cluster.model_files import ModelFiles, Models, received


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"vidx4-{os.getuid()}"


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    folder = shutil.copytree(COMPACT_FOLDER, tmp_path / "model")
    options = UpscaleOptions(model=str(folder), device="cpu", dtype="float32")
    return Models("cpu", STORE, sends=True).spec(options).files


def test_what_was_sent_is_used_again(cache: Path, files: ModelFiles) -> None:
    folder = received(files, STORE)
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    before = weights.stat()
    assert received(files, STORE) == folder
    assert weights.stat() == before
    assert load("sent", torch.device("cpu"), torch.float32, path=folder).name == "sent"


@needs_links
@pytest.mark.parametrize("damage", ["changed", "lacking", "more", "link"])
def test_what_is_not_what_was_sent_is_replaced(cache: Path, files: ModelFiles, damage: str) -> None:
    config = received(files, STORE) / "unet/config.json"
    before = config.read_bytes()
    match damage:
        case "changed":
            config.write_text("{}")
        case "lacking":
            config.unlink()
        case "more":
            (config.parent / "model.safetensors").write_bytes(b"")
        case "link":
            shutil.move(config.parents[1], cache / "elsewhere")
            config.parents[1].symlink_to(cache / "elsewhere")
    assert (received(files, STORE) / "unet/config.json").read_bytes() == before
    assert not config.parents[1].is_symlink()
    assert not (config.parent / "model.safetensors").exists()


@pytest.mark.parametrize(
    "name", ["../out.json", "/tmp/out.json", "unet/../../out.json", "a/b/c.json", "x.py"]
)
def test_names_that_lead_elsewhere_are_refused(cache: Path, files: ModelFiles, name: str) -> None:
    content = files.sent["model_index.json"]
    with pytest.raises(ModelError, match="no model needs"):
        received(replace(files, sent={**files.sent, name: content}), STORE)
    with pytest.raises(ModelError, match="no digest"):
        received(replace(files, digest="../out"), STORE)
    assert [each.name for each in cache.iterdir()] == ["lock"]


def test_contents_of_another_digest_are_refused(cache: Path, files: ModelFiles) -> None:
    with pytest.raises(ModelError, match="not those"):
        received(replace(files, digest="0" * 64), STORE)


@needs_links
def test_a_cache_that_is_a_link_is_refused(cache: Path, files: ModelFiles, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir(mode=0o755)
    cache.symlink_to(tmp_path / "mine")
    with pytest.raises(ModelError, match="link"):
        received(files, STORE)
    assert not list((tmp_path / "mine").iterdir())


@needs_links
def test_a_lock_that_is_a_link_is_not_followed(cache: Path, files: ModelFiles, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("text")
    cache.mkdir(mode=0o700)
    (cache / "lock").symlink_to(precious)
    with pytest.raises(ModelError, match="lock"):
        received(files, STORE)
    assert precious.read_text() == "text"


@needs_links
def test_links_out_of_a_model_are_not_sent(tmp_path: Path, files: ModelFiles) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "model/unet/secret.json").symlink_to(tmp_path / "secret.json")
    options = UpscaleOptions(model=str(tmp_path / "model"), device="cpu", dtype="float32")
    with pytest.raises(ModelError, match=r"secret\.json is a link"):
        Models("cpu", STORE, sends=True).spec(options)


def test_a_file_is_sent_whatever_it_is_called(tmp_path: Path, cache: Path) -> None:
    path = save_network(tmp_path / "4x ünusual (name).safetensors")
    options = UpscaleOptions(model=str(path), device="cpu", dtype="float32")
    sent = Models("cpu", STORE, sends=True).spec(options).files
    assert list(sent.sent) == ["model.safetensors"]
    file = received(sent, STORE)
    path.unlink()
    assert file.is_relative_to(cache)
    assert load(str(path), torch.device("cpu"), torch.float32, path=file).name == str(path)
    before = file.stat()
    assert received(sent, STORE).stat() == before
    file.write_bytes(b"other")
    assert received(sent, STORE).read_bytes() != b"other"


def test_files_of_pytorch_are_sent_as_what_they_are(tmp_path: Path, cache: Path) -> None:
    options = UpscaleOptions(model=str(save_network(tmp_path / "x.PTH")), device="cpu", dtype="float32")
    file = received(Models("cpu", STORE, sends=True).spec(options).files, STORE)
    assert file.name == "model.pth"


@pytest.mark.parametrize("name", ["model.py", "../model.pth", "unet/model.pth", "model.pth/x.pth"])
def test_a_file_of_another_name_is_refused(cache: Path, files: ModelFiles, name: str) -> None:
    content = next(iter(files.sent.values()))
    with pytest.raises(ModelError, match="no model needs"):
        received(replace(files, sent={name: content}), STORE)


def test_a_file_on_all_machines_is_found_by_its_whole_path(tmp_path: Path) -> None:
    path = save_network(tmp_path / "x.safetensors")
    options = UpscaleOptions(model=str(path), device="cpu")
    files = Models("cpu", STORE, sends=False).spec(options).files
    assert (files.path, dict(files.sent)) == (path, {})
