"""Enlarge batches of frames four times with a loaded model, carrying state through a shot."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidx4.diffusion.compiling import repays_compiling, why_not_compile
from vidx4.diffusion.device import (
    choose_device,
    device_name,
    dtype_name,
    find_gpu,
    has_bfloat16,
    keep_host_memory,
)
from vidx4.diffusion.device_errors import device_errors
from vidx4.diffusion.footprint import Footprint, footprint_of
from vidx4.diffusion.memory import DECODE_TILES, HOST_DECODE_TILE, Fit, capacity, check_size, enforce, free
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.models.registry import check_name, choose_model, load, model_dtype
from vidx4.diffusion.options import ESTIMATE, AutoLevel, Compile, Precision, UpscaleOptions
from vidx4.diffusion.rendering import Rendering, warn_of_tiles, way_out
from vidx4.diffusion.settings import Settings
from vidx4.diffusion.states import check_state, state_spec_of
from vidx4.errors import CompileError, MemoryLimitError, OptionError
from vidx4.frames import Box, FrameBatch
from vidx4.syntax import format_disk
from vidx4.temporal.follow import Followed, FollowedBatch, Follower
from vidx4.temporal.mode import Temporal
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.temporal.state_spec import StateSpec
from vidx4.transfer import Downloads

_logger = logging.getLogger(__name__)

MAX_BATCH_SIZE = 8
"""Most frames that are denoised together."""


class Upscaler:
    """A loaded model with its settings.

    Equal frames of a shot give equal results. The results of a shot depend neither on where it is split into
    batches nor, beyond rounding, on the size of the batches.

    >>> import torch
    >>> from vidx4 import FrameBatch, Upscaler
    >>> upscaler = Upscaler.load("compact", device="cpu")
    >>> batch = FrameBatch(torch.zeros(2, 3, 24, 32, dtype=torch.uint8), pts=(0, 1))
    >>> upscaled = upscaler(batch)
    >>> upscaled.batch.data.shape
    torch.Size([2, 3, 96, 128])
    >>> more = upscaler(FrameBatch(batch.data, pts=(2, 3)), upscaled.state)  # the shot continues

    A model that remembers knows little of the first frame of a shot. `FrameBatch.warm_up` shows it what comes
    after: `warm_up_of` returns what `vidx4 upscale` shows it.
    """

    def __init__(self, components: Components, options: UpscaleOptions, fit: Fit | None = None) -> None:
        self.components = components
        self.options = options = _without_level(options, components)
        self.settings = Settings.resolve(options, components)
        self._rendering = Rendering(components, options, fit or self._preferred_fit(MAX_BATCH_SIZE))
        self._downloads = Downloads(components.device)
        self._follower = Follower(
            self.settings.temporal,
            self.settings.seed,
            components.noise_specs(self.settings.num_inference_steps),
            self.settings.reuse_threshold,
            self.settings.wants_motion,
            self.settings.draws_anew,
        )
        self._check_tiles()

    @property
    def fit(self) -> Fit:
        """How frames are cut up to fit the memory."""
        return self._rendering.fit

    @classmethod
    def load(cls, model: str = "auto", **options: Any) -> Self:
        """Load a model by name; `options` are the other fields of `UpscaleOptions`.

        Raises:
            ModelError: the model is not available, or can't be loaded.
            OptionError: the model or this machine doesn't support an option.
            MemoryLimitError: the device has too little memory for the model.
            DeviceError: the device has failed.
        """
        return cls.from_options(UpscaleOptions(model=model, **options))

    @classmethod
    def from_options(cls, options: UpscaleOptions, path: Path | None = None) -> Self:
        """Load the model that the options ask for; see `load` for the errors raised.

        Args:
            options: the model, and how it enlarges frames.
            path: the folder or file of the model; None to find it by the model's name.
        """
        device = choose_device(options.device)
        if options.device == "auto" and (why_none := find_gpu().why_none):
            _logger.warning("%s: the CPU is used.", why_none)
        name, why = choose_model(options.model, device)
        if path is None:
            check_name(name)
        dtype = model_dtype(name, options.dtype, device, path)
        _logger.info("model %s (%s) on %s in %s", name, why, device, dtype_name(dtype))
        if options.dtype == Precision.BFLOAT16 and device.type == "cuda" and not has_bfloat16(device):
            _logger.warning("%s emulates bfloat16: --dtype float16 or float32 takes less time.", device)
        if device.type == "cpu":
            keep_host_memory()
        with device_errors(device, f"There is too little memory for the model {name} on {device}."):
            if options.max_memory is not None:
                enforce(device, options.max_memory)
            components = load(
                name, device, dtype, options.prompt, options.negative_prompt, path, options.decoder
            )
            return cls(components, options)

    def fitted(
        self,
        width: int,
        height: int,
        num_frames: int = 1,
        batch_size: int | None = None,
        was_compiled: bool | None = None,
    ) -> Self:
        """Return an upscaler for a job: one that fits the memory, and is compiled if that pays off.

        Args:
            width: width of the frames, in low-resolution pixels.
            height: height of the frames, in low-resolution pixels.
            num_frames: number of frames in the whole job.
            batch_size: most frames to denoise at once; None for the number that is fastest.
            was_compiled: whether an earlier run of the job was compiled, which this one follows unless the
                user decides; None if there was none.

        Raises:
            CompileError: the user wants it compiled, and that fails.
            MemoryLimitError: frames of this size don't fit the memory that there is, or that the user allows.
        """
        if not self.options.ignore_memory:
            check_size(self.components.device, width, height)
        available = capacity(self.components.device, self.options.max_memory)
        preferred = self._preferred_fit(batch_size or self._best_batch_size(width, height))
        footprint = self.footprint
        fit = footprint.fitted(preferred, width, height, available)
        self._check_fit(preferred, fit, f"{width}x{height}", footprint.needed(fit, width, height), available)
        options = replace(self.options, tile_size=fit.tile_size)
        is_compiled = self._should_compile(fit, num_frames, width * height, was_compiled)
        compiled = self._compiled(options, fit, width, height) if is_compiled else None
        return compiled or type(self)(self.components, replace(options, compile="off"), fit)

    def _should_compile(self, fit: Fit, num_frames: int, num_pixels: int, was_compiled: bool | None) -> bool:
        """Return whether a job is to be compiled, if that works.

        Raises:
            CompileError: the user wants it, and memory does not allow it.
        """
        choice, why_not = self.options.compile, why_not_compile(self.components)
        if fit.is_offloaded and not self._is_on_host:
            why_not = "the denoiser's weights have to stay in host memory until they are needed"
        if choice == Compile.ON and why_not:
            raise CompileError(f"--compile on is not possible: {why_not}.")
        if choice != Compile.AUTO or why_not:
            return choice == Compile.ON
        if was_compiled is not None:
            return was_compiled
        num_evaluations = num_frames * self.settings.num_inference_steps
        return repays_compiling(self.components, num_evaluations, num_pixels)

    def _compiled(self, options: UpscaleOptions, fit: Fit, width: int, height: int) -> Self | None:
        """Return a compiled upscaler, after enlarging a black frame with it; None if that fails.

        Raises:
            CompileError: it fails, and the user wants it.
        """
        upscaler = type(self)(self.components, replace(options, compile="on"), fit)
        try:
            upscaler._try_compiling(width, height)
        except CompileError as error:
            if self.options.compile == Compile.ON:
                raise
            _logger.warning("%s The job runs uncompiled.", error)
            return None
        return type(self)(self.components, upscaler.options, fit)

    def _try_compiling(self, width: int, height: int) -> None:
        """Enlarge a black frame, and only as a job would: one that is cut up further compiles other code.

        Raises:
            CompileError: the model can't be compiled, or memory runs out.
        """
        black = FrameBatch(torch.zeros(1, 3, height, width, dtype=torch.uint8), pts=(0,))
        if not self._rendering.fits(self.follow(black)):
            device = self.components.device
            raise CompileError(
                f"The model can't be compiled here: {device} ran out of memory for {width}x{height}."
            )

    def _check_fit(self, preferred: Fit, fit: Fit, size: str, needed: int, available: int) -> None:
        """Report a fit that was changed, or that may be too large; refuse one beyond the user's limit."""
        memory = f"{format_disk(available)} of {self.components.device} memory"
        if needed > available:
            problem = f"about {format_disk(needed)}, but only {memory} can be used"
            if self.options.max_memory is not None:
                limit = " (--ignore-memory does not lift --max-memory)" if self.options.ignore_memory else ""
                raise MemoryLimitError(f"{size} needs {problem}{limit}: {way_out(self.options)}.")
            _logger.warning("%s may need %s: it may fail.", size, problem)
        elif needed > (now := free(self.components.device)):
            text = "%s needs about %s, but only %s of %s memory is free now: it may run out."
            _logger.warning(text, size, format_disk(needed), format_disk(now), self.components.device)
        if change := fit.difference(replace(preferred, batch_size=fit.batch_size)):
            _logger.warning("To fit into %s, %s is enlarged %s.", memory, size, change)
        warn_of_tiles(self.components, fit)

    @property
    def footprint(self) -> Footprint:
        """Memory that the model takes on its device with these settings."""
        return footprint_of(self.components, self.settings)

    @cached_property
    def state_spec(self) -> StateSpec:
        """What the state of a shot holds with this model and these settings."""
        return state_spec_of(self.components, self.settings)

    def planned_memory(self, width: int, height: int) -> int:
        """Return the bytes that a batch of frames of a size is planned to take on the device."""
        return self.footprint.needed(self.fit, width, height)

    def _preferred_fit(self, batch_size: int) -> Fit:
        """Return how frames are cut up if there is enough memory."""
        decode_tile = None
        if self.components.tiled_autoencoder is not None:
            decode_tile = HOST_DECODE_TILE if self._is_on_host else DECODE_TILES[0]
        return Fit(batch_size, self.settings.tile_size, decode_tile, self._is_on_host)

    @property
    def _is_on_host(self) -> bool:
        return self.components.device.type == "cpu"

    def _best_batch_size(self, width: int, height: int) -> int:
        return max(1, min(MAX_BATCH_SIZE, self.components.batch_pixels // (width * height)))

    def with_options(self, options: UpscaleOptions) -> Self:
        """Return an upscaler with other options, which loads a model only if they ask for another.

        Raises:
            ModelError: the other model is not available, or can't be loaded.
            OptionError: the model or this machine doesn't support an option.
        """
        if loaded_by(options) == loaded_by(self.options):
            return type(self)(self.components, options)
        return self.from_options(options)

    def _check_tiles(self) -> None:
        size, multiple = self.settings.tile_size, self.components.size_multiple
        if size is not None and size % multiple:
            raise OptionError(f"--tile-size must be a multiple of {multiple} for this model, not {size}.")

    @cached_property
    def identity(self) -> dict[str, str | int | float | None]:
        """Everything that the pixels of a result depend on, by the names of the options."""
        components, options = self.components, self.options
        return {
            "torch": torch.__version__,
            "model": components.name,
            "weights": components.digest,
            "device": device_name(components.device),
            "dtype": dtype_name(components.dtype),
            "prompt": options.prompt,
            "negative-prompt": options.negative_prompt,
            # Which one it is, its weights tell, wherever it lies.
            "decoder": None if options.decoder is None else "tiny",
            ESTIMATE: _estimate(options.noise_level),
            **self.settings.by_option(),
            "noise-level": None if isinstance(_estimate(options.noise_level), str) else self.noise_level,
        }

    @property
    def noise_level(self) -> int | None:
        """Noise level that frames are restored at; None if the model knows none."""
        return self.settings.noise_level if self.components.max_noise_level > 0 else None

    @property
    def estimated_noise_level(self) -> int | None:
        """The estimate that the noise level follows from; None if the user chose it, or none is known yet."""
        level = self.options.noise_level
        return level.estimate if isinstance(level, AutoLevel) else None

    def follow(self, batch: FrameBatch, last: Followed | None = None) -> FollowedBatch:
        """Find what ties frames to those before them; runs on the CPU, so it can run ahead of the model.

        Args:
            batch: consecutive frames of a shot.
            last: the frame before them; None at the start of a shot.
        """
        warm_up = None
        if last is None and batch.warm_up and self.settings.warms_up:
            warm_up = self._followed(
                [frame.data for frame in batch.warm_up],
                tuple(frame.pts for frame in batch.warm_up),
                None,
                self._follower,
            )
            last = warm_up.last
        return replace(self._followed(batch.data, batch.pts, last, self._follower), warm_up=warm_up)

    def _followed(
        self, frames: Iterable[Tensor], pts: tuple[int, ...], last: Followed | None, follower: Follower
    ) -> FollowedBatch:
        followed = []
        for frame, time in zip(frames, pts, strict=True):
            padded = _pad(frame, self.components.size_multiple)
            last = follower.follow(padded, Box.whole(frame), time, last)
            followed.append(last)
        return FollowedBatch(followed, pts)

    def __call__(self, batch: FrameBatch | FollowedBatch, state: ShotState | None = None) -> Upscaled:
        """Enlarge consecutive frames of a shot four times.

        Args:
            batch: the frames, or what `follow` returned for them.
            state: the state returned with the frames before; None at the start of a shot.

        Returns:
            Frames of the same type with the same pts, (N, 3, 4H, 4W), and the state after them.

        Raises:
            ValueError: the state is of another model, other settings or frames of another size or type, or
                missing though the frames were followed from others.
            MemoryLimitError: the device has too little memory for the batch.
            NotFiniteError: the model gives no finite numbers for a frame, even in float32.
            DeviceError: the device has failed.
        """
        check_state(self.state_spec, batch, state)
        if isinstance(batch, FrameBatch):
            batch = self.follow(batch, None if state is None else state.last)
        upscaled = self.launch(batch, state).arrived()
        if self._is_on_host:
            return upscaled
        # A caller may keep many frames, and the system can't do with all of its memory pinned.
        return replace(upscaled, batch=replace(upscaled.batch, data=upscaled.batch.data.clone()))

    def launch(self, batch: FollowedBatch, state: ShotState | None) -> Upscaled:
        """Enlarge frames as a call does, but don't wait until a GPU has copied them.

        The next batch can be launched meanwhile; `Upscaled.arrived` waits.
        """
        states = self._states(batch, state)
        download = self._downloads.start([state.upscaled for state in states])
        num_reused = sum(state.share_reused for state in states)
        arriving = None if download.is_done else download
        return Upscaled(FrameBatch(download.data, batch.pts), states[-1], num_reused, arriving)

    def _states(self, batch: FollowedBatch, state: ShotState | None) -> list[ShotState]:
        """Return the state after each frame; a shot may warm up before its first."""
        if state is not None or batch.warm_up is None:
            return self._rendering.states(batch, state)
        for index in range(len(batch.warm_up)):
            (state,) = self._rendering.states(batch.warm_up[index : index + 1], state)
        first, *others = self._rendering.states(batch, state)
        # What the first frame reuses of the warm-up was computed for nothing else.
        return [replace(first, share_reused=0.0), *others]

    def picture(self, colors: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8 | np.uint16]:
        """Enlarge a still picture four times.

        Args:
            colors: gray or RGB over the full range of its type, uint8 or uint16, (H, W, 1 or 3).

        Returns:
            The picture with as many channels of the same type, (4H, 4W, 1 or 3).

        Raises:
            ValueError: the array has another shape or type.
            MemoryLimitError: the device has too little memory for the picture.
        """
        if colors.ndim != 3 or colors.shape[2] not in (1, 3):
            raise ValueError(f"a picture must be (H, W, 1) or (H, W, 3), got {colors.shape}")
        pixels = torch.from_numpy(colors.copy()).permute(2, 0, 1).expand(3, -1, -1)
        follower = replace(self._follower, temporal=Temporal.FIXED)  # there is nowhere to move to
        followed = self._followed([pixels], (0,), None, follower)
        enlarged = self(followed).batch.data[0]
        if colors.shape[2] == 1:
            enlarged = _gray(enlarged)
        return np.ascontiguousarray(enlarged.permute(1, 2, 0).numpy())


def loaded_by(options: UpscaleOptions) -> tuple[str | None, ...]:
    """Return the options that determine what is loaded."""
    prompts = options.prompt, options.negative_prompt
    return options.model, options.device, options.dtype, *prompts, options.decoder


def _without_level(options: UpscaleOptions, components: Components) -> UpscaleOptions:
    """Return options whose noise level is not left to an estimate if the model knows none.

    Raises:
        OptionError: the estimate should be raised or lowered.
    """
    level = options.noise_level
    if components.max_noise_level > 0 or not isinstance(level, AutoLevel):
        return options
    if level.offset:
        raise OptionError(
            f"The model {components.name} knows no noise level: --noise-level can't be {level}."
        )
    return replace(options, noise_level=0)


def _gray(rgb: Tensor) -> Tensor:
    """Return gray from RGB, uint8 or uint16, (1, H, W): in 16 bits, the green that is most of it."""
    red, green, blue = rgb.unbind()
    if rgb.dtype == torch.uint16:
        return green[None]
    # The luma of ITU-R BT.601 as Pillow rounds it: gray files have always been made so.
    luma = red.int().mul_(19595).add_(green, alpha=38470).add_(blue, alpha=7471)
    return ((luma + (1 << 15)) >> 16).to(torch.uint8)[None]


def _estimate(level: int | AutoLevel | str) -> int | str | None:
    """Return the estimate behind a noise level, what was asked if there is none yet, or None for a number."""
    if not isinstance(level, AutoLevel):
        return None
    return str(level) if level.estimate is None else level.estimate


def _pad(frame: Tensor, multiple: int) -> Tensor:
    """Pad a frame at the bottom and right by repeating edges, so that its sides are multiples."""
    bottom, right = (-side % multiple for side in frame.shape[1:])
    if bottom == right == 0:
        return frame
    padded = F.pad(frame.float(), (0, right, 0, bottom), mode="replicate")
    return padded.to(frame.dtype)
