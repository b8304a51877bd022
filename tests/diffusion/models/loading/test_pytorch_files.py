"""Files of PyTorch are bounded before they are read: what they claim, and what they are."""

import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.community import make_network, save_network
from vidx4.diffusion.models.loading.pytorch_files import read_pytorch_file
from vidx4.errors import ModelError


def refused(path: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(path)


def read(path: Path) -> object:
    return read_pytorch_file(path, path.stat().st_size)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Return weights of a tiny network of the architecture Compact."""
    return {name: each.contiguous() for name, each in make_network("Compact").state_dict().items()}


def test_old_files_are_read(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    found = read(tmp_path / "x.pth")
    assert isinstance(found, dict)
    assert all(torch.equal(found[name], each) for name, each in weights.items())


@pytest.mark.parametrize("number", [5 * 10**9, 10**15, 10**30])
def test_an_old_file_that_claims_more_than_it_holds_is_refused(tmp_path: Path, number: int) -> None:
    torch.save({"a": torch.zeros(123_457)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    claimed = pickle.encode_long(number)
    honest, larger = b"J" + struct.pack("<i", 123_457), b"\x8a" + bytes([len(claimed)]) + claimed
    content = (tmp_path / "x.pth").read_bytes()
    assert honest in content
    (tmp_path / "x.pth").write_bytes(content.replace(honest, larger))
    refused(tmp_path / "x.pth", "it would take more memory than weights do")


def test_an_old_file_that_is_cut_is_damaged(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "x.pth").read_bytes()
    for size in (100, 600, len(content) - 9):
        (tmp_path / "x.pth").write_bytes(content[:size])
        refused(tmp_path / "x.pth", "damaged")


def test_the_oldest_files_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.pth", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    refused(tmp_path / "x.pth", "convert it to safetensors")


def test_torchscript_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/constants.pkl", b"")
        archive.writestr("x/code/__torch__.py", "")
    refused(tmp_path / "x.pt", "it is TorchScript, a program; convert it")


def test_an_archive_that_swells_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(1 << 22))
    refused(tmp_path / "x.pth", "more memory than weights do")


def test_an_archive_that_another_program_compressed_is_refused(tmp_path: Path) -> None:
    plain = save_network(tmp_path / "x.pth")
    with (
        zipfile.ZipFile(plain) as archive,
        zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for each in archive.infolist():
            other.writestr(each.filename, archive.read(each))
    refused(tmp_path / "y.pth", "compressed by another program; load it with PyTorch, and save it again")
