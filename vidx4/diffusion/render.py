"""Frames that follow each other -> finished pictures; what is known already is not computed again."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from vidx4.diffusion.finish import FINISH_REACH, finish
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.sampler import Past, Sampler, to_signal
from vidx4.diffusion.settings import Settings
from vidx4.diffusion.tiles import blend, tile_boxes
from vidx4.frames import SCALE, Box
from vidx4.temporal.follow import Followed
from vidx4.temporal.propagation import Link, Propagation
from vidx4.temporal.reuse import find_boxes, grow
from vidx4.temporal.state import ShotState
from vidx4.temporal.warp import Warp

WORTH_CUTTING = 0.8
"""Share of a frame's work from which on its boxes, margins included, are not computed apart."""

Step = tuple[ShotState, float]
"""The state after a frame, its result within, and the share of the frame's work that was reused."""


class ShotRenderer(ABC):
    """Renders the frames of a shot in order; a frame equal to the last one is not computed."""

    def __init__(self, components: Components, settings: Settings) -> None:
        self._settings = settings
        self._sampler = Sampler(components, settings)
        self._grid = components.autoencoder.grid
        self._device = components.device

    def render(self, frames: Sequence[Followed], state: ShotState | None) -> Iterator[Step]:
        """Yield what comes of each frame.

        Args:
            frames: consecutive ones, padded to a multiple of the model's.
            state: that after the frame before; None at the start of a shot.
        """
        computed = self._compute([frame for frame in frames if not frame.is_repeated], state)
        for frame in frames:
            if state is not None and frame.is_repeated:
                state, share_reused = replace(state, last=frame), 1.0
            else:
                state, share_reused = next(computed)
            yield state, share_reused

    @abstractmethod
    def _compute(self, frames: list[Followed], state: ShotState | None) -> Iterator[Step]:
        """Yield what comes of frames each of which differs from the one before."""

    def _warp(self, frame: Followed) -> Warp | None:
        if frame.motion is None or self._settings.consistency == 0:
            return None
        return Warp.of(frame.motion, self._grid, self._device)

    def _past(self, frame: Followed, state: ShotState | None) -> Past | None:
        if not self._settings.remembers or state is None or frame.motion is None:
            return None
        return Past.of(self._remembered(state), frame.motion, self._device)

    def _remembered(self, state: ShotState) -> Tensor:
        """Return what is remembered of a result, in [-1, 1], (1, 3, 4H, 4W).

        Of several steps, that is what the first was sure of: the texture of later ones, seen again and again,
        would pile up over a shot.
        """
        if self._settings.num_inference_steps == 1:
            return to_signal(state.upscaled, self._device)[None]
        assert state.latents is not None
        return self._sampler.decoded(state.latents[:1], state.last)

    def _tie(self, last: Tensor | None, links: Sequence[Link]) -> Propagation:
        return Propagation(self._settings.ties, self._grid, last, links)

    def _finished(self, pixels: Tensor, frame: Followed, box: Box) -> Tensor:
        """Finish what is visible of a box."""
        box = box.clipped(frame.visible)
        pixels = pixels[:, : SCALE * box.height, : SCALE * box.width]
        return finish(pixels, frame.low_res[:, *box.slices], self._settings)


class FrameRenderer(ShotRenderer):
    """Renders whole frames or, where the model sees only so many pixels far, the boxes of them that change.

    What no change can reach stays as it was, to the bit, whether or not it is computed.
    """

    def __init__(self, components: Components, settings: Settings) -> None:
        super().__init__(components, settings)
        reach = self._sampler.reach
        self._reach = None if reach is None else reach + FINISH_REACH

    def _compute(self, frames: list[Followed], state: ShotState | None) -> Iterator[Step]:
        for boxes, run in self._runs(frames):
            for step in self._whole(run, state) if boxes is None else self._boxed(run, boxes, state):
                yield step
                state = step[0]

    def _runs(self, frames: list[Followed]) -> Iterator[tuple[list[Box] | None, list[Followed]]]:
        """Yield what has to be computed, and of which frames at once."""
        for boxes, group in groupby(frames, key=self._boxes):
            run = list(group)
            # What a model remembers of a frame has to be there before the next can be computed.
            yield from ((boxes, [frame]) for frame in run) if self._settings.remembers else [(boxes, run)]

    def _boxes(self, frame: Followed) -> list[Box] | None:
        """Return what has to be computed of a frame; None for all of it as one."""
        reached = self._reached(frame)
        if reached is None:
            return None
        boxes = find_boxes(reached)
        return boxes if self._cost(frame, boxes) < WORTH_CUTTING else None

    def _cost(self, frame: Followed, boxes: Sequence[Box]) -> float:
        return sum(self._with_margin(frame, box).area for box in boxes) / Box.whole(frame.low_res).area

    def _with_margin(self, frame: Followed, box: Box) -> Box:
        assert self._reach is not None
        return box.grown(self._reach, *frame.low_res.shape[1:])

    def _reached(self, frame: Followed) -> Tensor | None:
        """Return where anything may differ from the last result; None for everywhere."""
        if self._reach is None or frame.changed is None:
            return None
        return grow(frame.changed, self._reach)

    def _whole(self, frames: list[Followed], state: ShotState | None) -> Iterator[Step]:
        links = [self._link(frame, Box.whole(frame.low_res), self._warp(frame)) for frame in frames]
        tie = self._tie(None if state is None else state.latents, links)
        pixels = self._sampler(frames, links[0].box, tie, self._past(frames[0], state))
        for i, (frame, link) in enumerate(zip(frames, links, strict=True)):
            picture = self._finished(pixels[i], frame, link.box)
            latents = tie.latents[i] if tie.steps else None
            state = ShotState(frame, self._held(frame, state, picture), latents)
            yield state, 0.0

    def _boxed(self, frames: list[Followed], boxes: list[Box], state: ShotState | None) -> Iterator[Step]:
        assert state is not None
        for frame in frames:
            state = self._pasted(frame, boxes, state)
            yield state, 1 - self._cost(frame, boxes)

    def _pasted(self, frame: Followed, cores: list[Box], state: ShotState) -> ShotState:
        """Put newly computed boxes into the last result."""
        warp, past = self._warp(frame), self._past(frame, state)
        picture = state.upscaled.clone()
        latents = None if state.latents is None else state.latents.clone()
        for core in cores:
            box = self._with_margin(frame, core)
            tie = self._tie(state.latents, [self._link(frame, box, warp)])
            pixels = self._sampler([frame], box, tie, past)[0]
            inner = core.moved(-box.top, -box.left)
            finished = self._finished(pixels, frame, box)
            picture[:, *core.scaled(SCALE).slices] = finished[:, *inner.scaled(SCALE).slices]
            if latents is not None:
                latents[..., *core.slices] = tie.latents[0][..., *inner.slices]
        return ShotState(frame, self._held(frame, state, picture), latents)

    def _link(self, frame: Followed, box: Box, warp: Warp | None) -> Link:
        reached = self._reached(frame)
        held = None if reached is None else ~reached[box.slices].to(self._device)
        return Link(box, None if warp is None else warp.cropped(box), held)

    def _held(self, frame: Followed, state: ShotState | None, picture: Tensor) -> Tensor:
        """Put the last result where nothing can have changed it, but for rounding."""
        reached = self._reached(frame)
        if reached is None or state is None:
            return picture
        fine = reached.repeat_interleave(SCALE, 0).repeat_interleave(SCALE, 1)
        return torch.where(fine, picture, state.upscaled)


class TileRenderer(ShotRenderer):
    """Renders frames by overlapping tiles that know nothing of each other; unchanged ones are kept."""

    def _compute(self, frames: list[Followed], state: ShotState | None) -> Iterator[Step]:
        for frame in frames:
            state, share_reused = self._tiled(frame, state)
            yield state, share_reused

    def _tiled(self, frame: Followed, state: ShotState | None) -> Step:
        assert self._settings.tile_size is not None
        size, overlap = self._settings.tile_size, self._settings.tile_size // 4
        boxes = tile_boxes(frame.low_res, size, overlap)
        warp, past = self._warp(frame), self._past(frame, state)
        kept = [None] * len(boxes) if state is None else _kept(frame, boxes, state)
        tiles = [
            self._tile(frame, box, state, warp, past) if tile is None else tile
            for box, tile in zip(boxes, kept, strict=True)
        ]
        pixels, latents = (torch.stack(parts) for parts in zip(*tiles, strict=True))
        whole = blend(pixels, boxes, overlap, SCALE)
        tied = blend(latents, boxes, overlap, scale=1) if self._settings.ties else None
        picture = self._finished(whole, frame, Box.whole(frame.low_res))
        share_reused = sum(tile is not None for tile in kept) / len(boxes)
        return ShotState(frame, picture, tied, (pixels, latents)), share_reused

    def _tile(
        self, frame: Followed, box: Box, state: ShotState | None, warp: Warp | None, past: Past | None
    ) -> tuple[Tensor, Tensor]:
        link = Link(box, None if warp is None else warp.cropped(box))
        tie = self._tie(None if state is None else state.latents, [link])
        pixels = self._sampler([frame], box, tie, past)[0]
        return pixels, tie.latents[0] if tie.steps else pixels.new_empty(0)


def _kept(frame: Followed, boxes: Sequence[Box], state: ShotState) -> Sequence[tuple[Tensor, Tensor] | None]:
    """Return the tiles of the last frame whose input is what it was; None in place of others."""
    if frame.changed is None or state.tiles is None:
        return [None] * len(boxes)
    changed = [bool(frame.changed[box.slices].any()) for box in boxes]
    return [
        None if is_changed else tile
        for is_changed, tile in zip(changed, zip(*state.tiles, strict=True), strict=True)
    ]


def make_renderer(components: Components, settings: Settings) -> ShotRenderer:
    """Return what renders shots as the settings ask."""
    renderer = FrameRenderer if settings.tile_size is None else TileRenderer
    return renderer(components, settings)
