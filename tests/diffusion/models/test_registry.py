"""Models of each family load from their folders, and every defect is a clear error."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file

from tests import sd_x4
from vidx4.diffusion.models.known import COMPACT_FOLDER, SD_X4_REPOSITORY, known_models
from vidx4.diffusion.models.loading import hub
from vidx4.diffusion.models.loading.tokenizer import load_tokenizer
from vidx4.diffusion.models.registry import choose_model, find, is_hub_id, load
from vidx4.errors import ModelError, OptionError

CPU = torch.device("cpu")


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


def test_a_folder_loads_with_its_weights_and_prompts(folder: Path) -> None:
    components = load(str(folder), CPU, torch.float32, prompt="dog", negative_prompt="cat")
    pipeline = sd_x4.make_pipeline()
    for name, parameter in pipeline.unet.named_parameters():
        assert torch.equal(components.unet.get_parameter(name), parameter)
    positive, negative = pipeline.encode_prompt("dog", "cpu", 1, True, "cat")
    assert components.prompt_embeds is not None
    assert torch.equal(components.prompt_embeds.positive, positive)
    assert torch.equal(components.prompt_embeds.negative, negative)
    assert components.size_multiple == 8


def test_the_fp16_variant_loads_with_the_autoencoder_in_float32(tmp_path: Path) -> None:
    pipeline = sd_x4.make_pipeline().to(torch.float16)
    pipeline.save_pretrained(tmp_path, variant="fp16")
    assert not list(tmp_path.rglob("diffusion_pytorch_model.safetensors"))
    components = load(str(tmp_path), CPU, torch.bfloat16)
    assert components.unet.dtype == torch.bfloat16
    assert components.tiled_autoencoder is not None
    assert components.tiled_autoencoder.vae.dtype == torch.float32


def test_float16_weights_are_used_in_float32_if_there_are_no_others(tmp_path: Path) -> None:
    sd_x4.make_pipeline().to(torch.float16).save_pretrained(tmp_path, variant="fp16")
    assert load(str(tmp_path), CPU, torch.float32).unet.dtype == torch.float32


@pytest.fixture
def slow_tokenizer(folder: Path) -> Path:
    """Return a model with a tokenizer in files like those of `sd-x4`, whose configuration pads wrongly."""
    tokenizer, vocab = folder / "tokenizer", sd_x4.make_tokenizer().get_vocab()
    shutil.rmtree(tokenizer)
    tokenizer.mkdir()
    end = {"__type": "AddedToken", "content": "<|endoftext|>"}
    files = {
        "vocab.json": vocab,
        "tokenizer_config.json": {"eos_token": end, "pad_token": "<|endoftext|>"},
        "special_tokens_map.json": {"pad_token": "!"},
    }
    for name, content in files.items():
        (tokenizer / name).write_text(json.dumps(content))
    (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("model_index.json", "scheduler/scheduler_config.json", "vae/config.json"),
        *("tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/special_tokens_map.json"),
        *("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"),
    ],
)
def test_an_interrupted_download_is_not_complete(name: str, slow_tokenizer: Path) -> None:
    assert hub.is_complete(slow_tokenizer)
    (slow_tokenizer / name).unlink()
    assert not hub.is_complete(slow_tokenizer)


def test_a_tokenizer_that_says_how_it_pads_needs_no_other_file(slow_tokenizer: Path) -> None:
    def ids() -> list[int]:
        padded = load_tokenizer(slow_tokenizer)("a dog", padding="max_length", max_length=9)
        return list(padded.input_ids)

    expected = ids()
    config = {"pad_token": "!", "eos_token": "<|endoftext|>"}
    (slow_tokenizer / "tokenizer/tokenizer_config.json").write_text(json.dumps(config))
    (slow_tokenizer / "tokenizer/special_tokens_map.json").unlink()
    assert hub.is_complete(slow_tokenizer)
    assert ids() == expected


def test_a_missing_shard_is_not_complete(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    for number in (1, 2):
        shutil.copy(weights, weights.with_stem(f"{weights.stem}-0000{number}-of-00002"))
    weights.unlink()
    assert hub.is_complete(folder)
    weights.with_stem(f"{weights.stem}-00002-of-00002").unlink()
    assert not hub.is_complete(folder)


def test_what_a_download_leaves_out_is_not_missed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The library lists all files of a repository, and then misses those that were not downloaded."""
    cache, commit = tmp_path / "cache", "0" * 40
    repository = cache / "models--a--b"
    shutil.copytree(folder, repository / "snapshots" / commit)
    names = [*(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")), "unet/huge.ckpt"]
    files = {name: {"size": 1, "blob_id": "1" * 40} for name in names}
    (repository / "trees").mkdir()
    (repository / "trees" / f"{commit}.json").write_text(json.dumps({"format_version": 1, "files": files}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    with pytest.raises(OSError, match=r"huge\.ckpt"):
        snapshot_download("a/b", revision=commit, local_files_only=True)
    assert hub.cached("a/b", commit) == repository / "snapshots" / commit


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_user_who_forbids_downloads_is_told_so(variable: str, tmp_path: Path) -> None:
    code = "from vidx4.diffusion.models.loading.hub import fetch; fetch('a/b', None, half=True)"
    ours = {name: value for name, value in os.environ.items() if name not in hub.OFFLINE}
    environment = {**ours, variable: "1", "HF_HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert f"{variable} forbids downloads" in ended.stderr
    assert "--model compact" in ended.stderr


def test_the_scaling_factor_is_right_even_if_the_configuration_lacks_it(folder: Path) -> None:
    config = json.loads((folder / "vae/config.json").read_text())
    del config["scaling_factor"]
    (folder / "vae/config.json").write_text(json.dumps(config))
    components = load(str(folder), CPU, torch.float32)
    assert components.tiled_autoencoder is not None
    assert components.tiled_autoencoder.vae.config.scaling_factor == 0.08333


def test_compact_is_bundled_and_small() -> None:
    components = load("compact", CPU, torch.float32)
    assert components.prompt_embeds is None
    assert components.tiled_autoencoder is None
    size = sum(path.stat().st_size for path in COMPACT_FOLDER.rglob("*") if path.is_file())
    assert size < 8e6


def test_compact_takes_no_prompt() -> None:
    with pytest.raises(OptionError, match=r"compact.*prompt.*sd-x4"):
        load("compact", CPU, torch.float32, prompt="a dog")


@pytest.mark.parametrize(
    "part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler", "low_res_scheduler"]
)
def test_a_missing_part_is_named(folder: Path, part: str) -> None:
    shutil.rmtree(folder / part)
    with pytest.raises(ModelError, match=part):
        load(str(folder), CPU, torch.float32)


def test_pickled_weights_are_refused(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ModelError, match="unet"):
        load(str(folder), CPU, torch.float32)


def test_truncated_weights_are_named(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="unet"):
        load(str(folder), CPU, torch.float32)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_missing_weights_are_not_made_up(folder: Path, part: str) -> None:
    (weights,) = (folder / part).glob("*.safetensors")
    tensors = load_file(weights)
    missing, _ = tensors.popitem()
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"{part}.*{re.escape(missing)}"):
        load(str(folder), CPU, torch.float32)


@pytest.mark.parametrize(
    ("value", "message"), [(1e6, "can't be used in float16"), (float("nan"), "not finite")]
)
def test_weights_have_to_fit_the_precision(value: float, message: str, folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.bias"][0] = value
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"{message}.*conv_in\.bias|conv_in\.bias.*{message}"):
        load(str(folder), CPU, torch.float16)


def test_prompts_that_overflow_are_encoded_in_float32(folder: Path) -> None:
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    for name, weight in tensors.items():
        if name.endswith("fc1.weight"):
            weight *= 3e4 / weight.abs().max()
    save_file(tensors, weights, metadata={"format": "pt"})
    exact, half = (
        load(str(folder), CPU, dtype, "dog").prompt_embeds for dtype in (torch.float32, torch.float16)
    )
    assert exact is not None
    assert half is not None
    assert torch.equal(half.positive, exact.positive.half())


def test_another_pipeline_is_refused(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(ModelError, match="StableDiffusionPipeline"):
        load(str(folder), CPU, torch.float32)


def test_a_text_to_image_unet_is_refused(folder: Path) -> None:
    unet = sd_x4.make_unet(sd_x4.TINY_WIDTHS, 32)
    config = dict(unet.config, in_channels=4)
    type(unet).from_config(config).save_pretrained(folder / "unet")
    with pytest.raises(ModelError, match="4 channels"):
        load(str(folder), CPU, torch.float32)


def test_other_weights_are_not_taken_for_the_published_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidx4.diffusion.models.registry.fetch", lambda *_, **__: folder)
    with pytest.raises(ModelError, match="473398020"):
        load("sd-x4", CPU, torch.float32)


@pytest.mark.parametrize("name", ["nonsense", "./no/such/folder", "a/b/c"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    assert not is_hub_id(name)
    with pytest.raises(ModelError, match="compact, sd-x4"):
        find(name, torch.float32)


def test_a_hub_id_is_not_a_path() -> None:
    assert is_hub_id("owner/name")
    assert not any(map(is_hub_id, ("name", "./name", "/name", "~/name", "owner/name/file")))


def test_without_a_network_the_error_names_a_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=f"{SD_X4_REPOSITORY}.*--model compact"):
        find("sd-x4", torch.float16)


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (GatedRepoError("gated", response=Mock(headers={})), "a/b.*hf auth login"),
        (RepositoryNotFoundError("none", response=Mock(headers={})), "a/b.*private"),
        (RevisionNotFoundError("none", response=Mock(headers={})), "a/b.*1234"),
        (HfHubHTTPError("500 broken", response=Mock(headers={})), "a/b.*500 broken"),
        (LocalEntryNotFoundError("no network"), "a/b.*cache.*hub"),
        (HFValidationError("bad name"), "a/b.*private"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_failure_of_the_hub_has_its_own_message(
    error: Exception, facts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "snapshot_download", Mock(side_effect=error))
    monkeypatch.setattr(hub, "cached", lambda *_, **__: None)
    with pytest.raises(ModelError, match=rf"{facts}.*--model compact"):
        hub.fetch("a/b", "1234", half=True)


def test_auto_means_compact_without_cuda() -> None:
    assert choose_model("auto", CPU)[0] == "compact"
    assert choose_model("auto", torch.device("cuda"))[0] == "sd-x4"
    assert choose_model("sd-x4", CPU)[0] == "sd-x4"


def test_known_models_have_their_folders() -> None:
    compact = known_models()[0]
    assert compact.folder == COMPACT_FOLDER
    assert compact.size > 0


FILES = [
    "model_index.json",
    "tokenizer/merges.txt",
    "x4-upscaler-ema.ckpt",
    "x4-upscaler-ema.safetensors",
    *(
        f"{part}/{stem}{variant}.{suffix}"
        for part, stem in {"unet": "d", "vae": "d", "text_encoder": "model"}.items()
        for variant in ("", ".fp16")
        for suffix in ("bin", "safetensors")
    ),
]


@pytest.mark.parametrize(("half", "variant"), [(True, ".fp16"), (False, "")])
def test_only_the_needed_weights_are_fetched(half: bool, variant: str) -> None:
    weights = [f for f in hub.needed(FILES, half) if f.endswith(".safetensors")]
    assert weights == [
        f"unet/d{variant}.safetensors",
        f"vae/d{variant}.safetensors",
        f"text_encoder/model{variant}.safetensors",
    ]


def test_a_repository_without_safetensors_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="unet"):
        hub.needed(["model_index.json", "unet/d.bin"], half=False)
