"""Stream-DiffVSR loads from a folder in the published layout, and every defect is a clear error."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import sd_x4
from tests import stream_diffvsr as models
from vidx4.diffusion.footprint import GPUFootprint
from vidx4.diffusion.footprints import known_footprints
from vidx4.diffusion.memory import Fit
from vidx4.diffusion.models import decoders, registry
from vidx4.diffusion.models.known import STREAM_REPOSITORY, known_models
from vidx4.diffusion.models.loading import hub
from vidx4.diffusion.models.registry import family_of, load
from vidx4.diffusion.models.stream_diffvsr import STREAM
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import ModelError, OptionError
from vidx4.frames import FrameBatch

CPU = torch.device("cpu")


@pytest.fixture
def folder(stream_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stream_folder, tmp_path / "stream"))


def change(path: Path, **settings: Any) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(json.loads(text) | settings), encoding="utf-8")


def split_tokenizer(folder: Path) -> Path:
    """Give a model a tokenizer in files like the published ones, and return its folder."""
    tokenizer, vocabulary = folder / "tokenizer", sd_x4.make_tokenizer().get_vocab()
    shutil.rmtree(tokenizer)
    tokenizer.mkdir()
    config = {"pad_token": "!", "eos_token": "<|endoftext|>"}
    (tokenizer / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return tokenizer


def test_a_folder_needs_neither_a_scheduler_of_low_res_noise_nor_merges(folder: Path) -> None:
    """The prompt is empty, so there are no words to take apart."""
    expected = load(str(folder), CPU, torch.float32).prompt_embeds
    split_tokenizer(folder)
    assert hub.is_complete(folder)
    found = load(str(folder), CPU, torch.float32).prompt_embeds
    assert found is not None
    assert expected is not None
    assert torch.equal(found.positive, expected.positive)
    assert not found.guides(9.0)


@pytest.mark.parametrize(
    "name",
    [
        "controlnet/config.json",
        "controlnet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "tokenizer/vocab.json",
    ],
)
def test_an_interrupted_download_is_not_complete(name: str, folder: Path) -> None:
    split_tokenizer(folder)
    (folder / name).unlink()
    assert not hub.is_complete(folder)
    with pytest.raises(ModelError, match="incomplete"):
        load(str(folder), CPU, torch.float32)


def test_the_controlnet_is_fetched_where_there_is_one() -> None:
    files = [f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae", "controlnet")]
    files += ["text_encoder/model.safetensors", "unet/config.json", "controlnet/config.json"]
    assert set(hub.needed(files, half=True)) == set(files)
    with pytest.raises(FileNotFoundError, match="controlnet"):
        hub.needed([name for name in files if not name.startswith("controlnet/d")], half=True)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("controlnet", {"cross_attention_dim": 16}, "cross_attention_dim of its ControlNet|can't be used"),
        ("controlnet", {"conditioning_embedding_out_channels": [8, 32]}, "must be a list of 3"),
        ("controlnet", {"_class_name": "Other"}, "_class_name is 'Other', but it must be Contr"),
        ("vae", {"decoder_block_out_channels": [16, 16, 32]}, "as many channels"),
        ("vae", {"num_decoder_blocks": [3, 3, 2]}, "as many blocks"),
        ("vae", {"num_encoder_blocks": [1, 3, 3, 3]}, "must be a list of 3"),
        ("vae", {"num_decoder_blocks": [3, 0, 3]}, "is a list with 0 in it, but it must be a list of 3"),
        ("vae", {"act_fn": "gelu"}, "act_fn is 'gelu'"),
        ("unet", {"num_class_embeds": 0}, "num_class_embeds is 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    name: str, settings: dict[str, Any], message: str, folder: Path
) -> None:
    change(folder / name / "config.json", **settings)
    with pytest.raises(ModelError, match=message):
        load(str(folder), CPU, torch.float32)


def test_a_controlnet_of_another_unet_is_refused(folder: Path) -> None:
    other = models.make_controlnet(models.make_unet((32, 32, 64, 96)))
    models.fill(other, "controlnet").save_pretrained(folder / "controlnet")
    with pytest.raises(ModelError, match="block_out_channels of its ControlNet is not that of its UNet"):
        load(str(folder), CPU, torch.float32)


def test_networks_with_classes_are_given_one(tmp_path: Path) -> None:
    models.save_model(tmp_path, models.make_networks(classes=30))
    upscaler = Upscaler.load(str(tmp_path), device="cpu", dtype="float32", num_inference_steps=1)
    frames = torch.randint(256, (2, 3, 16, 24), dtype=torch.uint8)
    assert upscaler(FrameBatch(frames, (0, 1))).batch.data.shape == (2, 3, 64, 96)


def test_another_model_is_not_taken_for_the_published_one(stream_folder: Path) -> None:
    with pytest.raises(ModelError, match="not the published stream-diffvsr: UNet parameters"):
        load("stream-diffvsr", CPU, torch.float32, path=stream_folder)


def test_the_copy_in_another_precision_computes_alike(stream_folder: Path) -> None:
    """As is done for frames whose numbers overflow."""
    components = load(str(stream_folder), CPU, torch.bfloat16)
    finer = components.in_precision(torch.float32)
    assert (components.dtype, finer.dtype) == (torch.bfloat16, torch.float32)
    assert finer.prompt_embeds is not None
    sample, picture = models.uniform("sample", (1, 7, 8, 8), 1.7), models.uniform("seen", (1, 3, 32, 32), 1)
    found = []
    with torch.inference_mode():
        for each in (components, finer):
            assert each.prompt_embeds is not None
            denoiser = each.denoiser.seeing(picture)  # type: ignore[attr-defined]
            prompt = each.prompt_embeds.positive
            found.append(denoiser(sample.to(each.dtype), torch.tensor(499), 0, prompt, None).output.float())
    assert (found[0] - found[1]).abs().mean() < 0.05 * found[1].abs().mean()


def test_families_are_known_before_a_model_is_loaded(
    stream_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stream-diffvsr", STREAM_REPOSITORY, f"{STREAM_REPOSITORY}@main", str(stream_folder)):
        assert family_of(name) is STREAM
    monkeypatch.setattr(registry, "cached", lambda repository, revision: stream_folder)
    assert family_of("someone/copy") is STREAM
    operations = STREAM.operations_of_frame(UpscaleOptions(model="stream-diffvsr"), 320, 180)
    assert operations == pytest.approx(22.2e12, rel=0.01)


def test_it_is_listed_with_what_is_known_of_its_licence() -> None:
    model = next(each for each in known_models() if each.name == "stream-diffvsr")
    assert "no licence" in model.description
    assert "Open RAIL++-M" in model.description


def test_its_memory_is_known_before_it_is_loaded() -> None:
    footprint = known_footprints(torch.float16, torch.device("cuda"))["stream-diffvsr"]
    assert isinstance(footprint, GPUFootprint)
    assert 1.3e9 < footprint.denoiser < 1.4e9
    assert 2.2e9 < footprint.needed(Fit(1, None), 320, 240) < 2.6e9


def test_the_tiny_decoder_decodes_for_sd_x4(stream_folder: Path, tiny_folder: Path) -> None:
    options = {"device": "cpu", "dtype": "float32", "num_inference_steps": 1}
    own = Upscaler.load(str(tiny_folder), **options)
    tiny = own.with_options(UpscaleOptions(str(tiny_folder), decoder=str(stream_folder), **options))  # type: ignore[arg-type]
    frames = FrameBatch(torch.randint(256, (2, 3, 16, 24), dtype=torch.uint8), (0, 1))
    assert not torch.equal(tiny(frames).batch.data, own(frames).batch.data)
    assert (tiny.identity["decoder"], own.identity["decoder"]) == ("tiny", None)
    assert tiny.identity["weights"] != own.identity["weights"]
    assert tiny.fitted(24, 16).fit.decode_tile is None


@pytest.mark.parametrize("name", ["tiny", "./missing"])
def test_a_decoder_that_is_not_there_is_an_error(
    name: str, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "cached_part", lambda *_: None)
    with pytest.raises(ModelError, match=r"hf download|There is no decoder"):
        load(str(tiny_folder), CPU, torch.float32, decoder=name)


def test_the_cached_decoder_is_tiny(
    stream_folder: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "cached_part", lambda *_: stream_folder)
    components = load(str(tiny_folder), CPU, torch.float32, decoder="tiny")
    assert components.tiled_autoencoder is None
    assert components.trained_autoencoder is not None


def test_a_prompt_is_refused(stream_folder: Path) -> None:
    with pytest.raises(OptionError, match="takes no prompt"):
        load(str(stream_folder), CPU, torch.float32, prompt="a dog")
