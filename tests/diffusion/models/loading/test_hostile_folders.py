"""A model's folder that comes from anywhere does no harm: what is wrong with it is one sentence, and soon."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.capabilities import needs_links, needs_pipes, needs_proc
from vidx4.diffusion.models.known import COMPACT_FOLDER
from vidx4.diffusion.models.loading.weights import MAX_TENSORS
from vidx4.diffusion.models.registry import find, load
from vidx4.errors import ModelError

CPU = torch.device("cpu")
UNET = "unet/config.json"
TEXT = "text_encoder/config.json"
TOKENIZER = "tokenizer/tokenizer_config.json"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


@pytest.fixture
def compact(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMPACT_FOLDER, tmp_path / "compact"))


def change(path: Path, **settings: Any) -> None:
    """Change settings in a JSON file; None removes them."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | settings), encoding="utf-8")


def refused(folder: Path, match: str) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        load(str(folder), CPU, torch.float32)
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (TEXT, {"attn_implementation": "kernels-community/evil", "_attn_implementation": "evil/kernel"}),
        (TEXT, {"auto_map": {"AutoModel": "evil.Evil"}, "model_type": "evil", "architectures": ["Evil"]}),
        (TEXT, {"quantization_config": {"quant_method": "bitsandbytes"}, "dtype": "evil"}),
        (UNET, {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}),
        (TOKENIZER, {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_file": "/etc/passwd"}),
        (TOKENIZER, {"vocab_file": "/etc/passwd", "chat_template": "{{ evil }}", "model_max_length": 10**30}),
        ("model_index.json", {"unet": ["evil", "Evil"], "_name_or_path": "evil/evil"}),
    ],
)
def test_what_would_run_code_or_open_other_files_has_no_effect(
    folder: Path, name: str, settings: dict[str, Any]
) -> None:
    before = load(str(folder), CPU, torch.float32, prompt="a dog")
    change(folder / name, **settings)
    modules = set(sys.modules)
    after = load(str(folder), CPU, torch.float32, prompt="a dog")
    assert after.digest == before.digest
    assert before.prompt_embeds is not None
    assert after.prompt_embeds is not None
    assert torch.equal(after.prompt_embeds.both, before.prompt_embeds.both)
    assert not [each for each in set(sys.modules) - modules if "evil" in each or "bitsandbytes" in each]


@pytest.mark.parametrize(
    "name", ["adapter_config.json", "generation_config.json", "model.safetensors.index.json"]
)
def test_other_files_of_a_part_are_not_read(folder: Path, name: str) -> None:
    evil = {"base_model_name_or_path": "evil/evil", "weight_map": {"x": "../../etc/passwd"}, "auto_map": {}}
    (folder / "text_encoder" / name).write_text(json.dumps(evil))
    load(str(folder), CPU, torch.float32)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (UNET, {"block_out_channels": [10**6] * 4}),
        (UNET, {"layers_per_block": 10**9}),
        (UNET, {"cross_attention_dim": 10**9}),
        (UNET, {"transformer_layers_per_block": 10**9}),
        (UNET, {"num_class_embeds": 10**400}),
        (UNET, {"in_channels": "7"}),
        (UNET, {"norm_eps": float("nan")}),
        (UNET, {"block_out_channels": {"a": [1]}}),
        (UNET, {"down_block_types": ["KDownBlock2D"] * 4}),
        (UNET, {"addition_embed_type": "text"}),
        (UNET, {"_class_name": "FluxTransformer2DModel"}),
        (UNET, {"norm_num_groups": 7}),
        (UNET, {"cross_attention_dim": 64}),
        ("vae/config.json", {"block_out_channels": [True, None, []]}),
        ("vae/config.json", {"latent_channels": -4}),
        (TEXT, {"num_hidden_layers": 10**9}),
        (TEXT, {"vocab_size": 10**9}),
        (TEXT, {"hidden_act": "__import__"}),
        (TEXT, {"num_attention_heads": 5}),
        (TEXT, {"max_position_embeddings": 10**9}),
        (TOKENIZER, {"pad_token": {"content": ["!"]}}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}),
        ("scheduler/scheduler_config.json", {"beta_start": [[[]]]}),
        ("scheduler/scheduler_config.json", {"_class_name": "DiffusionPipeline"}),
        ("scheduler/scheduler_config.json", {"_class_name": ["DDIMScheduler"]}),
        ("low_res_scheduler/scheduler_config.json", {"trained_betas": [0.1] * 3}),
        ("model_index.json", {"_class_name": ["StableDiffusionUpscalePipeline"]}),
        ("model_index.json", {"max_noise_level": 10**9}),
    ],
)
def test_settings_out_of_bounds_are_named(folder: Path, name: str, settings: dict[str, Any]) -> None:
    change(folder / name, **settings)
    refused(folder, "can't be used|unknown scheduler|can't be loaded|lacks weights|not a Compact")


@pytest.mark.parametrize(
    "settings", [{"num_blocks": 10**9}, {"width": 10**6}, {"in_channels": 7}, {"width": "64"}]
)
def test_the_bundled_architecture_has_bounds_too(compact: Path, settings: dict[str, Any]) -> None:
    change(compact / UNET, **settings)
    refused(compact, "unet.*can't be used")


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{}", b'{"a": ' + b"9" * 5000 + b"}"],
    ids=["empty", "list", "null", "deep list", "deep object", "no text", "long number"],
)
@pytest.mark.parametrize(
    "name", ["model_index.json", UNET, "vae/config.json", "scheduler/scheduler_config.json"]
)
def test_what_is_no_object_is_named(compact: Path, name: str, content: bytes) -> None:
    (compact / name).write_bytes(content)
    refused(compact, name)


def test_settings_may_not_be_huge(compact: Path) -> None:
    with (compact / UNET).open("r+b") as file:
        file.truncate(1 << 40)  # without taking any space on the disk
    refused(compact, UNET)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_link(target: str) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return replace


@needs_links
@needs_pipes
@needs_proc
@pytest.mark.parametrize(
    "replace",
    [replace_by_pipe, replace_by_folder, *map(replace_by_link, ("/dev/zero", "/etc/passwd", "config.json"))],
    ids=["pipe", "folder", "device", "link out", "loop"],
)
@pytest.mark.parametrize("name", ["config.json", "diffusion_pytorch_model.safetensors"])
def test_only_regular_files_of_the_folder_are_opened(
    compact: Path, name: str, replace: Callable[[Path], None]
) -> None:
    replace(compact / "unet" / name)
    refused(compact, f"unet/.*{name}|unet.*no weights|safetensors.*damaged")


@needs_links
def test_files_in_the_cache_of_the_hub_are_links(compact: Path, tmp_path: Path) -> None:
    blobs, revision = tmp_path / "hub/models--a--b/blobs", tmp_path / "hub/models--a--b/snapshots/1234"
    blobs.mkdir(parents=True)
    shutil.copytree(compact, revision)
    for number, path in enumerate(each for each in revision.rglob("*") if each.is_file()):
        path.rename(blobs / str(number))
        path.symlink_to(os.path.relpath(blobs / str(number), path.parent))
    load(str(revision), CPU, torch.float32)


def damage_header(path: Path) -> None:
    path.write_bytes((1 << 62).to_bytes(8, "little") + path.read_bytes()[8:])


def damage_shape(path: Path) -> None:
    tensors = load_file(path)
    name = "conv_in.weight"
    save_file(tensors | {name: torch.zeros(1, 1, 1, 1)}, path)


def damage_type(path: Path) -> None:
    save_file({name: each.to(torch.int8) for name, each in load_file(path).items()}, path)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


@pytest.mark.parametrize("damage", [damage_header, damage_shape, damage_type, truncate])
def test_damaged_weights_are_named(compact: Path, damage: Callable[[Path], None]) -> None:
    damage(compact / "unet/diffusion_pytorch_model.safetensors")
    refused(compact, r"unet.*(damaged|must be floating-point)")


def test_weights_may_be_divided_into_files(compact: Path) -> None:
    before = load(str(compact), CPU, torch.float32).digest
    path = compact / "unet/diffusion_pytorch_model.safetensors"
    tensors = sorted(load_file(path).items())
    path.unlink()
    for number in (1, 2):
        part = path.with_name(f"diffusion_pytorch_model-{number:05}-of-00002.safetensors")
        save_file(dict(tensors[number - 1 :: 2]), part)
    index = path.with_name("diffusion_pytorch_model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(dict(tensors), "../../../etc/passwd")}))
    assert load(str(compact), CPU, torch.float32).digest == before
    part.unlink()
    refused(compact, "unet lacks weights: 1 of 2 files")


def test_configurations_of_other_versions_load(folder: Path) -> None:
    """Those of the published model were written by diffusers 0.8 and 0.9, with keys that are unknown now."""
    for name in (UNET, "vae/config.json", "scheduler/scheduler_config.json"):
        change(
            folder / name, _diffusers_version="0.8.0.dev0", _name_or_path="x", skip_prk_steps=True, future=[1]
        )
    change(folder / UNET, mid_block_scale_factor=1, sample_size=128, dual_cross_attention=False)
    load(str(folder), CPU, torch.float32)


def test_older_names_of_weights_load(folder: Path) -> None:
    before = load(str(folder), CPU, torch.float32).digest
    path = folder / "vae/diffusion_pytorch_model.safetensors"
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    renamed = {}
    for name, tensor in load_file(path).items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = tensor
    assert any(".proj_attn." in name for name in renamed)
    save_file(renamed, path)
    assert load(str(folder), CPU, torch.float32).digest == before


def test_a_vocabulary_in_two_files_loads_as_well(folder: Path) -> None:
    path = folder / "tokenizer/tokenizer.json"
    vocabulary = json.loads(path.read_text())["model"]["vocab"]
    before = load(str(folder), CPU, torch.float32, prompt="a dog").prompt_embeds
    path.unlink()
    (folder / "tokenizer/vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer/merges.txt").write_text("#version: 0.2\n")
    after = load(str(folder), CPU, torch.float32, prompt="a dog").prompt_embeds
    assert before is not None
    assert after is not None
    assert torch.equal(before.both, after.both)


@pytest.mark.parametrize("vocabulary", [{}, {"a": -1}, {"a": 10**30}, {"a": "0"}, {"a": 5}, [1]])
def test_a_vocabulary_that_is_none_is_named(folder: Path, vocabulary: object) -> None:
    path = folder / "tokenizer/tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": vocabulary, "merges": [["a", "b"]]}}))
    refused(folder, "tokenizer.*(no vocabulary|don't fit)")


def test_a_folder_is_not_taken_for_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(COMPACT_FOLDER, tmp_path / "someone/thing")
    with pytest.raises(ModelError, match=r"someone/thing is a folder here.*\./someone/thing"):
        find("someone/thing", torch.float32)
    assert find("./someone/thing", torch.float32) == Path("someone/thing")
    assert find("someone/thing/", torch.float32) == Path("someone/thing")


def test_a_repository_may_have_a_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("vidx4.diffusion.models.registry.fetch", lambda *each: asked.append(each))
    for name in ("a/b", "a/b@main", "a/b@refs/pr/1"):
        find(name, torch.float32)
    assert asked == [("a/b", None, False), ("a/b", "main", False), ("a/b", "refs/pr/1", False)]
    with pytest.raises(ModelError, match="no model"):
        find("a/b@../../etc", torch.float32)


def test_weights_beside_those_of_the_network_are_limited(compact: Path) -> None:
    path = compact / "unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    empty = {f"extra{index}": torch.zeros(0) for index in range(MAX_TENSORS)}
    save_file(weights | dict(list(empty.items())[:5]), path)
    load(str(compact), CPU, torch.float32)
    save_file(weights | empty, path)
    refused(compact, "unet.*holds more than 10,000 weights")


def test_a_family_that_is_no_name_is_described(compact: Path) -> None:
    change(compact / "model_index.json", _class_name=["a"])
    refused(compact, r"model_index\.json.*_class_name is a list of 1, but it must be Compact")
