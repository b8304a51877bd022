"""Count the operations that a model computes for a frame, without loading it; a multiply-add is two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vidx4.diffusion.tiles import tile_boxes


class Steps(Protocol):
    """How often a denoiser is evaluated for a frame, and on what."""

    @property
    def num_inference_steps(self) -> int:
        """Number of steps."""

    @property
    def guidance_stop(self) -> float:
        """Share of the steps, from the first, that are guided."""

    @property
    def cache_interval(self) -> int:
        """Number of steps that share deep features."""


@dataclass(frozen=True)
class Operations:
    """The operations of a model, counted on its architecture."""

    per_pixel: float
    """Operations of an evaluation for a low-resolution pixel, apart from attention between pixels."""
    per_pair: float = 0.0
    """Operations of an evaluation for a pair of low-resolution pixels, by attention."""
    per_pixel_shallow: float | None = None
    """Operations for a pixel of an evaluation that is given deep features; None if the model has none."""
    decode: Callable[[int, int], float] = lambda width, height: 0.0
    """Operations of decoding a frame, by the width and height of its latents."""

    def of_frame(
        self, steps: Steps, width: int, height: int, *, is_guided: bool = False, tile_size: int | None = None
    ) -> float:
        """Return the operations for a frame: all evaluations of the denoiser, and decoding.

        Args:
            steps: how often the denoiser is evaluated.
            width: width of the frame, in low-resolution pixels.
            height: height of the frame, in low-resolution pixels.
            is_guided: whether a prompt guides the steps up to `guidance_stop`, which doubles them.
            tile_size: greatest side of the tiles that the frame is cut into; None for a whole frame.
        """
        if tile_size is None:
            return self._of_field(steps, width, height, is_guided)
        boxes = tile_boxes(height, width, tile_size)
        return len(boxes) * self._of_field(steps, boxes[0].width, boxes[0].height, is_guided)

    def _of_field(self, steps: Steps, width: int, height: int, is_guided: bool) -> float:
        num_guided = round(steps.guidance_stop * steps.num_inference_steps) if is_guided else 0
        return self.decode(width, height) + sum(
            (2 if index < num_guided else 1)
            * self._of_evaluation(width * height, is_shallow=index % steps.cache_interval > 0)
            for index in range(steps.num_inference_steps)
        )

    def _of_evaluation(self, num_pixels: int, *, is_shallow: bool) -> float:
        if is_shallow and self.per_pixel_shallow is not None:
            return self.per_pixel_shallow * num_pixels
        return (self.per_pixel + self.per_pair * num_pixels) * num_pixels
