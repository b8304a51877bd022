"""Enlarge batches of frames four times with a loaded model, carrying state through a shot."""

import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidx4.diffusion.compiling import repays_compiling
from vidx4.diffusion.device import (
    choose_device,
    choose_dtype,
    device_name,
    is_out_of_memory,
    keep_host_memory,
)
from vidx4.diffusion.footprint import Footprint, footprint_of
from vidx4.diffusion.memory import DECODE_TILES, HOST_DECODE_TILE, Fit, capacity, check_size, enforce, free
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.models.registry import choose_model, load
from vidx4.diffusion.options import AutoLevel, UpscaleOptions
from vidx4.diffusion.render import make_renderer
from vidx4.diffusion.settings import Settings
from vidx4.errors import MemoryLimitError, OptionError
from vidx4.frames import Box, FrameBatch
from vidx4.syntax import format_disk
from vidx4.temporal.follow import Followed, FollowedBatch, Follower
from vidx4.temporal.mode import Temporal
from vidx4.temporal.state import ShotState, Upscaled

_logger = logging.getLogger(__name__)

MAX_BATCH_SIZE = 8
"""Most frames that are denoised together."""
WAY_OUT = "use another --device or --model, a larger --max-memory, or a smaller --tile-size"
"""What a user can do about too little memory."""


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
    """

    def __init__(self, components: Components, options: UpscaleOptions, fit: Fit | None = None) -> None:
        self.components = components
        self.options = options
        self.settings = Settings.resolve(options, components)
        self.fit = fit or self._preferred_fit(MAX_BATCH_SIZE)
        self._renderer = make_renderer(components, self.settings)
        self._follower = Follower(
            self.settings.temporal,
            self.settings.seed,
            components.noise_specs(self.settings.num_inference_steps),
            self.settings.reuse_threshold,
            self.settings.wants_motion,
        )
        self._check_tiles()

    @classmethod
    def load(cls, model: str = "auto", **options: Any) -> Self:
        """Load a model by name; `options` are the other fields of `UpscaleOptions`.

        Raises:
            ModelError: the model is not available, or can't be loaded.
            OptionError: the model or this machine doesn't support an option.
            MemoryLimitError: the device has too little memory for the model.
        """
        return cls.from_options(UpscaleOptions(model=model, **options))

    @classmethod
    def from_options(cls, options: UpscaleOptions, folder: Path | None = None) -> Self:
        """Load the model that the options ask for; see `load` for the errors raised.

        Args:
            options: the model, and how it enlarges frames.
            folder: the folder of the model's files; None to find them by the model's name.
        """
        device = choose_device(options.device)
        name, why = choose_model(options.model, device)
        dtype = choose_dtype(options.dtype, device)
        _logger.info("model %s (%s) on %s in %s", name, why, device, str(dtype).removeprefix("torch."))
        if device.type == "cpu":
            keep_host_memory()
        if options.max_memory is not None:
            enforce(device, options.max_memory)
        try:
            components = load(name, device, dtype, options.prompt, options.negative_prompt, folder)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryLimitError(f"{device} has too little memory for the model {name}.") from error
        return cls(components, options)

    def fitted(self, width: int, height: int, num_frames: int = 1, batch_size: int | None = None) -> Self:
        """Return an upscaler for a job: one that fits the memory, and is compiled if that pays off.

        Args:
            width: width of the frames, in low-resolution pixels.
            height: height of the frames, in low-resolution pixels.
            num_frames: number of frames in the whole job.
            batch_size: most frames to denoise at once; None for the number that is fastest.

        Raises:
            MemoryLimitError: frames of this size don't fit the memory that there is, or that the user allows.
        """
        if not self.options.ignore_memory:
            check_size(self.components.device, width, height)
        available = capacity(self.components.device, self.options.max_memory)
        preferred = self._preferred_fit(batch_size or self._best_batch_size(width, height))
        footprint = self.footprint
        fit = footprint.fitted(preferred, width, height, available)
        self._check_fit(preferred, fit, f"{width}x{height}", footprint.needed(fit, width, height), available)
        is_compiled = self._should_compile(num_frames, width * height)
        options = replace(self.options, tile_size=fit.tile_size, compile="on" if is_compiled else "off")
        return type(self)(self.components, options, fit)

    def _should_compile(self, num_frames: int, num_pixels: int) -> bool:
        if self.options.compile == "auto":
            num_evaluations = num_frames * self.settings.num_inference_steps
            return repays_compiling(self.components, num_evaluations, num_pixels)
        return self.options.compile == "on"

    def _check_fit(self, preferred: Fit, fit: Fit, size: str, needed: int, available: int) -> None:
        """Report a fit that was changed, or that may be too large; refuse one beyond the user's limit."""
        memory = f"{format_disk(available)} of {self.components.device} memory"
        if needed > available:
            problem = f"about {format_disk(needed)}, but only {memory} can be used"
            if self.options.max_memory is not None:
                raise MemoryLimitError(f"{size} needs {problem}: {WAY_OUT}.")
            _logger.warning("%s may need %s: it may fail.", size, problem)
        elif needed > (now := free(self.components.device)):
            text = "%s needs about %s, but only %s of %s memory is free now: it may run out."
            _logger.warning(text, size, format_disk(needed), format_disk(now), self.components.device)
        if change := fit.difference(replace(preferred, batch_size=fit.batch_size)):
            _logger.warning("To fit into %s, %s is enlarged %s.", memory, size, change)

    @property
    def footprint(self) -> Footprint:
        """Memory that the model takes on its device with these settings."""
        return footprint_of(self.components, self.settings)

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
            "dtype": str(components.unet.dtype).removeprefix("torch."),
            "prompt": options.prompt,
            "negative-prompt": options.negative_prompt,
            "estimated-noise-level": _estimate(options.noise_level),
            **self.settings.by_option(),
        }

    def follow(self, batch: FrameBatch, last: Followed | None = None) -> FollowedBatch:
        """Find what ties frames to those before them; runs on the CPU, so it can run ahead of the model.

        Args:
            batch: consecutive frames of a shot.
            last: the frame before them; None at the start of a shot.
        """
        return self._followed(batch, last, self._follower)

    def _followed(self, batch: FrameBatch, last: Followed | None, follower: Follower) -> FollowedBatch:
        visible, frames = Box.whole(batch.data), []
        for frame, pts in zip(_pad(batch.data, self.components.size_multiple), batch.pts, strict=True):
            last = follower.follow(frame, visible, pts, last)
            frames.append(last)
        return FollowedBatch(frames, batch.pts)

    def __call__(self, batch: FrameBatch | FollowedBatch, state: ShotState | None = None) -> Upscaled:
        """Enlarge consecutive frames of a shot four times.

        Args:
            batch: the frames, or what `follow` returned for them.
            state: the state returned with the frames before; None at the start of a shot.

        Returns:
            Frames of the same type with the same pts, (N, 3, 4H, 4W), and the state after them.

        Raises:
            MemoryLimitError: the device has too little memory for the batch.
        """
        if isinstance(batch, FrameBatch):
            batch = self.follow(batch, None if state is None else state.last)
        return self._upscale(batch, state)

    def _upscale(self, batch: FollowedBatch, state: ShotState | None) -> Upscaled:
        while (upscaled := self._try_rendering(batch, state)) is None:
            self._shrink_fit(batch)
        return upscaled

    def _try_rendering(self, batch: FollowedBatch, state: ShotState | None) -> Upscaled | None:
        """Render a batch; return None if memory runs out."""
        # The error's traceback holds the tensors that filled the memory: only once it is left are they free.
        try:
            return self._render(batch, state)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _render(self, batch: FollowedBatch, state: ShotState | None) -> Upscaled:
        self._prepare()
        states: list[ShotState] = []
        for start in range(0, len(batch), self.fit.batch_size):
            frames = batch.frames[start : start + self.fit.batch_size]
            states += self._renderer.render(frames, state)
            state = states[-1]
        data = torch.stack([state.upscaled for state in states])
        return Upscaled(FrameBatch(data, batch.pts), state, sum(state.share_reused for state in states))

    def _prepare(self) -> None:
        """Bring the model, which other upscalers may share, into the state that this one needs."""
        autoencoder = self.components.tiled_autoencoder
        if autoencoder is not None and self.fit.decode_tile is not None:
            autoencoder.tile_size = self.fit.decode_tile
        if self.fit.is_offloaded and not self._is_on_host:
            self.components.offload()
        # Tiles are denoised one at a time.
        batch_size = 1 if self.fit.tile_size else self.fit.batch_size
        self.components.denoiser.compile(batch_size if self.settings.compile == "on" else None)

    def _shrink_fit(self, batch: FollowedBatch) -> None:
        """Go on to the next smaller fit, for all later batches too.

        Raises:
            MemoryLimitError: there is none.
        """
        height, width = batch.last.low_res.shape[1:]
        device, before = self.components.device, self.fit
        now = replace(before, batch_size=min(before.batch_size, len(batch)))
        fit = next(now.smaller(width, height), None)
        if fit is None:
            raise MemoryLimitError(f"{device} has too little memory for {width}x{height}: {WAY_OUT}.")
        if device.type == "cuda":
            torch.cuda.empty_cache()
        _logger.warning("%s ran out of memory: continuing %s.", device, fit.difference(before))
        if fit.tile_size != before.tile_size:
            self._renderer = make_renderer(self.components, replace(self.settings, tile_size=fit.tile_size))
        self.fit = fit

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
        followed = self._followed(FrameBatch(pixels[None], pts=(0,)), None, follower)
        enlarged = self._upscale(followed, None).batch.data[0]
        if colors.shape[2] == 1:
            enlarged = _gray(enlarged)
        return np.ascontiguousarray(enlarged.permute(1, 2, 0).numpy())


def loaded_by(options: UpscaleOptions) -> tuple[str, ...]:
    """Return the options that determine what is loaded."""
    return options.model, options.device, options.dtype, options.prompt, options.negative_prompt


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


def _pad(frames: Tensor, multiple: int) -> Tensor:
    """Pad frames at the bottom and right by repeating edges, so that their sides are multiples."""
    bottom, right = (-side % multiple for side in frames.shape[2:])
    if bottom == right == 0:
        return frames
    padded = F.pad(frames.float(), (0, right, 0, bottom), mode="replicate")
    return padded.to(frames.dtype)
