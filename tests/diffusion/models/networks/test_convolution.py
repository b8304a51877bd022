"""Convolutions give the same by either algorithm, up to rounding, and the same bits alone or in a batch."""

import pytest
import torch
import torch.nn.functional as F

from vidx4.diffusion.models.networks import convolution
from vidx4.diffusion.models.networks.convolution import convolve

SIZES = [(1, 1), (3, 7), (6, 6), (19, 34)]


@pytest.fixture(params=[False, True], ids=["direct", "winograd"])
def algorithm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param and not torch.backends.nnpack.is_available():
        pytest.skip("PyTorch has no NNPACK here")
    monkeypatch.setattr(convolution, "_has_winograd", lambda _: request.param)


def inputs(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 20, height, width), (12, 20, 3, 3), (12,)
    features, kernel, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    return features, kernel, bias


@torch.inference_mode()
@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sums_are_those_of_double_precision(height: int, width: int) -> None:
    features, kernel, bias = inputs(height, width)
    expected = F.conv2d(features.double(), kernel.double(), bias.double(), padding=1).float()
    torch.testing.assert_close(convolve(features, kernel, bias), expected, rtol=0, atol=1e-3)


@torch.inference_mode()
@pytest.mark.usefixtures("algorithm")
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_bias_may_be_absent_and_the_layout_does_not_matter(height: int, width: int) -> None:
    features, kernel, bias = inputs(height, width)
    other = [each.contiguous(memory_format=torch.channels_last) for each in (features, kernel)]
    result = convolve(other[0], other[1], None) + bias.view(-1, 1, 1)
    torch.testing.assert_close(result, convolve(features, kernel, bias), rtol=0, atol=1e-4)


@torch.inference_mode()
def test_a_picture_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.backends.nnpack.is_available():
        pytest.skip("PyTorch has no NNPACK here")
    monkeypatch.setattr(convolution, "_has_winograd", lambda _: True)
    features, kernel, bias = inputs(19, 34)
    alone = [convolve(each, kernel, bias) for each in features.split(1)]
    assert torch.equal(convolve(features, kernel, bias), torch.cat(alone))


@pytest.mark.usefixtures("algorithm")
def test_training_has_gradients() -> None:
    features, kernel, bias = inputs(6, 6)
    kernel.requires_grad_()
    convolve(features, kernel, bias).sum().backward()
    assert kernel.grad is not None


@pytest.mark.parametrize(("device", "capability"), [("cpu", "AVX512"), ("cpu", "DEFAULT"), ("cuda", "AVX2")])
def test_plain_sums_are_used_elsewhere(device: str, capability: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert not convolution._has_winograd.__wrapped__(device)
