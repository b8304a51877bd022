"""Decide whether a denoiser can be compiled, and whether that pays off."""

import shutil
from importlib.util import find_spec

from vidx4.diffusion.models.components import Components

WORTH_COMPILING = 1e17
"""Operations of a job from which compiling pays off: minutes of a fast GPU, of which compiling takes one."""
CPP_COMPILERS = ("g++", "clang++", "cl")
"""Commands of the C++ compilers that PyTorch can use on a CPU."""


def why_not_compile(components: Components) -> str:
    """Return in a few words why a denoiser can't be compiled; empty if it can."""
    if not components.gains_by_compiling:
        return f"the model {components.name} gains nothing from it"
    if components.device.type == "cuda":
        return "" if find_spec("triton") else "Triton, PyTorch's compiler for GPUs, is not installed"
    return "" if any(map(shutil.which, CPP_COMPILERS)) else "no C++ compiler was found"


def repays_compiling(components: Components, num_evaluations: int, num_pixels: int) -> bool:
    """Return whether a job is long enough for compiling to shorten it; on a CPU it gains too little.

    Args:
        components: the model.
        num_evaluations: number of evaluations of the denoiser in the whole job.
        num_pixels: low-resolution pixels in each evaluation.
    """
    operations = components.operations.per_pixel * num_pixels * num_evaluations
    is_gpu = components.device.type == "cuda"
    return is_gpu and operations > WORTH_COMPILING
