"""Render frames in the memory that there is, and in the precision that their numbers need."""

import logging
from dataclasses import replace

import torch

from vidx4.diffusion.device import dtype_name, more_precise
from vidx4.diffusion.device_errors import device_error, is_device_failure, is_out_of_memory
from vidx4.diffusion.finite import FrameOverflowError
from vidx4.diffusion.footprint import footprint_of
from vidx4.diffusion.memory import Fit, capacity
from vidx4.diffusion.models.components import Components, num_bytes
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.render import make_renderer
from vidx4.diffusion.settings import Settings
from vidx4.errors import MemoryLimitError, NotFiniteError
from vidx4.temporal.follow import FollowedBatch
from vidx4.temporal.state import ShotState

_logger = logging.getLogger(__name__)


def way_out(options: UpscaleOptions) -> str:
    """Return what a user can do about too little memory for even the smallest tiles."""
    if options.max_memory is None:
        return "use another --device or --model"
    return "use a larger --max-memory, or another --device or --model"


def warn_of_tiles(components: Components, fit: Fit) -> None:
    """Say what tiles change, if frames are cut into them and blending does not hide it."""
    if fit.tile_size is not None and components.caution_about_tiles:
        _logger.warning("%s", components.caution_about_tiles)


class Rendering:
    """Renders frames of shots with a model.

    If memory runs out, frames are cut up further from then on. If a result is not finite, its batch is
    rendered again in higher precision, and only that batch: what becomes of a frame does not depend on
    which frames of other batches were rendered before, so a job that resumes gives the same.

    Args:
        components: the model.
        options: how it denoises.
        fit: how frames are cut up, to begin with.
    """

    def __init__(self, components: Components, options: UpscaleOptions, fit: Fit) -> None:
        self.fit = fit
        self._components = components
        self._options = options
        self._settings = Settings.resolve(options, components)
        self._renderer = make_renderer(components, self._settings)
        self._has_warned = False

    def states(self, batch: FollowedBatch, state: ShotState | None) -> list[ShotState]:
        """Return the state after each frame, which holds the enlarged frame.

        Args:
            batch: consecutive frames of a shot.
            state: the state after the frame before; None at the start of a shot.

        Raises:
            MemoryLimitError: the device has too little memory for the batch.
            NotFiniteError: the model gives no finite numbers for a frame, even in float32.
            DeviceError: the device has failed.
        """
        while (states := self._try(batch, state)) is None:
            self._shrink_fit(batch)
        return states

    def fits(self, batch: FollowedBatch) -> bool:
        """Return whether the first frames of a shot can be rendered without cutting them up further.

        Raises:
            CompileError: the model can't be compiled.
            DeviceError: the device has failed.
        """
        if self._try(batch, None) is not None:
            return True
        self._empty_cache()
        return False

    def _empty_cache(self) -> None:
        if self._components.device.type == "cuda":
            torch.cuda.empty_cache()

    def _try(self, batch: FollowedBatch, state: ShotState | None) -> list[ShotState] | None:
        """Render a batch; return None if memory runs out."""
        # The error's traceback holds the tensors that filled the memory: only once it is left are they free.
        try:
            return self._render(batch, state)
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return None
            if is_device_failure(error):
                raise device_error(error, self._components.device) from error
            raise

    def _render(self, batch: FollowedBatch, state: ShotState | None) -> list[ShotState]:
        states: list[ShotState] = []
        for start in range(0, len(batch), self.fit.batch_size):
            part = batch[start : start + self.fit.batch_size]
            rendered = self._finite(part, state)
            states += self._more_precise(part, state) if rendered is None else rendered
            state = states[-1]
        return states

    def _finite(self, batch: FollowedBatch, state: ShotState | None) -> list[ShotState] | None:
        """Render a batch; return None if a result is not finite and there is a higher precision."""
        self._prepare()
        try:
            return list(self._renderer.render(batch.frames, state))
        except FrameOverflowError as error:
            if self._next_dtype is not None:
                return None
            raise _not_finite(batch, error, self._components.dtype) from error

    @property
    def _next_dtype(self) -> torch.dtype | None:
        return more_precise(self._components.dtype, self._components.device)

    def _prepare(self) -> None:
        """Bring the model, which other upscalers may share, into the state that this one needs."""
        autoencoder = self._components.tiled_autoencoder
        if autoencoder is not None and self.fit.decode_tile is not None:
            autoencoder.tile_size = self.fit.decode_tile
        if self._is_offloaded:
            self._components.offload()
        # Tiles are denoised one at a time.
        batch_size = 1 if self.fit.tile_size else self.fit.batch_size
        is_compiled = self._settings.compile == "on" and not self._is_offloaded
        self._components.denoiser.compile(batch_size if is_compiled else None)

    @property
    def _is_offloaded(self) -> bool:
        return self.fit.is_offloaded and self._components.device.type != "cpu"

    def _shrink_fit(self, batch: FollowedBatch) -> None:
        """Go on to the next smaller fit, for all later batches too.

        Raises:
            MemoryLimitError: there is none.
        """
        height, width = batch.last.low_res.shape[1:]
        device, before = self._components.device, self.fit
        now = replace(before, batch_size=min(before.batch_size, len(batch)))
        multiple = self._components.size_multiple
        fit = next((fit for fit in now.smaller(width, height) if fit.suits(multiple)), None)
        if fit is None:
            raise MemoryLimitError(
                f"{device} has too little memory for {width}x{height}: {way_out(self._options)}."
            )
        self._empty_cache()
        _logger.warning("%s ran out of memory: continuing %s.", device, fit.difference(before))
        if fit.tile_size != before.tile_size:
            warn_of_tiles(self._components, fit)
            self._renderer = make_renderer(self._components, replace(self._settings, tile_size=fit.tile_size))
        self.fit = fit

    def _more_precise(self, batch: FollowedBatch, state: ShotState | None) -> list[ShotState]:
        """Render a batch with the numbers of the model in the next higher precision."""
        dtype = self._next_dtype
        assert dtype is not None
        self._warn(dtype)
        components, options = self._components, replace(self._options, compile="off")
        width, height = batch.last.low_res.shape[:0:-1]
        finer = components.in_precision(dtype)
        available = capacity(components.device, options.max_memory) - num_bytes(components.unet)
        # Only frames need more of a GPU: the weights come from the host.
        preferred = replace(self.fit, is_offloaded=True)
        fit = footprint_of(finer, self._settings).fitted(preferred, width, height, available)
        # The copy is freed afterwards: most jobs never need one, or for a few frames.
        states = Rendering(finer, replace(options, tile_size=fit.tile_size), fit).states(batch, state)
        return [each.in_type(components.dtype) for each in states]

    def _warn(self, dtype: torch.dtype) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        text = (
            "In %s, numbers of the model overflowed: this batch, and any other in which they do, is computed "
            "again in %s. If that is often, --dtype %s takes less time."
        )
        _logger.warning(text, dtype_name(self._components.dtype), *[dtype_name(dtype)] * 2)


def _not_finite(batch: FollowedBatch, error: FrameOverflowError, dtype: torch.dtype) -> NotFiniteError:
    index = next(index for index, frame in enumerate(batch.frames) if frame is error.frame)
    return NotFiniteError(
        f"The model gives no finite numbers for a frame, even with --dtype {dtype_name(dtype)}: use other "
        "settings, or another --model.",
        batch.pts[index],
    )
