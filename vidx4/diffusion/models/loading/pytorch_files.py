"""Files of PyTorch that may come from anywhere: bounded before they are read, and read as data only."""

import pickletools
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from vidx4.diffusion.device_errors import is_out_of_memory
from vidx4.diffusion.models.loading.weights import MAX_HEADER_SIZE, MAX_TENSORS
from vidx4.errors import ModelError
from vidx4.files.read import open_file

OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What files of PyTorch before 1.6 begin with."""
_OLD_PICKLES = 4
"""Pickles that such a file begins with: magic number, version, the machine, and the content."""
_OTHER_NUMBERS = 1 << 20
"""What numbers in them that count no weights may be, however small the file is."""
_MAX_RATIO = 20
"""How many times smaller compression makes weights at most: noise, as they are, hardly shrinks."""
_SCRIPT = ("constants.pkl", "code/")
"""What entries of TorchScript files begin with, after the folder that holds them all."""
_CONVERT = "convert it to safetensors where it was made (docs/models.md tells how)"
_TOO_MUCH = "it would take more memory than weights do"


def read_pytorch_file(path: Path, size: int) -> dict[Any, Any]:
    """Return the content of a file of PyTorch, which is read as data and never run.

    Args:
        path: the file.
        size: its bytes.

    Returns:
        What it holds by name; empty if it holds something else.

    Raises:
        ModelError: it is damaged, compressed, claims more than it holds, or would have to be run.
    """
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_entries(path, size)
        is_pickle = True
    else:
        is_pickle = _check_old(path, size)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
        return found if isinstance(found, dict) else {}
    except Exception as error:  # whatever a damaged file leads to
        if is_out_of_memory(error):
            raise
        if "Unsupported operand" in str(error) and is_pickle:
            raise ModelError(
                f"{path} can't be used: it is pickled in a way that isn't read as data; {_CONVERT}."
            ) from error
        if isinstance(error, UnpicklingError) and is_pickle:
            raise ModelError(
                f"{path} can't be used: to read all of it, code of its own would have to run; {_CONVERT}."
            ) from error
        also = "" if is_pickle else ", or is none"
        raise ModelError(f"{path} can't be read as a file of PyTorch: it is damaged{also}.") from error


def _check_entries(path: Path, size: int) -> None:
    """Check the entries of a ZIP file: that they are weights, and take no more room than the file does."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} can't be read as a file of PyTorch: it is damaged.") from error
    if any(each.filename.partition("/")[2].startswith(_SCRIPT) for each in entries):
        raise ModelError(f"{path} can't be used: it is TorchScript, a program; {_CONVERT}.")
    descriptions = sum(each.file_size for each in entries if each.filename.endswith(".pkl"))
    total = sum(each.file_size for each in entries)
    is_compressed = any(each.compress_type != zipfile.ZIP_STORED for each in entries)
    is_inflated = total > size * (_MAX_RATIO if is_compressed else 1)
    if is_inflated or descriptions > MAX_HEADER_SIZE or len(entries) > 2 * MAX_TENSORS:
        raise ModelError(f"{path} can't be used: {_TOO_MUCH}.")
    if is_compressed:  # it could not be mapped into memory
        raise ModelError(
            f"{path} can't be used: it was compressed by another program; load it with PyTorch, and save it "
            "again."
        )


def _check_old(path: Path, size: int) -> bool:
    """Check that a file without an archive claims no more numbers than it has bytes.

    PyTorch makes room for the numbers that such a file claims before it reads them. In no other way than as a
    number of the pickles before the weights can it claim them.

    Returns:
        Whether it begins with a pickle.
    """
    with open_file(path) as file:
        head = file.read(MAX_HEADER_SIZE)
    if tarfile.is_tarfile(BytesIO(head)):
        raise ModelError(f"{path} can't be used: PyTorch saved it before 0.2; {_CONVERT}.")
    rest, num_pickles, claimed = BytesIO(head), 0, 0
    try:
        while num_pickles < _OLD_PICKLES:
            claimed = max(claimed, _claimed(rest))
            num_pickles += 1
    except Exception:  # here, reading it as a file of PyTorch ends as well
        if num_pickles and len(head) == MAX_HEADER_SIZE:
            claimed = sys.maxsize
    if claimed > max(size, _OTHER_NUMBERS):
        raise ModelError(f"{path} can't be used: {_TOO_MUCH}.")
    return num_pickles > 0


def _claimed(file: BytesIO) -> int:
    """Return the largest number in a pickle before it last names a storage; 0 if it names none."""
    latest = claimed = 0
    for opcode, argument, _ in pickletools.genops(file):
        if isinstance(argument, int):
            latest = max(latest, argument)
        elif opcode.name == "BINPERSID":
            claimed = latest
    return claimed
