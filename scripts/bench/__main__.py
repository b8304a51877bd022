"""Measure what things cost: ratios within one run, as JSON and Markdown.

python -m scripts.bench temporal [--clip VIDEO]
python -m scripts.bench compact
python -m scripts.bench denoiser [--sizes 128x128 ...] [--steps N] [--device cuda] [--dtype float16]
python -m scripts.bench pipeline [--clip VIDEO] [--model NAME] [--device cuda] [--dtype float16]
python -m scripts.bench scale [--device cuda] [--dtype float16]
python -m scripts.bench memory [--device cuda] [--dtype float16]
python -m scripts.bench cluster [--workers 1 2] [--device cuda]

`temporal`: what reuse saves (a cartoon on twos, an object that moves over a still, a real clip), and what
holding frames together costs on the topology of sd-x4 with tiny random weights.

`compact`: the bundled model against those that people use today, at three sizes; `methods.py` says where they
come from.

`denoiser`: sd-x4 at its real size, with random weights, against diffusers' own pipeline: with equal settings,
where guidance changes nothing, and each with its own; and as shares of what the machine could do.

`pipeline`: the whole command on a real clip, stage by stage; each stage alone; and all of it with pixels
repeated in place of a model.

`scale`: time and memory of the bundled model against the number of frames and pixels, and the size of tiles
and batches.

`memory`: how sd-x4 at its real size cuts up large frames to fit a limit, and what that takes.

`cluster`: a job on Ray against one without, the memory of who hands out the work as a film grows longer, and
how fast that can be.

Each takes `--out FOLDER`, and less than ten minutes; `cluster` a quarter of an hour.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av.video.frame import VideoFrame
from PIL import Image
from torch import Tensor

from scripts.bench import cluster
from scripts.bench.architecture import (
    hush,
    make_vae,
    save_random_model,
    sd_x4,
    unet_operations,
    vae_operations,
)
from scripts.bench.measure import (
    Row,
    Tables,
    forget_peak,
    in_child,
    matrix_rate,
    peak_memory,
    synchronize,
    timed,
    write,
)
from scripts.evaluate import methods
from scripts.evaluate.metrics import psnr_y
from scripts.stress.containers import nearest
from tests import hard_videos as made
from vidx4 import FrameBatch, Upscaler, probe
from vidx4.diffusion.denoise import add_low_res_noise, denoise
from vidx4.diffusion.device import DTYPES, choose_device, choose_dtype, is_out_of_memory
from vidx4.diffusion.models.autoencoder import TILE_SIZE, TiledAutoencoder
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import MemoryLimitError
from vidx4.frames import Box
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor, local_job
from vidx4.jobs.pipeline import Enlarge
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.shots import ShotBatch, by_shot
from vidx4.media.decode import read_frames
from vidx4.media.encode import encode_part
from vidx4.temporal.motion import Motion, estimate_motion
from vidx4.temporal.particles import MovingNoise
from vidx4.temporal.propagation import Link, Propagation
from vidx4.temporal.state import ShotState
from vidx4.temporal.warp import Warp

ROOT = Path(__file__).parents[2]

WIDTH, HEIGHT = 320, 240
THRESHOLDS = 0.5, 1.0, 2.0
"""Mean differences from the last frame, in 8-bit levels."""


@dataclass
class Shot:
    """A shot on its way through an upscaler, frame by frame."""

    upscaler: Upscaler
    state: ShotState | None = None
    pictures: list[Tensor] = field(default_factory=list)
    total_seconds: float = 0.0
    num_reused: float = 0.0

    def add(self, frame: Tensor) -> None:
        """Enlarge the next frame, (3, H, W)."""
        start = time.perf_counter()
        upscaled = self.upscaler(FrameBatch(frame[None], pts=(len(self.pictures),)), self.state)
        self.total_seconds += time.perf_counter() - start
        self.state = upscaled.state
        self.num_reused += upscaled.num_reused
        self.pictures.append(upscaled.batch.data)

    @property
    def seconds(self) -> float:
        """Per frame."""
        return self.total_seconds / len(self.pictures)

    @property
    def share_reused(self) -> float:
        """Of the work."""
        return self.num_reused / len(self.pictures)

    def psnr_y(self, exact: "Shot") -> float:
        """Return the PSNR-Y against another result of the same frames, in dB."""
        return psnr_y(*(torch.cat(shot.pictures) / 255 for shot in (self, exact)))


def bench_temporal(arguments: argparse.Namespace) -> None:
    """Measure reuse and the cost of temporal consistency."""
    tables = {
        "Reuse: `compact`, 320x240, one step (times faster than the first line)": reuse(arguments.frames),
        f"Reuse: `compact` on {arguments.clip.name} (times faster than off)": reuse_of_clip(
            arguments.clip, arguments.frames
        ),
        "Cost: the topology of sd-x4, tiny, 320x240, 20 steps (share of the first line)": cost(),
    }
    write(arguments.out, "temporal", tables)


def reuse(num_frames: int) -> list[Row]:
    """Compare drawings that change with every frame, with every second, and an object over a still."""
    drawings = pan(num_frames)
    shots = {
        "every frame another": drawings,
        "a cartoon on twos": drawings[: num_frames // 2].repeat_interleave(2, dim=0),
        "a cartoon on threes": drawings[: num_frames // 3].repeat_interleave(3, dim=0),
        "a 24x24 object moves over a still": object_over_still(num_frames),
        "a freeze frame": drawings[:1].expand(num_frames, -1, -1, -1),
    }
    upscaler = Upscaler.load("compact", device="cpu")
    upscale(upscaler, drawings[:2])  # warms up
    done = {what: upscale(upscaler, frames) for what, frames in shots.items()}
    slowest = done["every frame another"].seconds
    return [
        Row(what, shot.seconds, slowest / shot.seconds, share_reused=shot.share_reused)
        for what, shot in done.items()
    ]


def reuse_of_clip(path: Path, num_frames: int) -> list[Row]:
    """Compare frames each on its own with such that are tied together and reused, exactly and nearly."""
    with closing(read_frames(probe(path))) as decoded:
        frames = torch.stack([frame.data for frame in islice(decoded, num_frames)])
    options: dict[str, dict[str, Any]] = {
        "off": {"temporal": "off"},
        "moving": {},
        **{f"moving, reuse threshold {x:g}": {"reuse_threshold": x} for x in THRESHOLDS},
    }
    upscalers = [Upscaler.load("compact", device="cpu", **chosen) for chosen in options.values()]
    upscale(upscalers[0], frames[:1])  # warms up
    shots = dict(zip(options, upscale_alike(upscalers, frames), strict=True))
    off, exact = shots["off"], shots["moving"]
    return [
        Row(
            what,
            shot.seconds,
            off.seconds / shot.seconds,
            share_reused=shot.share_reused,
            psnr=shot.psnr_y(exact) if "reuse_threshold" in options[what] else None,
        )
        for what, shot in shots.items()
    ]


def cost() -> list[Row]:
    """Compare denoising alone with what ties frames together, piece by piece."""
    frames = pan(4)
    with tempfile.TemporaryDirectory() as folder:
        sd_x4().save_model(Path(folder))
        alone = Upscaler.load(folder, device="cpu", temporal="off")
        tied = Upscaler.load(folder, device="cpu", temporal="moving")
        upscale(alone, frames[:1])
        denoising, whole = (shot.seconds for shot in upscale_alike([alone, tied], frames))
        pieces = dict(_pieces(tied, frames))
    rows = [Row("off: denoising and decoding", denoising, 1.0), Row("moving, all", whole, whole / denoising)]
    rows += [Row(f"  {what}", seconds, seconds / denoising) for what, seconds in pieces.items()]
    rate = matrix_rate()
    operations = 20 * unet_operations(WIDTH, HEIGHT) + vae_operations(WIDTH, HEIGHT)
    most = sum(pieces.values()) * rate
    rows.append(Row("at real size, by operations: at most", sum(pieces.values()), most / operations))
    return rows


def _pieces(upscaler: Upscaler, frames: Tensor) -> Iterator[tuple[str, float]]:
    last, frame = frames[0], frames[1]
    unchanged = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    motion = estimate_motion(last, frame, unchanged)
    yield "motion, both directions", timed(lambda: estimate_motion(last, frame, unchanged))
    specs = upscaler.components.noise_specs(upscaler.settings.num_inference_steps)
    moving = MovingNoise(0, specs, HEIGHT, WIDTH)
    particles = moving.start()
    yield "noise, moved and counted", timed(lambda: moving.fields(moving.move(particles, motion, 1)))
    latents = torch.randn(1, 4, HEIGHT, WIDTH)
    yield "propagation, per tied step", timed(lambda: _propagate(motion, latents))


def _propagate(motion: Motion, latents: Tensor) -> Tensor:
    link = Link(Box(0, HEIGHT, 0, WIDTH), Warp.of(motion, 1, torch.device("cpu")))
    return Propagation({0: 0.2}, 1, latents, [link])(0, latents)


SIZES = (160, 120), (320, 240), (640, 480)
YARDSTICK = "animevideov3"
FAST = YARDSTICK, "span", "compact", "compact temporal=off", "compact steps=4"
SLOW = "x4plus"
"""It is given one frame only, and no time to warm up, of which it needs little beside its own."""


def bench_compact(arguments: argparse.Namespace) -> None:
    """Measure the bundled model against others, each in a process of its own."""
    tables = {
        f"{width}x{height} (times faster than {YARDSTICK})": against_others(width, height, arguments.frames)
        for width, height in SIZES
    }
    write(arguments.out, "compact", tables)


def against_others(width: int, height: int, num_frames: int) -> list[Row]:
    """Compare what a frame of a pan takes."""
    frames = pan(num_frames, width, height).permute(0, 2, 3, 1).numpy()
    done = {method: methods.run(method, [frames[:2], *REPEATS * [frames]]) for method in FAST}
    seconds = {method: min(each.seconds[1:]) for method, each in done.items()}
    done[SLOW] = methods.run(SLOW, [frames[:1]])
    seconds[SLOW] = done[SLOW].seconds[0]
    return [
        Row(method, seconds[method], seconds[YARDSTICK] / seconds[method], peak_memory=each.peak_memory)
        for method, each in done.items()
    ]


REPEATS = 3


NUM_RUNS = 2
"""Of which the faster one counts: in the first, everything warms up."""
GUIDANCE = 9.0
NOISE_LEVEL = 20
STEPS_OF_DIFFUSERS, STEPS_OF_VIDX4 = 75, 20
"""That each takes where nobody says."""
FEWEST_STEPS = 4
"""Of `--speed fast`."""


@dataclass(frozen=True)
class Task:
    """One frame, or some, to be enlarged by sd-x4 in a process of its own."""

    model: Path
    width: int
    height: int
    num_inference_steps: int
    dtype: torch.dtype
    device: torch.device
    prompt: str = ""
    negative_prompt: str = ""
    batch_size: int | None = 1
    """Frames that vidx4 is given at once, where it has its own way; its own choice where None."""
    is_compiled: bool = False
    """Whether the denoiser of vidx4 is compiled first, which is not timed."""

    @property
    def is_guided(self) -> bool:
        """Whether guidance changes anything."""
        return self.prompt != self.negative_prompt

    def floor(self, rate: float) -> float:
        """Return the seconds in which a frame could be done at so many operations per second.

        The attention of the autoencoder does not count: it can be had for less, if not for the same picture.
        """
        decoding = vae_operations(self.width, self.height, with_attention=False)
        return self.denoising_floor(rate) + decoding / rate

    def denoising_floor(self, rate: float) -> float:
        """Return the same without decoding."""
        evaluations = self.num_inference_steps * (2 if self.is_guided else 1)
        return evaluations * unet_operations(self.width, self.height) / rate


@dataclass(frozen=True)
class Done:
    """What became of a task."""

    seconds: float
    """Per frame."""
    peak_memory: int
    rate: float
    """Operations per second of a matrix product, just after it."""
    denoising: float | None = None
    """Of the seconds."""
    picture: Tensor | None = None
    """In [0, 1], float32, (1, 3, 4H, 4W)."""


Lines = Mapping[str, tuple[Callable[[Task], Done], Task]]
"""What is measured, by the names of the lines."""


def with_diffusers(task: Task) -> Done:
    """Enlarge a frame by the pipeline of diffusers."""
    hush()
    from diffusers import StableDiffusionUpscalePipeline

    pipeline = StableDiffusionUpscalePipeline.from_pretrained(task.model, dtype=task.dtype)
    pipeline = pipeline.to(task.device)
    pipeline.set_progress_bar_config(disable=True)
    embeds = pipeline.encode_prompt(task.prompt, task.device, 1, True, task.negative_prompt)
    low_res, _, latents = _given(task)
    decode = pipeline.vae.decode

    def enlarge(on_clean: Callable[[], None]) -> Tensor:
        def decode_clean(*args: Any, **kwargs: Any) -> Any:
            on_clean()
            return decode(*args, **kwargs)

        pipeline.vae.decode = decode_clean
        pictures: Tensor = pipeline(
            image=low_res,
            prompt_embeds=embeds[0],
            negative_prompt_embeds=embeds[1],
            latents=latents.to(task.dtype),
            generator=torch.Generator().manual_seed(0),
            num_inference_steps=task.num_inference_steps,
            guidance_scale=GUIDANCE,
            noise_level=NOISE_LEVEL,
            output_type="pt",
        ).images
        return pictures

    return _measured(enlarge, task)


@torch.inference_mode()
def with_vidx4(task: Task) -> Done:
    """Enlarge a frame by the loop of vidx4, from the noise that diffusers draws."""
    parts = _upscaler(task).components
    if task.is_compiled:
        parts.denoiser.compile(1)
    low_res, noise, latents = _given(task)

    def enlarge(on_clean: Callable[[], None]) -> Tensor:
        seen = add_low_res_noise(2 * low_res - 1, noise, NOISE_LEVEL, parts.low_res_scheduler)
        clean = denoise(
            parts.denoiser,
            parts.scheduler,
            seen,
            latents,
            noise_level=NOISE_LEVEL,
            num_inference_steps=task.num_inference_steps,
            prompt_embeds=parts.prompt_embeds,
            guidance_scale=GUIDANCE,
        )
        on_clean()
        return (parts.autoencoder.decode(clean, seen) * 0.5 + 0.5).clamp(0, 1)

    return _measured(enlarge, task)


def with_upscaler(task: Task) -> Done:
    """Enlarge three batches of a shot as vidx4 does where nobody says how; the last one counts."""
    upscaler = _upscaler(task)
    upscaler = upscaler.fitted(task.width, task.height, batch_size=task.batch_size)
    size = upscaler.fit.batch_size
    frames, state, seconds = pan(3 * size, task.width, task.height), None, 0.0
    forget_peak(task.device)
    for start in range(0, len(frames), size):
        batch = FrameBatch(frames[start : start + size], tuple(range(start, start + size)))
        begin = time.perf_counter()
        state = upscaler(batch, state).state  # on the CPU, so it is done
        seconds = time.perf_counter() - begin
    return Done(seconds / size, peak_memory(task.device), matrix_rate(task.device, task.dtype))


def _upscaler(task: Task, **options: Any) -> Upscaler:
    hush()
    return Upscaler.load(
        str(task.model),
        device=str(task.device),
        dtype=str(task.dtype).removeprefix("torch."),
        num_inference_steps=task.num_inference_steps,
        prompt=task.prompt,
        negative_prompt=task.negative_prompt,
        **options,
    )


def _given(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Return a frame in [0, 1], the noise that diffusers draws first from seed 0, and other for the latents.

    All are float32, and what diffusers draws in the precision of the task.
    """
    low_res = pan(1, task.width, task.height) / 255
    noise = torch.randn(low_res.shape, generator=torch.Generator().manual_seed(0), dtype=task.dtype)
    shape = 1, 4, task.height, task.width
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(task.dtype)
    return low_res.to(task.device), noise.to(task.device).float(), latents.to(task.device).float()


def _measured(enlarge: Callable[[Callable[[], None]], Tensor], task: Task) -> Done:
    """Time a function that calls its argument when latents are clean."""
    device = task.device
    forget_peak(device)
    fastest, denoising = float("inf"), 0.0
    for _ in range(NUM_RUNS):
        times = [_now(device)]
        picture = enlarge(lambda times=times: times.append(_now(device)))  # type: ignore[misc]
        times.append(_now(device))
        if times[-1] - times[0] < fastest:
            fastest, denoising = times[-1] - times[0], times[1] - times[0]
    peak = peak_memory(device)
    return Done(fastest, peak, matrix_rate(device, task.dtype), denoising, picture.float().cpu())


def _now(device: torch.device) -> float:
    synchronize(device)
    return time.perf_counter()


def bench_denoiser(arguments: argparse.Namespace) -> None:
    """Measure sd-x4 against diffusers."""
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    is_cpu = device.type == "cpu"
    num_steps = arguments.steps or (2 if is_cpu else STEPS_OF_VIDX4)
    sizes = arguments.sizes or ([(64, 64)] if is_cpu else SIZES_OF_SD_X4)
    batch_size = 1 if is_cpu else None
    rates = {each: matrix_rate(device, each) for each in (dtype, torch.float32)}
    tables: Tables = {}
    with tempfile.TemporaryDirectory() as folder:
        in_child(save_random_model, Path(folder))
        for width, height in sizes:
            task = Task(Path(folder), width, height, num_steps, dtype, device, batch_size=batch_size)
            tables |= against_diffusers(task, rates, with_float32=(width, height) == sizes[0])
    speeds = {str(each).removeprefix("torch."): rate for each, rate in rates.items()}
    for name, rate in speeds.items():
        print(f"{rate / 1e12:.3g} T operations per second in {name}")
    write(arguments.out, "denoiser", tables, device, operations_per_second=speeds)


SIZES_OF_SD_X4 = [(128, 128), (320, 180), (320, 240), (640, 480)]


def against_diffusers(task: Task, rates: dict[torch.dtype, float], *, with_float32: bool) -> Tables:
    """Compare one size: with equal settings, without a prompt, and each with its own settings."""
    name = str(task.dtype).removeprefix("torch.")
    what = f"{task.width}x{task.height}, {name}"
    steps = f"{task.num_inference_steps} steps, guidance {GUIDANCE:g}"
    guided = replace(task, prompt="a street", negative_prompt="blur")
    lines = {f"diffusers, {name}": (with_diffusers, guided), f"vidx4, {name}": (with_vidx4, guided)}
    if task.device.type == "cuda" and (task.width, task.height) == (WIDTH, HEIGHT):
        lines[f"vidx4, {name}, compiled"] = with_vidx4, replace(guided, is_compiled=True)
    if with_float32 and task.dtype != torch.float32:
        exact = replace(guided, dtype=torch.float32)
        lines |= {"diffusers, float32": (with_diffusers, exact), "vidx4, float32": (with_vidx4, exact)}
    plain = {"diffusers": (with_diffusers, task), "vidx4": (with_vidx4, task)}
    return {
        f"{what}: {steps}, two prompts (times faster than the first, different from diffusers in the best "
        "precision)": compared(lines, rates),
        f"{what}: {steps}, no prompt, so that guidance changes nothing": compared(plain, rates),
        f"{what}: each as it is where nobody says": compared(own_settings(task), rates),
    }


def own_settings(task: Task) -> Lines:
    """Return what each does where nobody says, in one precision; with fewer steps where that was asked."""
    num_theirs = round(STEPS_OF_DIFFUSERS * task.num_inference_steps / STEPS_OF_VIDX4)
    theirs = replace(task, num_inference_steps=num_theirs, prompt="a street")
    batch = "" if task.batch_size is None else f", batches of {task.batch_size}"
    own: Lines = {
        f"diffusers: {num_theirs} of {STEPS_OF_DIFFUSERS} steps, guidance {GUIDANCE:g}, a prompt": (
            with_diffusers,
            theirs,
        ),
        f"vidx4: {task.num_inference_steps} of {STEPS_OF_VIDX4} steps, no prompt, moving{batch}": (
            with_upscaler,
            task,
        ),
    }
    if task.num_inference_steps <= FEWEST_STEPS:
        return own
    fast = replace(task, num_inference_steps=FEWEST_STEPS)
    return {**own, f"vidx4: {FEWEST_STEPS} steps, as with --speed fast{batch}": (with_upscaler, fast)}


def compared(lines: Lines, rates: dict[torch.dtype, float]) -> list[Row]:
    """Measure tasks; pictures are compared with the first in float32, else with the first.

    Args:
        lines: what is measured.
        rates: the best of each precision so far; raised where a task finds the machine faster.
    """
    done = {what: attempt(function, task) for what, (function, task) in lines.items()}
    for what, each in done.items():
        if each is not None:
            dtype = lines[what][1].dtype
            rates[dtype] = max(rates[dtype], each.rate)
    first, *_ = done.values()
    exact = [each for what, each in done.items() if lines[what][1].dtype == torch.float32]
    truth = next(iter([*exact, first]))
    rows = []
    for what, each in done.items():
        task = lines[what][1]
        rows.append(_row(what, each, first, truth, task, rates[task.dtype]))
    return rows


def attempt(function: Callable[[Task], Done], task: Task) -> Done | None:
    """Carry out a task in a process of its own; return None where memory does not suffice."""
    try:
        return in_child(function, task)
    except (MemoryError, MemoryLimitError):
        return None
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def _row(
    what: str, done: Done | None, first: Done | None, truth: Done | None, task: Task, rate: float
) -> Row:
    if done is None:
        return Row(f"{what}: out of memory")
    row = Row(
        what,
        done.seconds,
        None if first is None else first.seconds / done.seconds,
        denoising=done.denoising,
        denoising_share=task.denoising_floor(rate) / done.denoising if done.denoising else None,
        share_of_floor=task.floor(rate) / done.seconds,
        peak_memory=done.peak_memory,
    )
    if done is truth or truth is None or truth.picture is None or done.picture is None:
        return row
    different = 255 * (done.picture - truth.picture).abs()
    return replace(row, most_different=float(different.max()), mean_different=float(different.mean()))


CLIP = ROOT / "samples" / "london.mp4"


def bench_pipeline(arguments: argparse.Namespace) -> None:
    """Measure the whole command, its stages alone, and all but the model."""
    options = UpscaleOptions(model=arguments.model, device=arguments.device, dtype=arguments.dtype)
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_video(arguments.clip, Path(folder) / "out.mkv", Request(overwrite=True))
        clip = f"{plan.source.width}x{plan.source.height}, {plan.num_frames} frames"
        upscaler = Upscaler.from_options(options)
        batch_size = upscaler.fitted(plan.source.width, plan.source.height).fit.batch_size
        tables = {
            f"The command on {arguments.clip.name}, {clip} (share of the slowest stage)": command(
                plan, options
            ),
            "Its stages, one after another (share of the slowest)": stages_alone(plan, upscaler, batch_size),
            "Without a model: pixels are repeated (share of the slowest stage)": io_ceiling(plan, batch_size),
        }
    write(arguments.out, "pipeline", tables, upscaler.components.device)


def command(plan: Plan, options: UpscaleOptions) -> list[Row]:
    """Run the program as a user does."""
    program = [sys.executable, "-m", "vidx4"]
    choices = ["--model", options.model, "--device", options.device, "--dtype", options.dtype]
    paths = [str(plan.source.path.resolve()), str(plan.output)]
    events, whole = _spawn([*program, "upscale", *paths, "--json", "--overwrite", *choices])
    _, asking = _spawn([*program, "--help"])
    shown = next(when for when, line in events if json.loads(line)["event"] == "progress")
    report = json.loads(events[-1][1])
    slowest = _slowest(report["stages"])

    def row(what: str, total: float) -> Row:
        return Row(what, total / plan.num_frames, total / slowest, total=total)

    return [
        replace(row("whole", whole), peak_memory=report["peak_memory"]),
        row("before the work begins, and after it", whole - report["seconds"]),
        *(row(what, total) for what, total in _by_stage(report["stages"]).items()),
        Row("until the first frames are done", total=shown),
        Row("`vidx4 --help`", total=asking),
    ]


def _spawn(command: list[str]) -> tuple[list[tuple[float, str]], float]:
    """Run a program; return what it printed, each line with its time, and the seconds until it had ended."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [(time.perf_counter() - start, line) for line in process.stdout]
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return lines, time.perf_counter() - start


THREADS = ("decode", "follow", "model")


def _by_stage(stages: dict[str, float]) -> dict[str, float]:
    """Return seconds with the names of stages, those first that overlap the others."""
    ordered = sorted(stages, key=lambda stage: stage not in THREADS)
    return {f"{each}, in its own thread" if each in THREADS else each: stages[each] for each in ordered}


def _slowest(stages: dict[str, float]) -> float:
    return max(stages[stage] for stage in (*THREADS, "encode"))


def stages_alone(plan: Plan, upscaler: Upscaler, batch_size: int) -> list[Row]:
    """Decode all frames, then enlarge, then encode as many: what they take if none waits for another."""
    shots: list[ShotBatch[FrameBatch]] = []
    seconds = {"decode": timed(lambda: shots.extend(_decoded(plan, batch_size)), 1)}
    _enlarge(upscaler, shots[:1])  # warms up
    seconds["model"] = timed(lambda: _enlarge(upscaler, shots), 1)
    large = [nearest(shot.batch, None).batch for shot in shots]
    path = plan.output.with_name("part.nut")
    encode = lambda: encode_part(path, large, plan.source, plan.written.target)  # noqa: E731
    seconds["encode"] = timed(encode, 1)
    slowest = max(seconds.values())
    return [
        Row(what, total / plan.num_frames, total / slowest, total=total) for what, total in seconds.items()
    ]


def _decoded(plan: Plan, batch_size: int) -> Iterator[ShotBatch[FrameBatch]]:
    return by_shot(read_frames(plan.source, plan.request.span), batch_size)


def _enlarge(enlarge: Enlarge, shots: Sequence[ShotBatch[FrameBatch]]) -> None:
    state = None
    for shot in shots:
        state = enlarge(shot.batch, None if shot.starts_shot else state).state


def io_ceiling(plan: Plan, batch_size: int) -> list[Row]:
    """Enlarge a video without a model: nothing that has one can be faster."""
    report = run(Job(plan, LocalExecutor(nearest), batch_size), restart=True)
    stages = asdict(report.stages)
    seconds = {"whole": report.seconds, **_by_stage(stages)}
    return [
        Row(what, total / plan.num_frames, total / _slowest(stages), total=total)
        for what, total in seconds.items()
    ]


def bench_scale(arguments: argparse.Namespace) -> None:
    """Measure how time and memory grow, each in a process of its own."""
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    settings = f"device={device} dtype={str(dtype).removeprefix('torch.')}"
    tables = {
        "Frames: a 160x120 clip in a loop, the whole job": against_frames(arguments.frames, settings),
        "Pixels: `compact`, one frame at a time": against_pixels(settings),
        "Tiles: `compact`, 320x240": against_tiles(settings),
        "Batches: `compact`, 320x240, `temporal=off`": against_batches(settings),
        f"Tiles of the autoencoder of sd-x4, {SIDE}x{SIDE}, float32": against_decoder_tiles(device),
    }
    write(arguments.out, "scale", tables, device)


def against_frames(num_frames: int, settings: str) -> list[Row]:
    """Enlarge a clip, and ten times as much of it."""
    rows = []
    for number in (num_frames, 10 * num_frames):
        seconds, peak = in_child(whole_job, number, settings)
        rows.append(Row(f"{number} frames", seconds / number, total=seconds, peak_memory=peak))
    return _against_first(rows)


def whole_job(num_frames: int, settings: str) -> tuple[float, int]:
    """Enlarge a clip in a loop; return the seconds and the peak memory."""
    options = dict(setting.split("=") for setting in settings.split())
    with tempfile.TemporaryDirectory() as folder:
        path = looped(Path(folder) / "loop.mp4", num_frames)
        upscaler = Upscaler.load("compact", **options)
        plan = plan_video(path, Path(folder) / "out.mkv")
        forget_peak(upscaler.components.device)
        report = run(local_job(plan, upscaler))
        return report.seconds, peak_memory(upscaler.components.device)


LOOP = 24


def looped(path: Path, num_frames: int) -> Path:
    """Write frames of a real clip over and over, at half its size."""
    with closing(read_frames(probe(CLIP))) as decoded:
        small = [frame.data[:, ::2, ::2].permute(1, 2, 0) for frame in islice(decoded, LOOP)]
        frames = torch.stack(small).contiguous().numpy()
    pictures = (VideoFrame.from_ndarray(frames[i % LOOP], format="rgb24") for i in range(num_frames))
    return made.write(path, (picture.reformat(format="yuv420p") for picture in pictures), num_audio=0)


def against_pixels(settings: str) -> list[Row]:
    """Enlarge frames with 1, 4 and 16 times as many pixels."""
    return _against_first(
        [upscaled(f"{width}x{height}", f"compact {settings}", 2, width, height) for width, height in SIZES]
    )


def against_tiles(settings: str) -> list[Row]:
    """Enlarge frames as wholes and in tiles."""
    rows = [upscaled("whole frames", f"compact {settings}")]
    rows += [upscaled(f"{size}", f"compact tile_size={size} {settings}") for size in TILE_SIZES]
    return _against_first(rows)


TILE_SIZES = 192, 128, 96, 64
BATCH_SIZES = 1, 2, 4, 8


def against_batches(settings: str) -> list[Row]:
    """Enlarge frames one at a time, and several."""
    alone = f"compact temporal=off {settings}"
    return _against_first(
        [upscaled(f"{size}", f"{alone} batch={size}", max(2, size)) for size in BATCH_SIZES]
    )


def upscaled(what: str, method: str, num_frames: int = 2, width: int = WIDTH, height: int = HEIGHT) -> Row:
    """Measure what a frame of a pan takes; the faster of two times counts."""
    frames = pan(num_frames, width, height).permute(0, 2, 3, 1).numpy()
    done = methods.run(method, 2 * [frames])
    return Row(what, min(done.seconds), peak_memory=done.peak_memory)


def against_decoder_tiles(device: torch.device) -> list[Row]:
    """Decode latents as a whole and in tiles."""
    rows = []
    for what, size in {"whole": SIDE, "64": 64, "48": 48}.items():
        seconds, peak = in_child(decode, size, device)
        rows.append(Row(what, seconds, peak_memory=peak))
    return _against_first(rows)


SIDE = 96
"""Of the latents: larger ones take a CPU minutes."""


@torch.inference_mode()
def decode(tile_size: int, device: torch.device, width: int = SIDE, height: int = SIDE) -> tuple[float, int]:
    """Decode random latents by the autoencoder of sd-x4; return the seconds and the peak memory."""
    autoencoder = TiledAutoencoder(make_vae().to(device), tile_size)
    latents, low_res = torch.randn(1, 4, height, width, device=device), torch.zeros(1, 3, height, width)
    forget_peak(device)
    return timed(lambda: autoencoder.decode(latents, low_res), 1, device), peak_memory(device)


def _against_first(rows: list[Row]) -> list[Row]:
    """Give rows the ratio of their seconds to the first one's."""
    first = rows[0].seconds or 1.0
    return [replace(row, ratio=(row.seconds or 0.0) / first) for row in rows]


GB = 10**9
LIMITS = {(640, 480): 8 * GB, (1920, 1080): 16 * GB}
"""In bytes, by the size of frames."""


def bench_memory(arguments: argparse.Namespace) -> None:
    """Measure what sd-x4 takes of a limited memory."""
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    with tempfile.TemporaryDirectory() as folder:
        in_child(save_random_model, Path(folder))
        rows = []
        for (width, height), limit in LIMITS.items():
            task = Task(Path(folder), width, height, 1, dtype, device)
            how, seconds, peak = in_child(within, task, limit)
            rows.append(Row(f"{width}x{height}, {limit / GB:g} GB: {how}", seconds, peak_memory=peak))
    heading = "One step of sd-x4 in a limited memory, without decoding"
    write(arguments.out, "memory", {heading: rows, **_decoding(device)}, device)


@torch.inference_mode()
def within(task: Task, limit: int) -> tuple[str, float, int]:
    """Denoise as much of a frame as a GPU of a limited memory allows at once; return how much, and its cost.

    On a CPU, the peak is that of the process, so its libraries are in it, too.
    """
    upscaler = _upscaler(task, max_memory=limit)
    parts, embeds = upscaler.components, upscaler.components.prompt_embeds
    assert embeds is not None
    footprint = replace(upscaler.footprint, is_on_host=False)
    size = footprint.fitted(replace(upscaler.fit, batch_size=1), task.width, task.height, limit).tile_size
    width, height = (min(side, size or side) for side in (task.width, task.height))
    sample = torch.zeros(1, 7, height, width, device=task.device, dtype=task.dtype)
    forget_peak(task.device)
    seconds = timed(
        lambda: parts.denoiser(sample, torch.tensor(500), NOISE_LEVEL, embeds.positive, None), 1, task.device
    )
    return f"tiles of {size}" if size else "whole frames", seconds, peak_memory(task.device)


def _decoding(device: torch.device) -> Tables:
    estimate = TiledAutoencoder(make_vae()).decode_bytes(TILE_SIZE, 1, WIDTH * HEIGHT)
    seconds, peak = in_child(decode, TILE_SIZE, device, WIDTH, HEIGHT)
    what = f"estimated beside weights and program: {estimate / 2**20:.0f} MiB"
    return {f"Decoding {WIDTH}x{HEIGHT} in float32": [Row(what, seconds, peak_memory=peak)]}


def bench_cluster(arguments: argparse.Namespace) -> None:
    """Measure what a cluster gains and costs."""
    tables = {
        "Eight real shots of 160x120 (seconds of the work against those without Ray; highest peak of any "
        "process)": cluster.speed(arguments.workers, arguments.device),
        "Films of stills of 320x240, 2 workers (peak of the driver)": cluster.driver_memory((1, 10)),
        "Reading and laying out, by the driver": cluster.reading(200),
    }
    write(arguments.out, "cluster", tables, choose_device(arguments.device))


def upscale(upscaler: Upscaler, frames: Tensor) -> Shot:
    """Enlarge a shot frame by frame."""
    return upscale_alike([upscaler], frames)[0]


def upscale_alike(upscalers: Sequence[Upscaler], frames: Tensor) -> list[Shot]:
    """Enlarge a shot frame by frame, each with one upscaler after the other.

    Where the machine is slower for a while, it is so for all of them.
    """
    shots = [Shot(upscaler) for upscaler in upscalers]
    for frame in frames:
        for shot in shots:
            shot.add(frame)
    return shots


def photo(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a photograph twice as wide and high as a frame."""
    with Image.open(ROOT / "tests" / "data" / "kodim23.png") as picture:
        return np.array(picture.convert("RGB").resize((2 * width, 2 * height), Image.Resampling.LANCZOS))


def pan(num_frames: int, width: int = WIDTH, height: int = HEIGHT) -> Tensor:
    """Return frames that look at another part of a photograph each, (N, 3, H, W)."""
    picture = photo(width, height)
    places = [(3 * i % height, 5 * i % width) for i in range(num_frames)]
    return to_frames([picture[top : top + height, left : left + width] for top, left in places])


def object_over_still(num_frames: int) -> Tensor:
    """Return frames in which a piece of a photograph moves over another part of it."""
    picture = photo()
    frames = [picture[:HEIGHT, :WIDTH].copy() for _ in range(num_frames)]
    for i, frame in enumerate(frames):
        left = 20 + 5 * i % (WIDTH - 44)
        frame[100:124, left : left + 24] = picture[300:324, 300:324]
    return to_frames(frames)


def to_frames(pictures: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    """Parse the arguments and run one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)

    def part(run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        name = run.__name__.removeprefix("bench_")
        command = commands.add_parser(name, help=(run.__doc__ or "").rstrip("."))
        command.set_defaults(run=run)
        command.add_argument("--out", type=Path, default=Path("evaluation"))
        return command

    temporal = part(bench_temporal)
    temporal.add_argument("--frames", type=int, default=24)
    temporal.add_argument("--clip", type=Path, default=ROOT / "samples" / "nasa.mp4")
    compact = part(bench_compact)
    compact.add_argument("--frames", type=int, default=6)
    denoiser, pipeline, scale = part(bench_denoiser), part(bench_pipeline), part(bench_scale)
    memory, clustered = part(bench_memory), part(bench_cluster)
    denoiser.add_argument("--sizes", nargs="+", type=size, help="such as 128x128")
    denoiser.add_argument("--steps", type=int, help=f"{STEPS_OF_VIDX4} if left out, on a CPU 2")
    pipeline.add_argument("--clip", type=Path, default=CLIP)
    pipeline.add_argument("--model", default="compact")
    scale.add_argument("--frames", type=int, default=24, help="and ten times as many")
    clustered.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    clustered.add_argument("--device", default="cpu", help="auto, cpu or cuda")
    for each in (denoiser, pipeline, scale, memory):
        each.add_argument("--device", default="auto", help="auto, cpu or cuda")
        each.add_argument("--dtype", default="auto", help=f"auto, {', '.join(DTYPES)}")
    arguments = parser.parse_args()
    arguments.run(arguments)


def size(text: str) -> tuple[int, int]:
    """Read a width and a height, as in 320x240."""
    width, height = text.split("x")
    return int(width), int(height)


if __name__ == "__main__":
    main()
