"""The simulated GPU fails where a GPU would, and counts what one would do."""

import pytest
import torch
import torch.nn.functional as F

from tests.simulated_gpu import SimulatedGPU


def test_devices_and_types_must_agree(simulated_gpu: SimulatedGPU) -> None:
    a = torch.zeros(3, device="cuda")
    with pytest.raises(RuntimeError, match=r"(?s)device.*cuda:0.*cpu"):
        a + torch.zeros(3)
    with pytest.raises(RuntimeError, match="dtype"):
        a[None] @ torch.zeros(3, 3, device="cuda", dtype=torch.float16)
    with pytest.raises(ValueError, match="specified index"):
        torch.cuda.set_per_process_memory_fraction(0.5, torch.device("cuda"))


def test_memory_operations_and_waits_are_counted() -> None:
    with SimulatedGPU() as gpu:
        a = torch.zeros(1000, 1000, device="cuda")
        with gpu.stage("decode"):
            b = a @ a
            assert gpu.memory.live == 8_000_000
            assert gpu.operations["decode"] == 2 * 10**9
            del b
            assert a[0, 0].item() == 0
        assert gpu.memory.live == 4_000_000
        assert gpu.memory.peaks == {"other": 4_000_000, "decode": 8_000_000}
        assert gpu.memory.peak == 8_000_000
        assert gpu.waits == {"decode": 1}
        assert torch.isfinite(a).all().item() is True
        assert float(a.cpu().sum()) == 0
        del a
    assert gpu.memory.live == 0
    assert not torch.cuda.is_available()


def test_attention_takes_no_memory_for_its_weights() -> None:
    with SimulatedGPU() as gpu:
        query = torch.zeros(1, 1, 100_000, 512, device="cuda", dtype=torch.float16)
        F.scaled_dot_product_attention(query, query, query)
        # The kernel sums in float32, in memory of its own.
        assert gpu.memory.peak == 4 * query.nbytes
        assert gpu.operations["other"] == 2 * 2 * 100_000**2 * 512


def test_what_a_mask_selects_is_known() -> None:
    with SimulatedGPU() as gpu:
        mask = torch.ones_like(torch.zeros(6, 5, device="cuda"), dtype=torch.bool)
        mask[1:4, 2:] = False
        assert torch.zeros(2, 30, device="cuda")[:, mask.flatten()].shape == (2, 21)
        assert gpu.waits["other"] == 1


def test_one_simulation_at_a_time(simulated_gpu: SimulatedGPU) -> None:
    with pytest.raises(RuntimeError, match="simulated already"), SimulatedGPU():
        pass
