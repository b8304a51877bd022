"""What is left open is chosen by the length of the job and the rate of the card; the rates are made up."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from tests.simulated_gpu import SimulatedGPU
from vidx4.diffusion import card as card_module
from vidx4.diffusion.card import EFFICIENCY, Card, convolution_rate, measure_card
from vidx4.diffusion.choice import NIGHT_SECONDS, Choice, Frames, best, choose, is_open, recorded
from vidx4.diffusion.models.registry import family_of
from vidx4.diffusion.options import AutoLevel, Speed, UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import DeviceError, MemoryLimitError
from vidx4.jobs.local import LOCAL

FAST_CARD = Card("NVIDIA GeForce RTX 4090", 140e12)
SLOW_CARD = Card("NVIDIA GeForce RTX 3060", 22e12)
FILM = 45 * 60 * 25
CLIP = 30 * 25
SMALL, LARGE = (320, 240), (720, 576)


def chosen(
    size: tuple[int, int], number: int, card: Card = FAST_CARD, night: float = NIGHT_SECONDS, **options: Any
) -> Choice:
    return choose(UpscaleOptions(**options), Frames(*size, number), lambda: card, night)


def named(choice: Choice) -> tuple[str, str]:
    return choice.options.model, str(choice.options.speed)


def seconds(model: str, speed: str, size: tuple[int, int], number: int, card: Card) -> float:
    options = UpscaleOptions(model=model, speed=speed)
    return card.seconds(number * family_of(model).operations_of_frame(options, *size))


def refuse() -> Card:
    raise AssertionError("A card is measured though nothing is left to choose.")


@pytest.mark.parametrize("card", [FAST_CARD, SLOW_CARD], ids=str)
@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("number", [1, CLIP, 10 * CLIP, FILM])
def test_the_best_that_ends_within_a_night_is_chosen(size: tuple[int, int], number: int, card: Card) -> None:
    model, speed = named(chosen(size, number, card))
    speeds = ["quality", "balanced", "fast"]
    better = speeds if model == "compact" else speeds[: speeds.index(speed)]
    assert all(seconds("sd-x4", each, size, number, card) > NIGHT_SECONDS for each in better)
    assert model == "compact" or seconds(model, speed, size, number, card) <= NIGHT_SECONDS


def test_a_still_picture_and_a_clip_are_made_at_the_best_speed() -> None:
    assert named(chosen(LARGE, 1, SLOW_CARD)) == ("sd-x4", "quality")
    assert named(chosen(SMALL, CLIP, SLOW_CARD)) == ("sd-x4", "quality")
    assert named(chosen(LARGE, CLIP, FAST_CARD)) == ("sd-x4", "quality")


def test_a_film_that_no_speed_ends_in_time_is_left_to_compact() -> None:
    choice = chosen(LARGE, FILM, SLOW_CARD)
    assert named(choice) == ("compact", "quality")
    for text in ("compact", "sd-x4 would take about", "days", "RTX 3060", "longer than 8 h", "--model sd-x4"):
        assert text in choice.reason


def test_the_reason_names_both_times() -> None:
    rate = 1.2 * card_of(FILM, "fast")
    choice = chosen(SMALL, FILM, Card("NVIDIA GeForce RTX 4090", rate))
    assert named(choice) == ("sd-x4", "fast")
    assert "model sd-x4, speed fast: about 7 h for 67500 frames on NVIDIA GeForce RTX 4090" in choice.reason
    assert "balanced would take about" in choice.reason


def card_of(number: int, speed: str) -> float:
    """Return the rate of a card that takes all night for some small frames."""
    return seconds("sd-x4", speed, SMALL, number, Card("", 1.0)) / NIGHT_SECONDS


@pytest.mark.parametrize(("speed", "next_one"), list(pairwise(["quality", "balanced", "fast", "compact"])))
def test_a_little_less_than_a_night_is_enough(speed: str, next_one: str) -> None:
    rate = card_of(FILM, speed)
    assert named(chosen(SMALL, FILM, Card("", 1.001 * rate))) == ("sd-x4", speed)
    assert next_one in named(chosen(SMALL, FILM, Card("", 0.999 * rate)))


def test_twice_as_many_cards_take_half_the_time() -> None:
    rate = 0.6 * card_of(FILM, "fast")
    assert named(chosen(SMALL, FILM, Card("", rate))) == ("compact", "quality")
    assert named(chosen(SMALL, FILM, Card("X", rate, num_cards=2))) == ("sd-x4", "fast")
    assert "on 2 x X" in chosen(SMALL, FILM, Card("X", rate, num_cards=2)).reason


def test_a_night_is_as_long_as_the_user_says() -> None:
    assert named(chosen(SMALL, FILM, night=30 * 86400)) == ("sd-x4", "quality")
    choice = chosen(SMALL, CLIP, night=60)
    assert named(choice) == ("compact", "quality")
    assert "longer than 60 s" in choice.reason


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("number", [CLIP, FILM])
def test_a_named_model_is_kept(size: tuple[int, int], number: int) -> None:
    """And of its speeds, the fastest is chosen if none ends in time."""
    assert chosen(size, number, SLOW_CARD, model="sd-x4").options.model == "sd-x4"
    assert named(chosen(LARGE, FILM, SLOW_CARD, model="sd-x4")) == ("sd-x4", "fast")
    assert named(chosen(SMALL, CLIP, FAST_CARD, model="sd-x4")) == ("sd-x4", "quality")
    assert named(chosen(LARGE, FILM, SLOW_CARD, model="owner/name")) == ("owner/name", "fast")


@pytest.mark.parametrize("speed", ["quality", "balanced", "fast"])
def test_a_named_speed_is_kept(speed: str) -> None:
    for size, number in ((SMALL, CLIP), (LARGE, FILM)):
        assert named(chosen(size, number, SLOW_CARD, speed=speed))[1] == speed
    assert named(chosen(LARGE, FILM, SLOW_CARD, speed=speed)) == ("compact", speed)


@pytest.mark.parametrize("options", [{"model": "sd-x4", "speed": "quality"}, {"model": "compact"}], ids=str)
def test_what_leaves_one_choice_is_not_measured(options: dict[str, Any]) -> None:
    choice = choose(UpscaleOptions(**options), Frames(*LARGE, FILM), refuse, NIGHT_SECONDS)
    assert named(choice) == (options["model"], "quality")
    assert choice.reason == ""


@pytest.mark.parametrize(
    "options",
    [
        *({"prompt": "a cat"}, {"negative_prompt": "rain"}, {"guidance_scale": 7.0}),
        *({"guidance_stop": 0.5}, {"cache_interval": 2}, {"noise_level": 200}),
    ],
    ids=str,
)
def test_compact_is_not_chosen_for_what_it_lacks(options: dict[str, Any]) -> None:
    assert chosen(LARGE, FILM, SLOW_CARD, **options).options.model == "sd-x4"


def test_a_speed_that_saves_nothing_is_not_chosen() -> None:
    """With as many steps at every speed, only fewer deep features save time."""
    speeds = {
        str(chosen(SMALL, FILM, Card("", rate), model="sd-x4", num_inference_steps=20).options.speed)
        for rate in (1e12, 1e13, 1e14, 1e15)
    }
    assert speeds == {"quality", "balanced"}


@pytest.mark.parametrize("speed", ["quality", "balanced", "fast"])
def test_the_choice_of_an_earlier_run_is_found_in_its_identity(speed: str) -> None:
    steps = family_of("sd-x4").steps(UpscaleOptions(speed=speed))
    identity = {
        "model": "sd-x4",
        "scheduler": steps.scheduler,
        "steps": steps.num_inference_steps,
        "guidance-stop": steps.guidance_stop,
        "cache-interval": steps.cache_interval,
        "remembers": False,
    }
    choice = recorded(UpscaleOptions(), identity)
    assert choice is not None
    assert named(choice) == ("sd-x4", speed)
    assert recorded(UpscaleOptions(model="compact"), identity) is None
    assert recorded(UpscaleOptions(), {**identity, "steps": 33}) is None
    assert recorded(UpscaleOptions(), {}) is None


@pytest.mark.parametrize("options", [{}, {"temporal": "off"}, {"temporal": "fixed"}], ids=str)
def test_the_choice_of_compact_is_found_in_its_identity(options: dict[str, Any]) -> None:
    identity = Upscaler.load("compact", device="cpu", **options).identity
    choice = recorded(UpscaleOptions(**options), identity)
    assert choice is not None
    assert named(choice) == ("compact", "quality")


def test_auto_is_the_best_to_whoever_does_not_know_the_length() -> None:
    assert named(Choice(best(UpscaleOptions()), "")) == ("sd-x4", "quality")
    auto, quality = (
        Upscaler.load("compact", device="cpu", speed=speed).identity for speed in ("auto", "quality")
    )
    assert auto == quality
    assert UpscaleOptions().speed == Speed.AUTO
    assert is_open(UpscaleOptions(model="compact"))
    assert is_open(UpscaleOptions(speed="fast"))
    assert not is_open(UpscaleOptions(model="compact", speed="fast", noise_level=AutoLevel()))


def test_a_rate_is_measured_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_module, "CHANNELS", 8)
    monkeypatch.setattr(card_module, "MEASURED_SECONDS", 0.0)
    assert convolution_rate(torch.device("cpu"), torch.float32) > 0
    assert Card("", 2e12, 3).seconds(6e12 * EFFICIENCY) == pytest.approx(1.0)


def test_a_rate_is_measured_on_the_device(
    simulated_gpu: SimulatedGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_module, "MEASURED_SECONDS", 0.0)
    measure = LOCAL.card(UpscaleOptions(device="cuda:0"))
    assert measure is not None
    measure_card.cache_clear()
    card = measure()
    measure_card.cache_clear()
    assert card.rate > 0
    assert "cuda" not in card.name
    assert 0 < simulated_gpu.memory.peak < 200e6  # there is room for it beside whatever else a card holds


def test_a_card_is_measured_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([3.0, 4.0])
    monkeypatch.setattr(card_module, "convolution_rate", lambda device, dtype: next(rates))
    measure_card.cache_clear()
    cards = [measure_card(torch.device("cpu"), torch.float32) for _ in range(2)]
    measure_card.cache_clear()
    assert cards == [Card("cpu", 3.0)] * 2


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), MemoryLimitError, "too little free memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceError, "has failed"),
    ],
)
def test_a_card_that_can_not_be_measured_is_an_error_of_one_sentence(
    error: Exception, kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(device: torch.device, dtype: torch.dtype) -> float:
        raise error

    monkeypatch.setattr(card_module, "convolution_rate", fail)
    measure_card.cache_clear()
    with pytest.raises(kind, match=message):
        measure_card(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("number", [1, CLIP, FILM])
def test_a_texture_leaves_only_the_model_that_has_one(number: int) -> None:
    assert chosen(SMALL, number, texture=0.5).options.model == "compact"
    assert chosen(SMALL, 1, texture=0.0).options.model == "sd-x4"
    assert chosen(SMALL, 1, texture=0.5, prompt="a cat").options.model == "sd-x4"  # which refuses the texture
    assert best(UpscaleOptions(texture=0.5)).model == "compact"
