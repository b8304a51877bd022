"""A folder of models is listed by their descriptions."""

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.community import make_network, save_network
from vidx4.diffusion.models.folder_listing import list_models
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
