"""Whether compiling a denoiser can be done, and whether it repays."""

import shutil
from importlib.util import find_spec

from vidx4.diffusion.models.components import Components

WORTH_COMPILING = 1e17
"""Operations from which it repays: some minutes of a fast GPU, of which compiling takes one."""
CPP_COMPILERS = ("g++", "clang++", "cl")


def why_not_compile(components: Components) -> str:
    """Tell in a few words why a denoiser can't be compiled; nothing where it can."""
    if not components.gains_by_compiling:
        return f"the model {components.name} gains nothing by that"
    if components.device.type == "cuda":
        return "" if find_spec("triton") else "PyTorch's compiler, Triton, is not installed"
    return "" if any(map(shutil.which, CPP_COMPILERS)) else "there is no C++ compiler"


def repays_compiling(components: Components, num_evaluations: int, num_pixels: int) -> bool:
    """Whether a job is so long that compiling makes it shorter; never on a CPU, where it gains little.

    Args:
        components: the model.
        num_evaluations: of the denoiser, over the whole job.
        num_pixels: low-resolution pixels of each.
    """
    operations = components.operations_per_pixel * num_pixels * num_evaluations
    is_gpu = components.device.type == "cuda"
    return is_gpu and operations > WORTH_COMPILING and not why_not_compile(components)
