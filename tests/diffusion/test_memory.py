"""Frames are cut up to fit the memory, both beforehand and when it runs out."""

import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch
from torch import Tensor

from tests.simulated_gpu import SimulatedGPU
from vidx4.diffusion.footprint import LARGEST_LAYERS, Footprint, GPUFootprint, HostFootprint
from vidx4.diffusion.memory import CONTEXT_BYTES, DECODE_TILES, Fit, capacity, check_size
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import MemoryLimitError, OptionError
from vidx4.frames import FrameBatch
from vidx4.option import options_of
from vidx4.syntax import parse_size

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6GB", 6 * 10**9),
        ("6 gb", 6 * 10**9),
        ("512MiB", 512 * 2**20),
        ("7.5G", 7.5e9),
        ("0.5TiB", 2**39),
        ("800kb", 800_000),
    ],
)
def test_sizes_may_be_written_in_common_ways(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "6", "GB", "-1GB", "0GB", "six GB", "nanGB", "1e30GB", "6XB", "6GiBiB"])
def test_other_text_is_not_a_size(text: str) -> None:
    with pytest.raises(OptionError, match="--max-memory"):
        options_of(UpscaleOptions)["max-memory"].parse(text)


def test_capacity_does_not_depend_on_what_is_free() -> None:
    with patch("vidx4.diffusion.memory.psutil.virtual_memory") as memory:
        memory.return_value = Mock(total=10**10, available=10**9)
        assert capacity(CPU, None) == 9 * 10**9
        memory.return_value = Mock(total=10**10, available=10**8)
        assert capacity(CPU, None) == 9 * 10**9
        assert capacity(CPU, 10**6) == 10**6


def test_too_little_free_memory_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    upscaler = Upscaler.load("compact", device="cpu")
    with patch("vidx4.diffusion.upscaler.free", return_value=10**8):
        upscaler.fitted(320, 240)
    assert re.search(r"320x240 .* 100 MB of cpu", caplog.text)


def machine_of(memory: float, swap: float = 0) -> ExitStack:
    """Pretend that the machine has so many bytes of memory and swap."""
    stack = ExitStack()
    for name, total in (("virtual_memory", memory), ("swap_memory", swap)):
        faked = Mock(total=int(total), available=int(total))
        stack.enter_context(patch(f"vidx4.diffusion.memory.psutil.{name}", return_value=faked))
    return stack


def test_what_can_not_fit_memory_and_swap_is_refused() -> None:
    with machine_of(8e9, 8e9):
        check_size(CPU, 2500, 2500)
        with pytest.raises(MemoryLimitError, match=r"13000x13000 .* 406 GB.* 16 GB .*--ignore-memory"):
            check_size(CPU, 13000, 13000)


def test_a_size_that_would_fit_is_named() -> None:
    with machine_of(8e9):
        with pytest.raises(MemoryLimitError) as raised:
            check_size(CPU, 20000, 10000)
        width, height = map(int, re.findall(r"about (\d+)x(\d+) fits", str(raised.value))[0])
        assert abs(width - 2 * height) <= 2
        check_size(CPU, width, height)


def test_the_user_may_try_all_the_same() -> None:
    with machine_of(1e9):
        upscaler = Upscaler.load("compact", device="cpu")
        with pytest.raises(MemoryLimitError, match="--ignore-memory"):
            upscaler.fitted(1000, 1000)
        fitted = upscaler.with_options(replace(upscaler.options, ignore_memory=True)).fitted(1000, 1000)
    assert fitted.identity == upscaler.with_options(replace(fitted.options, ignore_memory=False)).identity


def footprint(weights: int = 10**9, *, is_on_host: bool = False) -> Footprint:
    fields: dict[str, Any] = {
        "denoiser": weights,
        "autoencoder": weights // 10,
        "bytes_per_pixel": 10_000,
        "has_decode_tiles": True,
        "decode_bytes": lambda side, num_frames, num_latents: 100_000 * side**2 + 500 * num_latents,
        "is_lessened_by_tiles": True,
        "size_multiple": 8,
    }
    return HostFootprint(**fields) if is_on_host else GPUFootprint(**fields, remembered_bytes=16)


def test_each_smaller_fit_takes_no_more_memory() -> None:
    preferred = Fit(8, None, DECODE_TILES[0])
    fits = [preferred, *preferred.smaller(1920, 1080)]
    needs = [footprint(is_on_host=True).needed(fit, 1920, 1080) for fit in fits]
    assert needs == sorted(needs, reverse=True)
    # Frames are finished as a whole, beside all their tiles: on a GPU, that bounds what small tiles save.
    needs = [
        footprint().needed(fit, 1920, 1080) for fit in fits if fit.tile_size is None or fit.tile_size > 256
    ]
    assert needs == sorted(needs, reverse=True)
    assert [fit.decode_tile for fit in fits[: len(DECODE_TILES)]] == list(DECODE_TILES)
    last = fits[-1]
    assert last == Fit(1, 32, DECODE_TILES[-1], is_offloaded=True)
    assert list(last.smaller(1920, 1080)) == []


def test_decode_tiles_are_smaller_than_the_frames() -> None:
    first = next(Fit(2, None, DECODE_TILES[0]).smaller(320, 240))
    assert first.decode_tile == 256  # 512 would decode both frames as wholes, as the first one does


def test_tiles_are_smaller_than_the_frame() -> None:
    for preferred, least, size in (
        (Fit(1, None, 128), 320, (320, 240)),
        (Fit(1, 200, 128), 201, (1920, 1080)),
    ):
        for fit in (*preferred.smaller(*size), *preferred.choices(*size)):
            assert (fit.tile_size or 0) < least


def test_no_tiles_are_used_if_smaller_ones_cost_less() -> None:
    """1920x1080 in tiles of 1024 is 1.59 times as large, in tiles of 768 only 1.42 times."""
    sides = [fit.tile_size for fit in Fit(1, None, 128).smaller(1920, 1080)]
    assert 1024 not in sides
    assert {1280, 768} <= set(sides)


@pytest.mark.parametrize("room", [2e9, 3e9, 5e9, 8e9, 30e9])
def test_the_largest_fit_within_the_memory_is_chosen(room: float) -> None:
    choices = list(Fit(8, None, 128).choices(640, 480))
    chosen = footprint().fitted(choices[0], 640, 480, int(room))
    assert footprint().needed(chosen, 640, 480) <= room
    larger = choices[: choices.index(chosen)]
    assert all(footprint().needed(fit, 640, 480) > room for fit in larger)


def test_the_fastest_choices_come_first() -> None:
    choices = list(Fit(4, None, DECODE_TILES[1]).choices(640, 480))
    assert choices[0] == Fit(4, None, DECODE_TILES[1])
    assert choices[1] == Fit(4, None, DECODE_TILES[2])
    assert Fit(1, 512, DECODE_TILES[1]) in choices, "a tile may be decoded in larger pieces than a frame"
    offloaded = [fit.is_offloaded for fit in choices]
    assert offloaded == sorted(offloaded)
    assert len(set(choices)) == len(choices)


def test_too_little_for_anything_is_the_fit_that_takes_least() -> None:
    assert footprint().fitted(Fit(8, None, 128), 640, 480, 1).is_offloaded


def test_the_context_of_a_gpu_is_left_free(simulated_gpu: SimulatedGPU) -> None:
    device = torch.device("cuda", 0)
    assert capacity(device, None) == int(0.9 * simulated_gpu.total_memory) - CONTEXT_BYTES
    assert capacity(device, 10**9) == 10**9


def test_what_can_not_fit_a_gpu_is_refused(simulated_gpu: SimulatedGPU) -> None:
    device = torch.device("cuda", 0)
    check_size(device, 4000, 4000)
    with pytest.raises(MemoryLimitError, match=r"6000x6000 .* 24 GB of cuda:0 memory: ") as raised:
        check_size(device, 6000, 6000)
    width, height = map(int, re.findall(r"about (\d+)x(\d+) fits", str(raised.value))[0])
    check_size(device, width, height)


def test_a_model_without_decode_tiles_needs_no_memory_to_decode() -> None:
    compact = replace(footprint(), has_decode_tiles=False, decode_bytes=None)
    assert compact.needed(Fit(1, None), 64, 64) < footprint().needed(Fit(1, None, 128), 64, 64)


def test_offloading_saves_memory_on_a_gpu_only() -> None:
    fit = Fit(1, None, 128)
    for is_on_host, saved in ((False, 1.05 * (10**9 - LARGEST_LAYERS)), (True, 0)):
        taken = footprint(is_on_host=is_on_host)
        offloaded = replace(fit, is_offloaded=True)
        assert taken.needed(fit, 64, 64) - taken.needed(offloaded, 64, 64) == pytest.approx(saved, abs=1)


def frames(num_frames: int, height: int, width: int) -> FrameBatch:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(num_frames, 3, height // 8, width // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return FrameBatch((smooth * 255).to(torch.uint8), tuple(range(num_frames)))


def refuse_above(limit: int, network: Any) -> Callable[..., None]:
    """Make a network run out of memory when it gets more pixels than a limit."""

    def check(_: Any, inputs: tuple[Tensor, ...]) -> None:
        pixels = inputs[0].shape[0] * inputs[0].shape[2] * inputs[0].shape[3]
        if pixels > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return network.register_forward_pre_hook(check)  # type: ignore[no-any-return]


@pytest.fixture
def load(tiny_folder: Path) -> Callable[..., Upscaler]:
    def load(**options: Any) -> Upscaler:
        settings: dict[str, Any] = {"num_inference_steps": 2, "dtype": "float32", "device": "cpu"}
        return Upscaler.load(str(tiny_folder), **settings | options)

    return load


def test_a_batch_that_does_not_fit_is_split(
    load: Callable[..., Upscaler], caplog: pytest.LogCaptureFixture
) -> None:
    batch = frames(4, 32, 40)
    expected = load()(batch).batch.data
    upscaler = load()
    refuse_above(32 * 40, upscaler.components.unet.conv_in)
    actual = upscaler(batch).batch.data
    assert upscaler.fit.batch_size == 1
    assert "in batches of 1" in caplog.text
    assert (actual.int() - expected.int()).abs().max() <= 1
    caplog.clear()
    upscaler(batch)
    assert not caplog.records, "the smaller batches should be reported once, and kept"


@pytest.mark.slow
def test_a_frame_that_does_not_fit_continues_in_tiles(
    load: Callable[..., Upscaler], caplog: pytest.LogCaptureFixture
) -> None:
    batch = frames(2, 136, 160)
    upscaler = load()
    first = upscaler(FrameBatch(batch.data[:1], (0,)))
    refuse_above(128 * 128, upscaler.components.unet.conv_in)
    second = upscaler(FrameBatch(batch.data[1:], (1,)), first.state)
    assert upscaler.fit.tile_size == 128
    assert "tiles of 128" in caplog.text
    tiled = load(tile_size=128)
    state = tiled(FrameBatch(batch.data[:1], (0,))).state
    expected = tiled(FrameBatch(batch.data[1:], (1,)), state)
    # The second frame is tied to the first, which was whole here and tiled there.
    assert (second.batch.data.int() - expected.batch.data.int()).abs().float().mean() < 4
    assert second.state is not None
    upscaler(FrameBatch(batch.data[:1], (2,)), second.state)  # the shot can continue


def test_too_little_memory_for_the_smallest_fit_is_an_error(load: Callable[..., Upscaler]) -> None:
    upscaler = load()
    refuse_above(0, upscaler.components.unet.conv_in)
    with pytest.raises(MemoryLimitError, match=r"40x32.*--device"):
        upscaler(frames(2, 32, 40))
    assert upscaler.fit.batch_size == 1


def test_offloaded_weights_give_the_same_bits(load: Callable[..., Upscaler]) -> None:
    batch = frames(2, 32, 40)
    expected = load()(batch)
    upscaler = load()
    identity = load().identity
    upscaler.components.offload()
    assert all(parameter.is_meta for parameter in upscaler.components.unet.parameters())
    assert torch.equal(upscaler(batch).batch.data, expected.batch.data)
    assert upscaler.identity == identity


def test_other_errors_are_passed_on(load: Callable[..., Upscaler]) -> None:
    upscaler = load()

    def fail(*_: Any) -> None:
        raise RuntimeError("a fault")

    upscaler.components.unet.conv_in.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="a fault"):
        upscaler(frames(1, 32, 40))


def test_a_memory_limit_is_met_by_tiles(
    load: Callable[..., Upscaler], caplog: pytest.LogCaptureFixture
) -> None:
    upscaler = load(max_memory=parse_size("2.5GB"))
    assert upscaler.fitted(160, 120).settings.tile_size is None
    assert "tiles" not in caplog.text
    large = upscaler.fitted(320, 240)
    assert large.settings.tile_size == 256
    assert re.search(r"2\.5 GB of cpu.* 320x240 .*tiles of 256", caplog.text)
    assert large.identity["tile-size"] == 256
    assert large.identity["tile-overlap"] == 64


def test_tiles_are_not_used_if_they_save_nothing() -> None:
    upscaler = Upscaler.load("compact", device="cpu", dtype="float32", max_memory=parse_size("1.1GB"))
    with pytest.raises(MemoryLimitError, match=r"320x240 .* 1\.1 GB of cpu"):
        upscaler.fitted(320, 240)


def test_a_memory_limit_below_the_smallest_fit_is_refused() -> None:
    upscaler = Upscaler.load("compact", device="cpu", max_memory=parse_size("300MB"))
    with pytest.raises(MemoryLimitError, match=r"320x240 .* 300 MB of cpu"):
        upscaler.fitted(320, 240)


def test_tiles_get_as_small_as_a_user_may_ask_for() -> None:
    host = footprint(10**7, is_on_host=True)
    whole = Fit(1, None, 64, is_offloaded=True)
    needed = {size: host.needed(replace(whole, tile_size=size), 176, 144) for size in (128, 96, 64, 32)}
    for size, least in needed.items():
        assert host.fitted(whole, 176, 144, least).tile_size == size
    assert host.least(176, 144) == needed[32]


def test_small_tiles_are_a_last_resort() -> None:
    """Offloaded weights come first, so what was chosen for a GPU before there were small tiles stays so."""
    choices = list(Fit(8, None, 128).choices(640, 480))
    first = next(index for index, fit in enumerate(choices) if (fit.tile_size or 128) < 128)
    assert all(fit.is_offloaded and (fit.tile_size or 128) < 128 for fit in choices[first:])
    assert Fit(1, None, 128, is_offloaded=True) in choices[:first]


def test_tiles_suit_the_model() -> None:
    coarse = replace(footprint(is_on_host=True), size_multiple=64)
    assert coarse.fitted(Fit(1, None, 128, is_offloaded=True), 320, 240, 1).tile_size == 64


def test_a_limit_holds_for_those_who_ignore_memory_too() -> None:
    upscaler = Upscaler.load("compact", device="cpu", max_memory=10**8, ignore_memory=True)
    with pytest.raises(MemoryLimitError, match=r"\(--ignore-memory does not lift --max-memory\)") as raised:
        upscaler.fitted(8, 8)
    assert "--tile-size" not in str(raised.value)


def test_the_users_sizes_are_kept_if_they_fit() -> None:
    upscaler = Upscaler.load("compact", device="cpu", tile_size=64)
    fit = upscaler.fitted(320, 240, batch_size=5).fit
    assert (fit.batch_size, fit.tile_size) == (5, 64)


OUT_OF_MEMORY = """
import resource, sys, torch
from vidx4 import FrameBatch, Upscaler
torch.set_num_threads(1)
upscaler = Upscaler.load("compact", device="cpu", dtype="float32", temporal="off")
frames = FrameBatch(torch.randint(0, 256, (8, 3, 240, 320), dtype=torch.uint8), tuple(range(8)))
upscaler(FrameBatch(frames.data[:1], (0,)))
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize:")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20, resource.RLIM_INFINITY))
upscaler(frames)
print(upscaler.fit.batch_size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process so")
def test_running_out_of_real_memory_is_survived() -> None:
    """Eight frames take 1 GB, and there are 700 MB."""
    done = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8
