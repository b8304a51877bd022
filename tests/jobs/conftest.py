"""A GPU of a made-up rate: what runs on it runs on the CPU, and a tiny model stands for sd-x4."""

from pathlib import Path

import pytest

from vidx4.diffusion.card import Card
from vidx4.diffusion.choice import NIGHT_SECONDS, MeasureCard
from vidx4.diffusion.models import registry, sd_x4
from vidx4.diffusion.models.registry import family_of
from vidx4.diffusion.options import UpscaleOptions
from vidx4.jobs.local import LocalLoader


class SimulatedCard:
    """A GPU that counts how often it is measured."""

    def __init__(self) -> None:
        self.rate = 1e30
        self.num_measured = 0

    def ends_within_a_night(self, speed: str, width: int, height: int, num_frames: int) -> None:
        """Make the rate a little higher than some frames need at a speed."""
        options = UpscaleOptions(model="sd-x4", speed=speed)
        operations = num_frames * family_of("sd-x4").operations_of_frame(options, width, height)
        self.rate = 1.01 * Card("", 1.0).seconds(operations) / NIGHT_SECONDS

    def measure(self) -> Card:
        self.num_measured += 1
        return Card("Simulated Card", self.rate)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> SimulatedCard:
    """Return the GPU of this machine, as it were."""
    simulated = SimulatedCard()

    def measure_of(loader: LocalLoader, options: UpscaleOptions) -> MeasureCard | None:
        return None if options.device == "cpu" else simulated.measure

    monkeypatch.setattr(LocalLoader, "card", measure_of)
    monkeypatch.setattr(registry, "fetch", lambda repository, revision, half: tiny_folder)
    monkeypatch.setattr(sd_x4, "_check_is_sd_x4", lambda components, vae: None)
    return simulated
