"""Frames whose numbers overflow are rendered again in higher precision; nothing of the overflow is kept."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import MakeVideo
from tests.simulated_gpu.gpu import SimulatedGPU
from vidx4.diffusion.finite import FrameOverflowError, Results
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.models.registry import load
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.sampler import to_signal
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import DeviceError, NotFiniteError
from vidx4.frames import FrameBatch
from vidx4.jobs.run import upscale_video
from vidx4.temporal.state import ShotState

CPU = torch.device("cpu")


@pytest.fixture(params=["compact", "sd-x4 topology"])
def model(request: pytest.FixtureRequest, tiny_folder: Path) -> str:
    return "compact" if request.param == "compact" else str(tiny_folder)


def frames(*levels: int, pts: int = 0) -> FrameBatch:
    """Return frames with noise around gray levels."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 20, (len(levels), 3, 24, 32), generator=generator)
    data = torch.tensor(levels)[:, None, None, None] + noise
    return FrameBatch(data.to(torch.uint8), tuple(range(pts, pts + len(levels))))


def upscaler_of(components: Components, **options: Any) -> Upscaler:
    options = {"model": components.name, "num_inference_steps": 2, **options}
    return Upscaler(components, UpscaleOptions(**options))


def overflowing(model: str) -> Components:
    """Load a model in float16, with weights that give numbers far beyond its range."""
    components = load(model, CPU, torch.float16)
    first = next(each for each in components.unet.modules() if isinstance(each, nn.Conv2d))
    weight = first.weight.float()
    first.weight.data = (3e4 / weight.abs().max() * weight).half()
    return components


@pytest.fixture
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next precision be float32, whatever this CPU can do."""
    monkeypatch.setattr("vidx4.diffusion.device.has_bfloat16", lambda _: False)


@pytest.mark.usefixtures("without_bfloat16")
@pytest.mark.parametrize("options", [{}, {"tile_size": 32}], ids=str)
def test_an_overflow_is_rendered_again_in_higher_precision(
    model: str, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    components = overflowing(model)
    precise = upscaler_of(components.in_precision(torch.float32), **options)
    upscaler = upscaler_of(components, **options)
    expected, actual = (each(frames(40, 60)) for each in (precise, upscaler))
    upscaler(frames(80, pts=2), actual.state)
    assert expected.batch.data.float().std() > 1
    assert torch.equal(actual.batch.data, expected.batch.data)
    assert caplog.text.count("overflowed") == 1
    assert "In float16" in caplog.text
    assert "--dtype float32" in caplog.text


def hidden(state: ShotState) -> Iterator[Tensor]:
    yield from (each for each in (state.latents, state.hidden) if each is not None)
    if state.tiles is not None:
        yield from state.tiles


@pytest.mark.parametrize("options", [{}, {"tile_size": 32}], ids=str)
def test_nothing_of_an_overflow_is_kept(model: str, options: dict[str, Any]) -> None:
    components = overflowing(model)
    state = upscaler_of(components, **options)(frames(40, 60)).state
    assert state is not None
    assert all(bool(each.isfinite().all()) for each in hidden(state))
    assert state.hidden is None or state.hidden.dtype == components.dtype


def bright_frames_overflow(components: Components) -> list[int]:
    """Make bright frames overflow in the model's precision; return a list of how often that was."""
    found: list[int] = []
    conv = next(each for each in components.unet.modules() if isinstance(each, nn.Conv2d))

    def overflow(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        is_bright = inputs[0].flatten(1).amax(1) > 1.5
        found.append(int(is_bright.sum()))
        return torch.where(is_bright[:, None, None, None], torch.inf, output)

    conv.register_forward_hook(overflow)
    return found


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the low-resolution picture that models see be twice as bright as it is, so that some is above 1."""
    monkeypatch.setattr("vidx4.diffusion.sampler.to_signal", lambda *args: 2 * to_signal(*args))


@pytest.mark.usefixtures("bright")
@pytest.mark.parametrize("temporal", ["fixed", "moving"])
def test_a_job_that_resumes_after_an_overflow_gives_the_same(
    model: str, temporal: str, tmp_path: Path
) -> None:
    def batches() -> list[FrameBatch]:
        return [frames(20, 24, pts=0), frames(28, 230, pts=2), frames(32, 36, pts=4)]

    def fresh() -> Upscaler:
        components = load(model, CPU, torch.bfloat16)
        bright_frames_overflow(components)
        return upscaler_of(components, temporal=temporal, noise_level=0)

    whole, state = [], None
    upscaler = fresh()
    for index, batch in enumerate(batches()):
        upscaled = upscaler(batch, state)
        whole.append(upscaled.batch.data)
        state = upscaled.state
        assert state is not None
        state.save(tmp_path / str(index))
    for index in (0, 1):
        resumed = fresh()(batches()[index + 1], ShotState.load(tmp_path / str(index)))
        assert torch.equal(resumed.batch.data, whole[index + 1])


@pytest.mark.usefixtures("without_bfloat16")
def test_a_still_picture_is_rendered_again_too(model: str) -> None:
    components = overflowing(model)
    colors = frames(60).data[0].permute(1, 2, 0).numpy()
    expected, actual = (
        upscaler_of(each).picture(colors) for each in (components.in_precision(torch.float32), components)
    )
    assert np.array_equal(actual, expected)
    assert actual.std() > 1


def spoil(upscaler: Upscaler) -> Upscaler:
    """Make some weights NaN."""
    upscaler.components.unet.conv_in.weight.data.fill_(torch.nan)
    return upscaler


def test_a_frame_without_finite_numbers_is_an_error(model: str) -> None:
    upscaler = spoil(upscaler_of(load(model, CPU, torch.bfloat16)))
    with pytest.raises(NotFiniteError, match="even with --dtype float32") as error:
        upscaler(frames(40, 60, pts=7))
    assert error.value.pts == 7


def test_a_job_names_the_frame_without_finite_numbers(make_video: MakeVideo) -> None:
    upscaler = spoil(Upscaler.load("compact", device="cpu", dtype="float32", noise_level=0))
    with pytest.raises(NotFiniteError, match="--dtype float32") as error:
        upscale_video(make_video(), upscaler=upscaler)
    # The fifth frame: the warm-up of the shot begins with it.
    assert error.value.__notes__ == ["It is the frame at 0.16 s."]


def test_hidden_states_count(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler.load("compact", device="cpu", dtype="float32")
    conv = upscaler.components.unet.conv_hidden
    monkeypatch.setattr(conv, "forward", lambda features: nn.Conv2d.forward(conv, features) * torch.nan)
    with pytest.raises(NotFiniteError):
        upscaler(frames(40))


@pytest.mark.parametrize("options", [{}, {"tile_size": 128}], ids=str)
def test_the_check_waits_once_for_a_batch(options: dict[str, Any], tiny_folder: Path) -> None:
    def num_waits() -> int:
        with SimulatedGPU() as gpu:
            upscaler = Upscaler.load(str(tiny_folder), device="cuda", num_inference_steps=2, **options)
            batch = FrameBatch(torch.zeros(2, 3, 136, 136, dtype=torch.uint8), (0, 1))
            upscaler(batch)
            gpu.reset()
            upscaler(batch)
            return gpu.waits.total()

    with patch.object(Results, "check", lambda _: None):
        without_check = num_waits()
    assert num_waits() == without_check + 1


def test_offloaded_weights_have_a_copy_in_higher_precision(tiny_folder: Path) -> None:
    components = load(str(tiny_folder), CPU, torch.bfloat16)
    expected = components.in_precision(torch.float32).unet.state_dict()
    components.offload()
    actual = components.in_precision(torch.float32).unet.state_dict()
    assert all(torch.equal(actual[name], weight) for name, weight in expected.items())


def test_the_retry_runs_on_a_gpu_from_the_host(tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Weights in float32 take room on a GPU that frames may need."""
    batch = FrameBatch(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), (0,))
    offloaded: list[torch.dtype] = []

    def offload(components: Components) -> None:
        """Do what offloading would do, whose hooks take no tensors without numbers."""
        assert {each.device for each in components.unet.parameters()} == {CPU}
        offloaded.append(components.dtype)
        components.unet.to(components.device)

    def check(results: Results) -> None:
        """Find the first results to be infinite."""
        if not offloaded:
            raise FrameOverflowError(results._frames[0])

    with (
        SimulatedGPU(),
        patch.object(Results, "check", check),
        patch.object(Components, "offload", offload),
    ):
        upscaler = Upscaler.load(str(tiny_folder), device="cuda", num_inference_steps=2)
        assert upscaler(batch).batch.data.shape == (1, 3, 256, 256)
    assert offloaded == [torch.bfloat16]
    assert "computed again in bfloat16" in caplog.text


@pytest.mark.parametrize("kind", [RuntimeError, torch.AcceleratorError])
def test_a_device_that_fails_ends_the_job_with_a_sentence(kind: Callable[[str], Exception]) -> None:
    upscaler = Upscaler.load("compact", device="cpu")
    error = kind("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be")
    with (
        patch.object(upscaler._rendering, "_render", Mock(side_effect=error)),
        pytest.raises(DeviceError, match=r"cpu has failed \(CUDA error: an illegal memory access") as raised,
    ):
        upscaler(frames(1))
    assert "\n" not in str(raised.value)
