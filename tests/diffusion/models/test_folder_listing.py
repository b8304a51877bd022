"""A folder of models is listed by their descriptions."""

import sys
import warnings
from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.community import make_network, save_network
from vidx4.diffusion.models import folder_listing
from vidx4.diffusion.models.community import community_family
from vidx4.diffusion.models.folder_listing import list_models
from vidx4.diffusion.models.spandrel_models import library, read_file
from vidx4.errors import ModelError


def test_models_are_listed_with_what_is_known(tmp_path: Path) -> None:
    weights = {name: each.contiguous() for name, each in make_network("ESRGAN").state_dict().items()}
    notes = {"modelspec.license": "CC-BY-4.0", "modelspec.architecture": "esrgan"}
    save_file(weights, tmp_path / "a.safetensors", metadata=notes)
    save_network(tmp_path / "b.pth", upscale=2)
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    (tmp_path / "d.txt").write_text("no model")
    a, b, c = list_models(tmp_path)
    assert (a.architecture, a.scale, a.license, a.why_not) == ("ESRGAN", 4, "CC-BY-4.0", "")
    assert a.size == (tmp_path / "a.safetensors").stat().st_size
    assert (b.architecture, b.scale) == ("RealESRGAN Compact", 2)
    assert "2 times" in b.why_not
    assert (c.architecture, c.scale) == ("", None)
    assert "damaged" in c.why_not


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none can't be listed"):
        list(list_models(tmp_path / "none"))


def test_one_file_that_fails_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c", "d"):
        save_network(tmp_path / f"{name}.safetensors")

    def fail(path: Path) -> object:
        errors = {"b": MemoryError(), "c": KeyError("what")}
        if error := errors.get(path.stem):
            raise error
        return read_file(path)

    monkeypatch.setattr(folder_listing, "read_file", fail)
    whys = [each.why_not for each in list_models(tmp_path)]
    assert whys == ["", "it takes more memory than there is", "it can't be read ('what')", ""]


def test_a_network_that_fails_at_work_is_not_promised(tmp_path: Path) -> None:
    """DAT that is so narrow that its tables of positions are empty."""
    library()
    from spandrel.architectures.DAT import DAT

    with warnings.catch_warnings(action="ignore"):  # of layers without numbers
        network = DAT(img_size=16, embed_dim=12, depth=[2], num_heads=[2], split_size=[8, 8], upscale=4)
    weights = {name: each.contiguous() for name, each in network.state_dict().items()}
    save_file(weights, tmp_path / "x.safetensors")
    with warnings.catch_warnings(action="ignore"):  # as it is outside of tests
        (listed,) = list_models(tmp_path)
        assert "it fails with" in listed.why_not
        with pytest.raises(ModelError, match="it fails with"):
            community_family(listed.path)


def test_a_spandrel_that_does_not_import_is_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_network(tmp_path / "x.safetensors")
    (tmp_path / "spandrel.py").write_text("raise ImportError('it lacks a package')")
    library.cache_clear()
    monkeypatch.delitem(sys.modules, "spandrel")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        with pytest.raises(
            ModelError, match=r"needs spandrel, which can't be imported \(it lacks a package\): pip"
        ):
            list_models(tmp_path)
    finally:
        library.cache_clear()
