"""Compile a network for each of the shapes that it is evaluated on."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vidx4.diffusion.device_errors import first_line, is_device_failure, is_out_of_memory
from vidx4.errors import CompileError

Evaluate: TypeAlias = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor]]
"""Evaluates a network on samples, an embedding, prompts and features."""

BACKEND = "inductor"
"""The backend of `torch.compile`."""
MAX_VARIANTS = 48
"""Variants of code that are kept. A job has up to four: with and without guidance, with and without features.
PyTorch keeps up to 256 of a function, and would then run it uncompiled."""
_REASONS = (
    (re.compile(r"find C compiler|InvalidCxxCompiler|No working C\+\+ compiler"), "no C compiler was found"),
    (re.compile(r"Python\.h"), "the headers of Python (python3-dev, Python.h) are not installed"),
    (re.compile(r"Command .*(gcc|clang|cc|cl(\.exe)?)\b.* non-zero"), "the C compiler failed"),
    (re.compile(r"[Tt]riton.*(not|missing)|(No module|Cannot find).*[Tt]riton"), "Triton does not work"),
)
"""What is wrong with a compiler, by texts in its errors."""


class CompiledVariants:
    """A function that is compiled once for each variant of its arguments: their shapes, and which are there.

    Args:
        function: the function.
    """

    def __init__(self, function: Evaluate) -> None:
        self._function = function
        self._variants: dict[tuple[torch.Size | None, ...], Evaluate] = {}

    def evaluate(
        self, sample: Tensor, embedding: Tensor, prompts: Tensor | None, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what the function returns.

        Raises:
            CompileError: it can't be compiled.
        """
        key = tuple(None if each is None else each.shape for each in (sample, prompts, features))
        if key not in self._variants:
            self._variants[key] = self._compiled()
        try:
            return self._variants[key](sample, embedding, prompts, features)
        except Exception as error:  # compilers raise whatever they like
            if is_out_of_memory(error) or is_device_failure(error):
                raise
            raise CompileError(f"The model can't be compiled here: {_reason(error)}.") from error

    def _compiled(self) -> Evaluate:
        """Return the function with room for one variant, which is compiled when it is first called.

        With `fullgraph`, what PyTorch can't compile is an error; else it would run it uncompiled, silently.
        """
        if len(self._variants) == MAX_VARIANTS:
            self._variants.clear()
            torch.compiler.reset()
        options: dict[str, Any] = {"fullgraph": True, "isolate_recompiles": True}
        compiled: Evaluate = torch.compile(self._function, backend=BACKEND, dynamic=False, **options)
        return compiled


def _reason(error: Exception) -> str:
    text = f"{error!r} {error}"
    for pattern, reason in _REASONS:
        if pattern.search(text):
            return reason
    cause = getattr(error, "inner_exception", error)
    return f"{type(cause).__name__}, {first_line(cause)}"
