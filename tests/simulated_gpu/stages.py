"""Where the stages of the work on a frame begin and end."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

from vidx4.diffusion import render, sampler
from vidx4.diffusion.models.networks.autoencoder import TiledAutoencoder
from vidx4.diffusion.models.networks.compact_denoiser import ResidualAutoencoder
from vidx4.diffusion.models.networks.tiny_autoencoder import TinyAutoencoder

Stage = Callable[[str], AbstractContextManager[None]]

_FUNCTIONS: tuple[tuple[Any, str, str], ...] = (
    (sampler, "denoise", "denoise"),
    (TiledAutoencoder, "decode", "decode"),
    (ResidualAutoencoder, "decode", "decode"),
    (TinyAutoencoder, "decode", "decode"),
    (render, "finish", "finish"),
)
"""Functions by where they are looked up and by name, and the stage that each of them is."""


@contextmanager
def patched_stages(stage: Stage) -> Iterator[None]:
    """Let functions enter the stage that they are."""
    with ExitStack() as stack:
        for owner, name, what in _FUNCTIONS:
            function = _within(stage, what, getattr(owner, name))
            stack.enter_context(patch.object(owner, name, function))
        yield


def _within(stage: Stage, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def staged(*args: Any, **kwargs: Any) -> Any:
        with stage(name):
            return function(*args, **kwargs)

    return staged
