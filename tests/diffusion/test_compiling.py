"""Compiling is tried before a job, and what can't be compiled is said."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor import config as inductor

from tests.conftest import MakeVideo
from vidx4.diffusion.models.networks import compiled
from vidx4.diffusion.models.networks.compiled import CompiledVariants
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import CompileError
from vidx4.jobs.destination import Destination
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.plan import plan_video

SIZE = 16, 8


@pytest.fixture
def num_compiled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Use a backend that compiles nothing; return a list that grows with each graph it gets."""
    graphs: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: list[Any]) -> Callable[..., Any]:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    monkeypatch.setattr(compiled, "BACKEND", backend)
    return graphs


@pytest.fixture
def load_tiny(tiny_folder: Path) -> Callable[..., Upscaler]:
    def load(**options: Any) -> Upscaler:
        defaults: dict[str, Any] = {"num_inference_steps": 1, "noise_level": 0, "temporal": "off"}
        return Upscaler.load(str(tiny_folder), device="cpu", dtype="float32", **(defaults | options))

    return load


def test_a_job_is_compiled_before_its_identity_is_fixed(
    load_tiny: Callable[..., Upscaler], num_compiled: list[int]
) -> None:
    options = {"num_inference_steps": 4, "guidance_scale": 9.0, "prompt": "dog"}
    variants = {"guidance_stop": 0.5, "cache_interval": 2}
    fitted = load_tiny(compile="on", **options, **variants).fitted(*SIZE)
    # With guidance and without it, each with the deep features and without them.
    assert len(num_compiled) == 4
    assert fitted.identity["compile"] == "on"
    fitted.picture(torch.zeros(SIZE[1], SIZE[0], 3, dtype=torch.uint8).numpy())
    assert len(num_compiled) == 4


def failing(*_: Any) -> Any:
    raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")


def test_auto_runs_uncompiled_where_compiling_fails(
    load_tiny: Callable[..., Upscaler], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled, "BACKEND", failing)
    fitted = load_tiny().fitted(*SIZE, was_compiled=True)
    assert fitted.identity["compile"] == "off"
    assert "can't be compiled here: no C compiler was found. The job runs uncompiled." in caplog.text
    with pytest.raises(CompileError, match="no C compiler was found"):
        load_tiny(compile="on").fitted(*SIZE)


@pytest.mark.usefixtures("num_compiled")
def test_auto_runs_uncompiled_where_compiling_takes_too_much_memory(
    load_tiny: Callable[..., Upscaler], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fill(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(CompiledVariants, "_compiled", lambda _: fill)
    upscaler = load_tiny()
    expected = upscaler.fitted(*SIZE).fit
    fitted = upscaler.fitted(*SIZE, was_compiled=True)
    assert (fitted.identity["compile"], fitted.fit) == ("off", expected)
    fitted.picture(torch.zeros(SIZE[1], SIZE[0], 3, dtype=torch.uint8).numpy())
    (warning,) = (each.message for each in caplog.records if each.levelname == "WARNING")
    assert "cpu ran out of memory for 16x8. The job runs uncompiled." in warning
    with pytest.raises(CompileError, match="cpu ran out of memory for 16x8"):
        load_tiny(compile="on").fitted(*SIZE)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_real_compiler_that_is_missing_is_named(
    load_tiny: Callable[..., Upscaler], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    upscaler, missing = load_tiny(compile="on"), (str(tmp_path / "none"),)
    with (
        inductor.patch({"cpp.cxx": missing, "fx_graph_cache": False}),
        pytest.raises(CompileError) as error,
    ):
        upscaler.fitted(*SIZE)
    assert str(error.value) == "The model can't be compiled here: no C compiler was found."


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("/usr/include/x.h: fatal error: Python.h: No such file"), "python3-dev"),
        (
            OSError("Command '['/usr/bin/gcc', 'x.c']' returned non-zero exit status 1."),
            "the C compiler failed",
        ),
        (ValueError("something else\nin detail."), "ValueError, something else"),
    ],
)
def test_a_reason_is_one_sentence(error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(compiled, "BACKEND", fail)
    with pytest.raises(CompileError, match=reason) as raised:
        CompiledVariants(doubled).evaluate(torch.ones(1, 1, 1, 2), torch.ones(1, 1), None, None)
    assert "\n" not in str(raised.value)


def test_weights_that_are_offloaded_are_never_compiled(load_tiny: Callable[..., Upscaler]) -> None:
    upscaler = load_tiny()
    gpu = replace(upscaler.components, device=torch.device("cuda", 0))
    fit = replace(upscaler.fit, is_offloaded=True)
    auto, on = (Upscaler(gpu, replace(upscaler.options, compile=each), fit) for each in ("auto", "off"))
    on.options = replace(on.options, compile="on")
    assert not auto._should_compile(fit, 10**9, 10**6, was_compiled=True)
    with pytest.raises(CompileError, match="host memory"):
        on._should_compile(fit, 10**9, 10**6, was_compiled=None)


def doubled(
    sample: Tensor, embedding: Tensor, _: Tensor | None, features: Tensor | None
) -> tuple[Tensor, Tensor]:
    return 2 * sample + embedding, sample if features is None else features


def test_any_number_of_sizes_is_compiled(num_compiled: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, PyTorch stops after eight, without a word."""
    variants = CompiledVariants(doubled)
    monkeypatch.setattr(compiled, "MAX_VARIANTS", 8)
    for width in range(1, 21):
        sample = torch.ones(1, 1, 1, width)
        for _ in range(2):
            result, _ = variants.evaluate(sample, torch.ones(1, 1), None, None)
            assert torch.equal(result, 3 * sample)
    assert len(num_compiled) == 20


@pytest.mark.usefixtures("num_compiled")
@pytest.mark.parametrize("before", ["on", "off"])
def test_a_resumed_job_is_compiled_if_it_was(
    before: str, load_tiny: Callable[..., Upscaler], make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidx4.diffusion.upscaler.repays_compiling", lambda *_: before == "off")
    plan = plan_video(make_video(), Destination.of(None))
    backend = LocalBackend(load_tiny())
    assert backend.job(plan, known={"compile": before}).identity["compile"] == before
    assert backend.job(plan).identity["compile"] != before
