"""The façade: FrameBatch -> FrameBatch, four times larger, carrying state through a shot."""

import logging
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidx4.diffusion.compiling import repays_compiling
from vidx4.diffusion.device import (
    choose_device,
    choose_dtype,
    device_name,
    is_out_of_memory,
    keep_host_memory,
)
from vidx4.diffusion.memory import DECODE_TILES, Fit, Footprint, capacity, enforce, free
from vidx4.diffusion.models.components import Components, num_bytes
from vidx4.diffusion.models.registry import choose_model, load
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.picture import Picture
from vidx4.diffusion.render import make_renderer
from vidx4.diffusion.settings import Settings
from vidx4.errors import MemoryLimitError, OptionError
from vidx4.frames import Box, FrameBatch
from vidx4.temporal.follow import Followed, FollowedBatch, Follower
from vidx4.temporal.mode import Temporal
from vidx4.temporal.state import ShotState, Upscaled

logger = logging.getLogger(__name__)

MAX_BATCH_SIZE = 8
WAY_OUT = "use another --device or --model, a larger --max-memory, or a smaller --tile-size"


class Upscaler:
    """A loaded model with its settings.

    Equal frames of a shot give equal results, and what a shot gives depends neither on where it is split into
    batches nor, beyond rounding, on their size.

    >>> import torch
    >>> from vidx4 import FrameBatch, Upscaler
    >>> upscaler = Upscaler.load("compact", device="cpu")
    >>> batch = FrameBatch(torch.zeros(2, 3, 24, 32, dtype=torch.uint8), pts=(0, 1))
    >>> upscaled = upscaler(batch)
    >>> upscaled.batch.data.shape
    torch.Size([2, 3, 96, 128])
    >>> more = upscaler(FrameBatch(batch.data, pts=(2, 3)), upscaled.state)  # the shot goes on
    """

    def __init__(self, components: Components, options: UpscaleOptions, fit: Fit | None = None) -> None:
        self.components = components
        self.options = options
        self.settings = Settings.resolve(options, components)
        self.fit = fit or self._wish(MAX_BATCH_SIZE)
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
            ModelError: the model can't be had.
            OptionError: options don't fit the model or this machine.
        """
        return cls.from_options(UpscaleOptions(model=model, **options))

    @classmethod
    def from_options(cls, options: UpscaleOptions, folder: Path | None = None) -> Self:
        """Load the model that the options ask for; raises as `load`.

        Args:
            options: what is asked for.
            folder: where the model's files are; they are found by its name where None.
        """
        device = choose_device(options.device)
        name, why = choose_model(options.model, device)
        dtype = choose_dtype(options.dtype, device)
        logger.info("model %s (%s) on %s in %s", name, why, device, str(dtype).removeprefix("torch."))
        if device.type == "cpu":
            keep_host_memory()
        if options.max_memory is not None:
            enforce(device, options.max_memory)
        try:
            components = load(name, device, dtype, options.prompt, options.negative_prompt, folder)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryLimitError(f"{device} has too little memory for the model {name}.") from error
        return cls(components, options)

    def fitted(self, width: int, height: int, num_frames: int = 1, batch_size: int | None = None) -> Self:
        """Return an upscaler for a job: it fits the memory, and is compiled if that repays.

        Args:
            width: of the frames, in low-resolution pixels.
            height: the same.
            num_frames: of the whole job.
            batch_size: how many frames are wanted at once; as many as serve the speed where None.

        Raises:
            MemoryLimitError: nothing fits the memory that the user allows.
        """
        room = capacity(self.components.device, self.options.max_memory)
        wish = self._wish(batch_size or self._best_batch_size(width, height))
        footprint = self.footprint
        fit = footprint.fitted(wish, width, height, room)
        self._tell(wish, fit, f"{width}x{height}", footprint.needed(fit, width, height), room)
        is_compiled = self._is_compiled(num_frames, width * height)
        options = replace(self.options, tile_size=fit.tile_size, compile="on" if is_compiled else "off")
        return type(self)(self.components, options, fit)

    def _is_compiled(self, num_frames: int, num_pixels: int) -> bool:
        if self.options.compile == "auto":
            num_evaluations = num_frames * self.settings.num_inference_steps
            return repays_compiling(self.components, num_evaluations, num_pixels)
        return self.options.compile == "on"

    def _tell(self, wish: Fit, fit: Fit, size: str, needed: int, room: int) -> None:
        where = f"{room / 1e9:.3g} GB of {self.components.device}"
        if needed > room:
            problem = f"{size} needs about {needed / 1e9:.3g} GB at least, and there are {where}"
            if self.options.max_memory is not None:
                raise MemoryLimitError(f"{problem}: {WAY_OUT}.")
            logger.warning("%s: it may fail.", problem)
        elif needed > (now := free(self.components.device)):
            text = "%s needs about %.3g GB, and only %.3g GB of %s are free now: it may run out."
            logger.warning(text, size, needed / 1e9, now / 1e9, self.components.device)
        if change := fit.difference(replace(wish, batch_size=fit.batch_size)):
            logger.warning("To fit %s, %s is enlarged %s.", where, size, change)

    @property
    def footprint(self) -> Footprint:
        """What the model takes of its device's memory, with the settings."""
        components, settings = self.components, self.settings
        prompts = components.prompt_embeds
        num_rows = 2 if prompts is not None and prompts.guides(settings.guidance_scale) else 1
        return Footprint(
            denoiser=num_bytes(components.unet),
            autoencoder=num_bytes(components.autoencoder.vae),
            bytes_per_pixel=num_rows * components.values_per_pixel * components.unet.dtype.itemsize,
            decode_bytes=components.autoencoder.decode_bytes,
            is_lessened_by_tiles=components.is_lessened_by_tiles,
            is_on_host=self._is_on_host,
        )

    def _wish(self, batch_size: int) -> Fit:
        decode_tile = None if self.components.autoencoder.vae is None else DECODE_TILES[0]
        return Fit(batch_size, self.settings.tile_size, decode_tile, self._is_on_host)

    @property
    def _is_on_host(self) -> bool:
        return self.components.device.type == "cpu"

    def _best_batch_size(self, width: int, height: int) -> int:
        return max(1, min(MAX_BATCH_SIZE, self.components.batch_pixels // (width * height)))

    def with_options(self, options: UpscaleOptions) -> Self:
        """Return an upscaler with other options; the model is loaded again only if they ask for another.

        Raises:
            ModelError: another model can't be had.
            OptionError: the options don't fit the model or this machine.
        """
        if loaded_by(options) == loaded_by(self.options):
            return type(self)(self.components, options)
        return self.from_options(options)

    def _check_tiles(self) -> None:
        size, multiple = self.settings.tile_size, self.components.size_multiple
        if size is not None and size % multiple:
            raise OptionError(f"The tile size must be a multiple of {multiple} here, not {size}.")

    @cached_property
    def identity(self) -> dict[str, str | int | float | None]:
        """All that decides on the pixels of a result, by the names of the options."""
        components, options = self.components, self.options
        return {
            "torch": torch.__version__,
            "model": components.name,
            "weights": components.digest,
            "device": device_name(components.device),
            "dtype": str(components.unet.dtype).removeprefix("torch."),
            "prompt": options.prompt,
            "negative-prompt": options.negative_prompt,
            **self.settings.by_option(),
        }

    def follow(self, batch: FrameBatch, last: Followed | None = None) -> FollowedBatch:
        """Find out what ties frames to those before them: on the CPU, and ahead of the model if that helps.

        Args:
            batch: consecutive frames of a shot.
            last: the frame before; None at the start of a shot.
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
            batch: the frames, as they are or followed already.
            state: what came with the result of the frames before; None at the start of a shot.

        Returns:
            Frames of the same type at the same pts, (N, 3, 4H, 4W), and the state that goes on from them.

        Raises:
            MemoryLimitError: the device has too little memory for the batch.
        """
        if isinstance(batch, FrameBatch):
            batch = self.follow(batch, None if state is None else state.last)
        return self._upscale(batch, state)

    def _upscale(self, batch: FollowedBatch, state: ShotState | None) -> Upscaled:
        while (upscaled := self._tried(batch, state)) is None:
            self._make_smaller(batch)
        return upscaled

    def _tried(self, batch: FollowedBatch, state: ShotState | None) -> Upscaled | None:
        """Return None where the memory does not suffice; what filled it is free again then."""
        try:
            return self._rendered(batch, state)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _rendered(self, batch: FollowedBatch, state: ShotState | None) -> Upscaled:
        self._prepare()
        states: list[ShotState] = []
        for start in range(0, len(batch), self.fit.batch_size):
            frames = batch.frames[start : start + self.fit.batch_size]
            states += self._renderer.render(frames, state)
            state = states[-1]
        data = torch.stack([state.upscaled for state in states])
        return Upscaled(FrameBatch(data, batch.pts), state, sum(state.share_reused for state in states))

    def _prepare(self) -> None:
        if self.fit.decode_tile is not None:
            self.components.autoencoder.tile_size = self.fit.decode_tile
        if self.fit.is_offloaded and not self._is_on_host:
            self.components.offload()
        # The job before, of the same model, may have been compiled for frames in other batches.
        batch_size = 1 if self.fit.tile_size else self.fit.batch_size
        self.components.denoiser.compile(batch_size if self.settings.compile == "on" else None)

    def _make_smaller(self, batch: FollowedBatch) -> None:
        """Go one rung down the ladder, for good.

        Raises:
            MemoryLimitError: that was the last.
        """
        height, width = batch.last.low_res.shape[1:]
        device, before = self.components.device, self.fit
        now = replace(before, batch_size=min(before.batch_size, len(batch)))
        fit = next(now.smaller(width, height), None)
        if fit is None:
            raise MemoryLimitError(f"{device} has too little memory for {width}x{height}: {WAY_OUT}.")
        if device.type == "cuda":
            torch.cuda.empty_cache()
        logger.warning("%s ran out of memory: it goes on %s.", device, fit.difference(before))
        if fit.tile_size != before.tile_size:
            self._renderer = make_renderer(self.components, replace(self.settings, tile_size=fit.tile_size))
        self.fit = fit

    def picture(self, picture: Image.Image) -> Image.Image:
        """Enlarge a still picture four times, with its transparency, in its own mode where possible."""
        still = Picture.open(picture)
        follower = replace(self._follower, temporal=Temporal.FIXED)  # there is nowhere to move to
        batch = FrameBatch(still.pixels[None], pts=(0,))
        followed = self._followed(batch, None, follower)
        return still.with_pixels(self._upscale(followed, None).batch.data[0])


def loaded_by(options: UpscaleOptions) -> tuple[str, ...]:
    """Return those of the options that decide on what is loaded."""
    return options.model, options.device, options.dtype, options.prompt, options.negative_prompt


def _pad(frames: Tensor, multiple: int) -> Tensor:
    """Repeat edges at the bottom and right up to a multiple: nothing is resized, and nothing moves."""
    bottom, right = (-side % multiple for side in frames.shape[2:])
    if bottom == right == 0:
        return frames
    padded = F.pad(frames.float(), (0, right, 0, bottom), mode="replicate")
    return padded.to(frames.dtype)
