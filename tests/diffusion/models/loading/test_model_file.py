"""Files of models may come from anywhere: none runs code, fills the memory, or ends in a traceback."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.capabilities import needs_links
from tests.community import make_network, save_network
from vidx4.diffusion.models.registry import find, load
from vidx4.errors import ModelError

CPU = torch.device("cpu")


def refused(path: Path, message: str, dtype: torch.dtype = torch.float32) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load(str(path), CPU, dtype)
    assert "\n" not in str(caught.value)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Return weights of a tiny network of the architecture Compact."""
    return {name: each.contiguous() for name, each in make_network("Compact").state_dict().items()}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".PTH"])
def test_files_of_pytorch_are_read_as_data(tmp_path: Path, suffix: str) -> None:
    components = load(str(save_network(tmp_path / f"x{suffix}")), CPU, torch.float32)
    expected = make_network("Compact").state_dict()
    found = components.unet.state_dict()
    assert all(torch.equal(found[f"Compact.{name}"], each) for name, each in expected.items())


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict", None])
def test_wrappers_and_prefixes_are_removed(
    tmp_path: Path, weights: dict[str, Tensor], wrapper: str | None
) -> None:
    prefixed = {f"module.{name}": each for name, each in weights.items()}
    torch.save({wrapper: prefixed, "epoch": 3} if wrapper else prefixed, tmp_path / "x.pth")
    assert load(str(tmp_path / "x.pth"), CPU, torch.float32).reach == 4


def test_a_pickle_that_runs_code_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"params": Evil()}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "code of its own would have to run; convert it to safetensors")
    (tmp_path / "y.pt").write_bytes(pickle.dumps(Evil()))
    refused(tmp_path / "y.pt", r"can't be used|damaged")
    assert not (tmp_path / "made").exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "code of its own")


@pytest.mark.parametrize("content", [None, [1, 2], {}, {"a": 1}, {1: torch.zeros(1)}], ids=str)
def test_a_file_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "holds no weights")


def test_a_tensor_that_repeats_a_number_is_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    weights["body.0.weight"] = torch.zeros(1).expand(1 << 20, 1 << 20)
    torch.save(weights, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "does not hold all numbers")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("size", [0, 5, 300, -10])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, size: int) -> None:
    path = save_network(tmp_path / f"x{suffix}")
    path.write_bytes(path.read_bytes()[:size])
    refused(path, "damaged|holds no weights")


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{" * 100)
    refused(tmp_path / "x.safetensors", "damaged")


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    header = {f"a.{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(10_001)}
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    refused(tmp_path / "x.safetensors", "more than 10,000 weights")


@pytest.mark.parametrize("index", ["1000", "99999999"])
def test_a_number_that_stands_for_many_layers_is_refused(
    tmp_path: Path, weights: dict[str, Tensor], index: str
) -> None:
    save_file(weights | {f"body.{index}.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "is no name of weights")


def test_a_pickle_of_another_protocol_is_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "x.pth", pickle_protocol=4)
    with warnings.catch_warnings(action="ignore"):
        refused(tmp_path / "x.pth", "pickled in a way that isn't read as data; convert it")


def test_names_that_stand_for_more_layers_than_there_are_weights_are_refused(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    save_file(weights | {"body.999.bias": torch.zeros(48)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "more layers than it has weights")


def test_a_width_that_other_layers_lack_takes_no_memory(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    """All convolutions of a network this wide would take 72 GB."""
    weights["body.0.weight"] = torch.zeros(31_000, 3, 3, 3)
    save_file(weights, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", r"no network can be built .*size mismatch")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(
    tmp_path: Path, weights: dict[str, Tensor], number: float
) -> None:
    weights["body.0.bias"][0] = number
    save_file(weights, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", r"body\.0\.bias are not finite")


def test_numbers_beyond_float16_are_refused_in_float16(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    weights["body.0.bias"][0] = 1e6
    save_file(weights, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "--dtype float32", torch.float16)


def test_types_that_are_no_plain_numbers_are_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    weights["body.0.weight"] = weights["body.0.weight"].to(torch.float8_e4m3fn)
    save_file(weights, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "type F8_E4M3")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"upscale": 2}, r"\(RealESRGAN Compact\) can't be used: it enlarges 2 times, but .* 4 times"),
        ({"upscale": 1}, "keeps the size of pictures"),
        ({"num_in_ch": 1, "num_out_ch": 1}, "1 channels into 1, not RGB into RGB"),
    ],
)
def test_networks_that_do_something_else_are_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    refused(save_network(tmp_path / "x.safetensors", **settings), message)


def test_weights_of_no_known_architecture_are_refused(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", r"no architecture that spandrel [\d.]+ knows. .*ESRGAN")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "x.safetensors", "There is no file")
    (tmp_path / "y.safetensors").mkdir()
    refused(tmp_path / "y.safetensors", "is a folder, but")
    (tmp_path / "z.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"is one of \.safetensors"):
        find(str(tmp_path / "z.onnx"), torch.float32)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", "not a regular file")


@needs_links
def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").symlink_to(save_network(tmp_path / "y.safetensors"))
    assert load(str(tmp_path / "x.safetensors"), CPU, torch.float32).reach == 4


@pytest.mark.parametrize("wrapper", [None, "params", "params_ema", "state_dict", "model"])
def test_the_python_of_the_documentation_converts(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, wrapper: str | None
) -> None:
    """It is the way out that errors name."""
    page = (Path(__file__).parents[4] / "docs" / "models.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    others = {"epoch": 3, "seen": Seen(), "optimizer": {"state": {0: torch.zeros(1)}}}
    torch.save({wrapper: weights} | others if wrapper else weights | others, tmp_path / "model.pth")
    refused(tmp_path / "model.pth", "code of its own")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    shutil.move("model.safetensors", "x.safetensors")
    assert load(str(tmp_path / "x.safetensors"), CPU, torch.float32).reach == 4


class Seen:
    """What a program stores beside weights."""


def test_a_whole_network_and_torchscript_are_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[4] / "docs" / "models.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    torch.save(make_network("Compact"), tmp_path / "model.pth")
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert load(str(tmp_path / "model.safetensors"), CPU, torch.float32).reach == 4


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_names_that_are_bytes_are_no_names(
    tmp_path: Path, weights: dict[str, Tensor], is_wrapped: bool
) -> None:
    named = {name.encode(): each for name, each in weights.items()}
    torch.save({"params": named, "iter": 3} if is_wrapped else named, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", "holds no weights")


def test_weights_without_numbers_are_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save({name: each.to("meta") for name, each in weights.items()}, tmp_path / "x.pth")
    refused(tmp_path / "x.pth", r"holds no numbers of its weights body\.0\.weight")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.bool], ids=str)
def test_whole_numbers_as_weights_are_refused(
    tmp_path: Path, weights: dict[str, Tensor], suffix: str, dtype: torch.dtype
) -> None:
    whole = {name: (each * 100).to(dtype) for name, each in weights.items()}
    path = tmp_path / f"x{suffix}"
    if suffix == ".pth":
        torch.save(whole, path)
    else:
        save_file(whole, path)
    refused(path, "must be plain floating-point numbers")


def test_whole_numbers_where_the_network_has_others_are_refused(tmp_path: Path) -> None:
    """The names tell nothing: of SwinIR, one table is of whole numbers, and one is not."""
    path = save_network(tmp_path / "x.safetensors", "SwinIR")
    weights = load_file(path)
    (table, *_) = (name for name in weights if name.endswith("relative_position_bias_table"))
    weights[table] = (weights[table] * 100).int()
    save_file(weights, path)
    with warnings.catch_warnings(action="ignore"):  # as it is outside of tests
        refused(path, "its weights must be plain floating-point numbers")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.safetensors", b"\n<!DOCTYPE html><html>404", "it is a web page"),
        ("x.pth", b"<html>404</html>", "it is a web page"),
        (
            "x.pth",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "pointer of Git LFS",
        ),
        ("x.pth", bytes(range(255, 0, -1)) * 20, "damaged, or is none"),
        ("x.pth", b"hello", "damaged, or is none"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)


def test_a_suffix_that_belongs_to_another_kind_is_named(tmp_path: Path) -> None:
    save_network(tmp_path / "x.safetensors").rename(tmp_path / "x.pth")
    refused(tmp_path / "x.pth", r"file of safetensors\. Rename it to x\.safetensors")
    save_network(tmp_path / "y.pth").rename(tmp_path / "y.safetensors")
    refused(tmp_path / "y.safetensors", r"file of PyTorch\. Rename it to y\.pth")


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="needs names that are any bytes")
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_name_that_is_no_unicode_is_named(tmp_path: Path, suffix: str) -> None:
    path = save_network(tmp_path / f"x{suffix}").rename(Path(f"{tmp_path}/\udcff{suffix}"))
    refused(path, "its name is no valid Unicode")


def test_notices_for_programmers_are_not_shown(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "x.pth", pickle_protocol=3)
    save_file(weights | {"body.0.weight": torch.zeros(0, 3, 3, 3)}, tmp_path / "y.safetensors")
    torch.save({name: (each * 99).to(torch.int8) for name, each in weights.items()}, tmp_path / "z.pth")
    code = (
        "import sys; from pathlib import Path; "
        "from vidx4.diffusion.models.folder_listing import list_models; "
        "print(*(each.why_not == '' for each in list_models(Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["True", "False", "False"], "")
