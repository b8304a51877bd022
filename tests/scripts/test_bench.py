"""The operations of sd-x4, the peak memory of a child, and tables."""

import pytest

from scripts.bench.architecture import unet_operations, vae_operations
from scripts.bench.measure import in_child, peak_memory
from scripts.bench.tables import Row, markdown

MIB = 2**20


@pytest.mark.parametrize(
    ("width", "height", "unet", "vae"), [(128, 128, 1.131e12, 3.095e12), (320, 240, 5.312e12, 24.009e12)]
)
def test_operations_of_sd_x4_add_up(width: int, height: int, unet: float, vae: float) -> None:
    assert unet_operations(width, height) == pytest.approx(unet, rel=0.01)
    assert vae_operations(width, height) == pytest.approx(vae, rel=0.01)


def test_attention_takes_half_of_decoding() -> None:
    whole, spared = (vae_operations(320, 240, with_attention=each) for each in (True, False))
    tokens, channels = 320 * 240, 512
    assert whole - spared == 2 * 2 * tokens**2 * channels


def test_a_table_has_the_columns_that_any_row_has() -> None:
    rows = [Row("first", 0.5, 1.0), Row("second", 0.25, peak_memory=3 * MIB)]
    assert markdown("Heading", rows).splitlines() == [
        "Heading",
        "",
        "| | seconds a frame | frames/s | ratio | peak MiB |",
        "|---|--:|--:|--:|--:|",
        "| first | 0.500 | 2 | 1 |  |",
        "| second | 0.250 | 4 |  | 3 |",
    ]


def test_a_child_has_a_peak_of_its_own() -> None:
    ballast = bytearray(512 * MIB)
    ballast[::4096] = bytes([1]) * (len(ballast) // 4096)
    assert in_child(peak_memory) < peak_memory()
