"""Models in files enlarge as spandrel does, through the same loop as every other model."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.community import make_network, save_network
from tests.moving import pan
from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.models.community import FoldedPicture, community_family
from vidx4.diffusion.models.registry import family_of, find, is_hub_id, local_folder
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import ModelError, OptionError
from vidx4.frames import FrameBatch

KINDS = ("Compact", "ESRGAN", "SPAN", "SwinIR")
ROUNDED = 0.51
"""Levels between a number and the whole level that it is rounded to."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny model in a file."""
    return save_network(tmp_path_factory.mktemp("models") / "tiny.safetensors")


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def load(path: Path, **options: Any) -> Upscaler:
    return Upscaler.load(str(path), device="cpu", **options)


def enlarged(upscaler: Upscaler, frames: Tensor) -> Tensor:
    return upscaler(FrameBatch(frames, tuple(range(len(frames))))).batch.data


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_what_the_network_makes_of_it(tmp_path: Path, kind: str) -> None:
    frames = noise(1, 3, 24, 32)
    made = enlarged(load(save_network(tmp_path / "x.safetensors", kind)), frames)
    with torch.no_grad():
        expected = make_network(kind)(frames / 255).clamp(0, 1) * 255
    assert (made.float() - expected).abs().max() <= ROUNDED


def test_sixteen_bits_stay_sixteen(path: Path) -> None:
    frames = (noise(1, 3, 24, 32).int() * 257 + 3).to(torch.uint16)
    made = enlarged(load(path), frames)
    assert made.dtype == torch.uint16
    with torch.no_grad():
        expected = make_network("Compact")(frames.float() / 65535).clamp(0, 1) * 65535
    assert (made.float() - expected).abs().max() <= 1  # float32 holds a hundredth of such a level


@pytest.mark.parametrize("size", [(13, 21), (9, 40)])
def test_any_size_is_padded_to_what_the_network_takes(tmp_path: Path, size: tuple[int, int]) -> None:
    made = enlarged(load(save_network(tmp_path / "x.safetensors", "SwinIR")), noise(1, 3, *size))
    assert made.shape == (1, 3, 4 * size[0], 4 * size[1])


def test_tiles_agree_with_whole_frames(path: Path) -> None:
    """Within the reach of four pixels, tiles see less; they fade into each other over eight."""
    frames = pan(1, 0, 0)[..., :60, :80]
    whole, tiled = (enlarged(load(path, tile_size=size), frames).float() for size in (None, 32))
    assert (whole - tiled).abs().mean() < 0.1


@pytest.mark.parametrize("kind", ["Compact", "ESRGAN", "SPAN"])
def test_nothing_beyond_the_reach_affects_a_pixel(tmp_path: Path, kind: str) -> None:
    upscaler = load(save_network(tmp_path / "x.safetensors", kind))
    reach = upscaler.components.reach
    assert reach is not None
    frame = noise(1, 3, 8, 2 * reach + 9)
    other = frame.clone()
    other[..., :4] = 255 - other[..., :4]
    one, two = (enlarged(upscaler, each) for each in (frame, other))
    assert torch.equal(one[..., 4 * (4 + reach) :], two[..., 4 * (4 + reach) :])
    assert not torch.equal(one[..., :16], two[..., :16])


def test_unchanged_parts_are_reused_to_the_bit(path: Path) -> None:
    first = noise(1, 3, 64, 96)
    second = first.clone()
    second[..., 8:12, 8:12] = 0
    upscaled = load(path)(FrameBatch(torch.cat([first, second]), (0, 1)))
    assert upscaled.num_reused > 0.5
    # Boxes and whole frames may round differently.
    alone = enlarged(load(path), second)
    assert (upscaled.batch.data[1].int() - alone[0].int()).abs().max() <= 1
    assert torch.equal(upscaled.batch.data[0][..., 200:, 200:], upscaled.batch.data[1][..., 200:, 200:])


def test_a_shot_that_is_split_gives_the_same(path: Path) -> None:
    frames = pan(4, 1.5, 0.5)[..., :32, :48]
    upscaler = load(path, consistency=0.5)
    whole = enlarged(upscaler, frames)
    first = upscaler(FrameBatch(frames[:2], (0, 1)))
    second = upscaler(FrameBatch(frames[2:], (2, 3)), first.state)
    assert torch.equal(whole, torch.cat([first.batch.data, second.batch.data]))


def test_consistency_ties_frames(path: Path) -> None:
    """Frames that move follow each other closer than alone; a still shot shows noise less."""
    still = pan(1, 0, 0)[..., :32, :48].expand(3, -1, -1, -1)
    grain = torch.randn(still.shape, generator=torch.Generator().manual_seed(2)) * 6
    frames = (still + grain).clamp(0, 255).to(torch.uint8)
    loose, tied = (
        enlarged(load(path, consistency=c), frames).float().diff(dim=0).abs().mean() for c in (0, 0.8)
    )
    assert tied < 0.9 * loose


def test_strength_0_is_the_bicubic_picture(path: Path) -> None:
    frames = FrameBatch(noise(1, 3, 24, 32), (0,))
    made = load(path, strength=0.0)(frames).batch.data
    assert (made.int() - enlarge_frames(frames).data.int()).abs().max() <= 1


def test_the_colour_fix_is_off_unless_it_is_asked_for(path: Path) -> None:
    frames = pan(1, 0, 0)[..., :32, :48]
    plain, off, on = (load(path, color_fix=each) for each in (None, "off", "wavelet"))
    assert torch.equal(enlarged(plain, frames), enlarged(off, frames))
    mean = frames.float().mean()
    fixed, left = (abs(enlarged(each, frames).float().mean() - mean) for each in (on, off))
    assert fixed < 1 < left
    assert plain.identity == off.identity
    assert on.identity["color-fix"] == "wavelet"
    assert Upscaler.load("compact", device="cpu").identity["color-fix"] == "wavelet"


def test_folding_loses_nothing() -> None:
    picture = torch.rand(1, 3, 16, 24)
    latents = torch.nn.functional.pixel_unshuffle(picture, 4)
    assert torch.equal(FoldedPicture().decode(latents, picture), picture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_inference_steps": 2}, "--steps must be 1"),
        ({"scheduler": "ddim"}, "leave out --scheduler"),
        ({"noise_level": 5}, "knows no noise level"),
        ({"noise_level": "auto+5"}, "knows no noise level"),
        ({"prompt": "a cat"}, "takes no prompt"),
        ({"negative_prompt": "a cat"}, "takes no prompt"),
        ({"guidance_scale": 2.0}, "--guidance-scale must be 1"),
        ({"guidance_stop": 0.5}, "--guidance-stop must be 1"),
        ({"texture": 0.5}, "--texture must be 0"),
        ({"cache_interval": 2}, "--cache-interval must be 1"),
        ({"compile": "on"}, "not possible"),
        ({"dtype": "float16"}, "float16"),
    ],
)
def test_options_that_it_lacks_are_refused(path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load(path, **options)


def test_a_precision_that_the_network_lacks_is_refused(tmp_path: Path) -> None:
    path = save_network(tmp_path / "x.safetensors", "SwinIR")
    assert load(path).components.dtype == torch.float32  # bfloat16 would have too few digits
    half = load(save_network(tmp_path / "y.safetensors"), dtype="bfloat16")
    assert half.components.dtype == torch.bfloat16
    assert enlarged(half, noise(1, 3, 16, 16)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_in_higher_precision_computes_the_same(tmp_path: Path, kind: str) -> None:
    """Of SwinIR, whole numbers that pick from tables stay whole."""
    components = load(save_network(tmp_path / "x.safetensors", kind), dtype="float32").components
    copy = components.in_precision(torch.float32)
    sample = torch.rand(1, 51, 16, 16)
    with torch.no_grad():
        one, two = (each.unet(sample, torch.tensor(0))[0] for each in (components, copy))
    assert torch.equal(one, two)
    assert copy.unet is not components.unet


@pytest.mark.parametrize("kind", KINDS)
def test_operations_are_those_that_pytorch_counts(tmp_path: Path, kind: str) -> None:
    path = save_network(tmp_path / "x.safetensors", kind)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        make_network(kind)(torch.zeros(1, 3, 64, 64))
    counted = counter.get_total_flops()
    operations = community_family(path).operations
    assert operations.per_pixel * 64 * 64 == pytest.approx(counted, rel=0.05)  # SPAN merges weights once
    assert operations.per_pair == 0


def test_its_digest_is_that_of_its_weights(tmp_path: Path) -> None:
    one, two = (save_network(tmp_path / name) for name in ("a.safetensors", "b.pth"))
    assert load(one).components.digest == load(two).components.digest
    other = save_network(tmp_path / "c.safetensors", num_conv=3)
    assert load(one).components.digest != load(other).components.digest


def test_the_digest_of_span_does_not_change_at_work(tmp_path: Path) -> None:
    upscaler = load(save_network(tmp_path / "x.safetensors", "SPAN"))
    before = upscaler.identity
    enlarged(upscaler, noise(1, 3, 16, 16))
    again = load(tmp_path / "x.safetensors")
    assert again.identity == before == upscaler.identity


def test_names_that_end_like_files_are_files(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    assert find("./tiny.safetensors", torch.float32) == Path("tiny.safetensors")
    assert find("tiny.safetensors", torch.float32) == Path("tiny.safetensors")
    assert not is_hub_id("owner/tiny.safetensors")
    assert local_folder("tiny.safetensors") is None
    assert family_of("tiny.safetensors").takes_prompts is False


def test_spandrel_leaves_no_stand_in_behind(path: Path) -> None:
    load(path)
    assert "torchvision" not in sys.modules


def test_without_spandrel_the_way_to_install_it_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vidx4.diffusion.models import spandrel_models

    spandrel_models.library.cache_clear()
    monkeypatch.setattr(spandrel_models, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed: pip install spandrel"):
        spandrel_models.read_file(path)
