"""sd-x4 at its real size, with random weights, against diffusers' own pipeline.

With equal settings, with guidance that changes nothing, and each with its own defaults; and as shares of what
the machine could do at best. On a GPU, also compiled; with `--compiler cudagraphs`, recorded as CUDA graphs.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from scripts.bench.architecture import REAL, SMALL, random_model
from scripts.bench.measure import in_child, matrix_rate, reset_peak_memory
from scripts.bench.pictures import HEIGHT, WIDTH
from scripts.bench.sd_x4 import GUIDANCE, Result, Task, by_denoising_loop, by_diffusers, by_upscaler
from scripts.bench.tables import Row, Tables, write
from vidx4.diffusion.device import choose_device, choose_dtype
from vidx4.diffusion.device_errors import is_out_of_memory
from vidx4.errors import MemoryLimitError

SIZES = [(128, 128), (320, 180), (320, 240), (640, 480)]
CPU_SIZES = [(64, 64)]
DEFAULT_STEPS_OF_DIFFUSERS, DEFAULT_STEPS_OF_VIDX4 = 75, 20
CPU_STEPS = 2
FAST_STEPS = 4
"""Steps of `--speed fast`."""

Lines = Mapping[str, tuple[Callable[[Task], Result], Task]]
"""Tasks and the functions that carry them out, by the names of their table lines."""


def run(arguments: argparse.Namespace) -> None:
    """Measure sd-x4 against diffusers."""
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    is_cpu = device.type == "cpu"
    num_steps = arguments.steps or (CPU_STEPS if is_cpu else DEFAULT_STEPS_OF_VIDX4)
    sizes = arguments.sizes or (CPU_SIZES if is_cpu else SIZES)
    batch_size = 1 if is_cpu else None
    rates = {each: matrix_rate(device, each) for each in (dtype, torch.float32)}
    reset_peak_memory(device)  # gives the GPU's memory back for the tasks, which are processes of their own
    tables: Tables = {}
    architecture = SMALL if arguments.small else REAL
    with random_model(arguments.model, architecture) as model:
        for width, height in sizes:
            task = Task(
                model,
                width,
                height,
                num_steps,
                dtype,
                device,
                batch_size=batch_size,
                architecture=architecture,
            )
            is_first = (width, height) == sizes[0]
            for comparison in arguments.compare or comparisons(task, with_float32=is_first):
                lines = COMPARISONS[comparison](replace(task, compiler=arguments.compiler))
                tables[f"{width}x{height}, {_name(dtype)}: {heading(comparison, task)}"] = compare(
                    lines, rates
                )
    rates_by_name = {_name(each): rate for each, rate in rates.items()}
    for name, rate in rates_by_name.items():
        print(f"{rate / 1e12:.3g} T operations per second in {name}")
    write(arguments.out, "denoiser", tables, device, operations_per_second=rates_by_name)


def comparisons(task: Task, *, with_float32: bool) -> list[str]:
    """Return the comparisons of one size of frames if none is named."""
    at_usual_size = task.device.type == "cuda" and (task.width, task.height) == (WIDTH, HEIGHT)
    equal = "float32" if with_float32 and task.dtype != torch.float32 else "equal"
    return [equal, "unguided", "defaults", *(["compiled"] if at_usual_size else [])]


def heading(comparison: str, task: Task) -> str:
    """Return what the table of a comparison shows."""
    steps = f"{task.num_inference_steps} steps, guidance {GUIDANCE:g}"
    first = "times faster than the first, different from the first"
    return {
        "equal": f"{steps}, two prompts ({first})",
        "float32": f"{steps}, two prompts, in both precisions (times faster than the first, different from "
        "diffusers in float32)",
        "unguided": f"{steps}, no prompt, so that guidance changes nothing",
        "defaults": "each with its own defaults",
        "compiled": f"{steps}, two prompts, compiled ({first})",
    }[comparison]


def equal_settings(task: Task) -> Lines:
    """Return tasks with the same settings for both, guided by two prompts."""
    return {
        f"diffusers, {_name(task.dtype)}": (by_diffusers, _guided(task)),
        f"vidx4, {_name(task.dtype)}": (by_denoising_loop, _guided(task)),
    }


def both_precisions(task: Task) -> Lines:
    """Return the tasks of `equal_settings` in float32 too, the truth for both."""
    return {**equal_settings(task), **equal_settings(replace(task, dtype=torch.float32))}


def unguided(task: Task) -> Lines:
    """Return tasks without a prompt."""
    return {"diffusers": (by_diffusers, task), "vidx4": (by_denoising_loop, task)}


def compiled(task: Task) -> Lines:
    """Return tasks with a denoiser as it is, and compiled."""
    return {
        "vidx4": (by_denoising_loop, _guided(task)),
        f"vidx4, {task.compiler}": (by_denoising_loop, replace(_guided(task), is_compiled=True)),
    }


def _guided(task: Task) -> Task:
    return replace(task, prompt="a street", negative_prompt="blur")


def own_defaults(task: Task) -> Lines:
    """Return tasks with the defaults of each; with other steps than vidx4's, diffusers' in proportion."""
    num_theirs = round(DEFAULT_STEPS_OF_DIFFUSERS * task.num_inference_steps / DEFAULT_STEPS_OF_VIDX4)
    theirs = replace(task, num_inference_steps=num_theirs, prompt="a street")
    batch = "" if task.batch_size is None else f", batches of {task.batch_size}"
    num_ours, of_theirs, of_ours = (
        task.num_inference_steps,
        DEFAULT_STEPS_OF_DIFFUSERS,
        DEFAULT_STEPS_OF_VIDX4,
    )
    lines: Lines = {
        f"diffusers: {num_theirs} of {of_theirs} steps, guidance {GUIDANCE:g}, a prompt": (
            by_diffusers,
            theirs,
        ),
        f"vidx4: {num_ours} of {of_ours} steps, no prompt, moving{batch}": (by_upscaler, task),
    }
    if num_ours <= FAST_STEPS:
        return lines
    fast = replace(task, num_inference_steps=FAST_STEPS)
    return {**lines, f"vidx4: {FAST_STEPS} steps, as with --speed fast{batch}": (by_upscaler, fast)}


COMPARISONS: Mapping[str, Callable[[Task], Lines]] = {
    "equal": equal_settings,
    "float32": both_precisions,
    "unguided": unguided,
    "defaults": own_defaults,
    "compiled": compiled,
}
"""Functions that return the lines of each comparison, by its name."""


def compare(lines: Lines, rates: dict[torch.dtype, float]) -> list[Row]:
    """Measure tasks; pictures are compared with the first one in float32, or with the first one of all.

    Args:
        lines: the tasks.
        rates: operations per second of each precision, the best so far; raised if a task finds more.
    """
    results = {name: attempt(function, task) for name, (function, task) in lines.items()}
    for name, result in results.items():
        if result is not None:
            dtype = lines[name][1].dtype
            rates[dtype] = max(rates[dtype], result.rate)
    first, *_ = results.values()
    exact = [result for name, result in results.items() if lines[name][1].dtype == torch.float32]
    truth = next(iter([*exact, first]))
    rows = []
    for name, result in results.items():
        task = lines[name][1]
        rows.append(_row(name, result, first, truth, task, rates[task.dtype]))
    return rows


def attempt(function: Callable[[Task], Result], task: Task) -> Result | None:
    """Carry out a task in a process of its own; return None if memory does not suffice."""
    try:
        return in_child(function, task)
    except (MemoryError, MemoryLimitError):
        return None
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def _row(
    name: str, result: Result | None, first: Result | None, truth: Result | None, task: Task, rate: float
) -> Row:
    if result is None:
        return Row(f"{name}: out of memory")
    row = Row(
        name,
        result.seconds,
        None if first is None else first.seconds / result.seconds,
        denoising=result.denoising,
        denoising_share=task.denoising_floor(rate) / result.denoising if result.denoising else None,
        share_of_floor=task.floor(rate) / result.seconds,
        peak_memory=result.peak_memory,
    )
    if result is truth or truth is None or truth.picture is None or result.picture is None:
        return row
    difference = 255 * (result.picture - truth.picture).abs()
    return replace(row, most_different=float(difference.max()), mean_different=float(difference.mean()))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
