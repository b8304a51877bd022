"""Consecutive frames -> finished frames, four times larger; what is unchanged is not computed again."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from vidx4.diffusion.finish import FINISH_REACH, finish
from vidx4.diffusion.finite import Results
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.recall import recall
from vidx4.diffusion.sampler import Past, Sampler, Shown, to_signal
from vidx4.diffusion.settings import Settings
from vidx4.diffusion.tiles import blend, overlap_of, tile_boxes
from vidx4.frames import SCALE, Box
from vidx4.temporal.follow import Followed
from vidx4.temporal.propagation import Link, Propagation
from vidx4.temporal.reuse import find_boxes, grow
from vidx4.temporal.state import ShotState, Tiles
from vidx4.temporal.warp import Warp
from vidx4.transfer import to_device

WORTH_CUTTING = 0.8
"""Boxes, margins included, are computed separately if they are less than this share of the frame."""


class ShotRenderer(ABC):
    """Renders the frames of a shot in order; a frame that repeats the last one is not computed."""

    def __init__(self, components: Components, settings: Settings) -> None:
        self._settings = settings
        self._sampler = Sampler(components, settings)
        self._grid = components.autoencoder.grid
        self._device, self._dtype = components.device, components.dtype
        self._results = Results()
        self._size_multiple = components.size_multiple

    def render(self, frames: Sequence[Followed], state: ShotState | None) -> Iterator[ShotState]:
        """Yield the state after each frame, which holds the enlarged frame.

        Args:
            frames: consecutive frames, padded to the model's size multiple.
            state: the state after the frame before; None at the start of a shot.

        Raises:
            FrameOverflowError: a result is not finite. It is raised at the end, when the device has finished.
        """
        self._results.clear()
        computed = self._compute([frame for frame in frames if not frame.is_repeated], state)
        for frame in frames:
            if state is not None and frame.is_repeated:
                state = replace(state, last=frame, share_reused=1.0)
            else:
                state = next(computed)
            yield state
        self._results.check()

    @abstractmethod
    def _compute(self, frames: list[Followed], state: ShotState | None) -> Iterator[ShotState]:
        """Yield the state after each frame, none of which repeats the one before."""

    def _warp(self, frame: Followed) -> Warp | None:
        if frame.motion is None or self._settings.consistency == 0:
            return None
        return Warp.of(frame.motion, self._grid, self._device)

    def _past(self, frame: Followed, state: ShotState | None) -> Past | Shown | None:
        if not self._settings.remembers or state is None or frame.motion is None:
            return None
        if self._settings.recall is not None:
            assert state.raw is not None
            return recall(state.raw, frame, self._settings.recall, self._device)
        assert state.hidden is not None
        return Past.of(self._remembered(state), state.hidden, frame.motion, self._device)

    def _remembered(self, state: ShotState) -> Tensor:
        """Return what the model is shown of the last result, in [-1, 1], (1, 3, 4H, 4W)."""
        if self._settings.num_inference_steps == 1:
            return to_signal(state.upscaled, self._device)[None]
        # Only what the first step was sure of: the texture of later steps, fed back frame after frame,
        # would build up over a shot.
        assert state.latents is not None
        return self._sampler.decoded(state.latents[:1], state.last)

    def _raw(self, pixels: Tensor) -> Tensor | None:
        """Return what later frames need of a result before it is finished, (3, 4H, 4W)."""
        return None if self._settings.recall is None else pixels.to(self._dtype)

    def _tie(self, last: Tensor | None, links: Sequence[Link]) -> Propagation:
        return Propagation(self._settings.ties, self._grid, last, links)

    def _finished(self, pixels: Tensor, frame: Followed, box: Box) -> Tensor:
        """Finish what is visible of a box."""
        box = box.clipped(frame.visible)
        pixels = pixels[:, : SCALE * box.height, : SCALE * box.width]
        return finish(pixels, frame.low_res[:, *box.slices], self._settings)


class FrameRenderer(ShotRenderer):
    """Renders whole frames or, if the model's reach is limited, only the boxes of them that change.

    Pixels that no change can reach keep their last value to the bit, whether or not they are computed.
    """

    def __init__(self, components: Components, settings: Settings) -> None:
        super().__init__(components, settings)
        reach = self._sampler.reach
        self._reach = None if reach is None else reach + FINISH_REACH

    def _compute(self, frames: list[Followed], state: ShotState | None) -> Iterator[ShotState]:
        for boxes, run in self._runs(frames):
            states = self._whole(run, state) if boxes is None else self._boxed(run, boxes, state)
            for state in states:
                yield state

    def _runs(self, frames: list[Followed]) -> Iterator[tuple[list[Box] | None, list[Followed]]]:
        """Yield runs of frames that are computed together, each with the boxes to compute of them."""
        for boxes, group in groupby(frames, key=self._boxes):
            run = list(group)
            # A model that is shown its last result needs it before the next frame can be computed.
            yield from ((boxes, [frame]) for frame in run) if self._settings.remembers else [(boxes, run)]

    def _boxes(self, frame: Followed) -> list[Box] | None:
        """Return the boxes of a frame to compute; None for the whole frame."""
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
        """Return the mask of what may differ from the last result; None for everything."""
        if self._reach is None or frame.changed is None:
            return None
        return grow(frame.changed, self._reach)

    def _whole(self, frames: list[Followed], state: ShotState | None) -> Iterator[ShotState]:
        links = [self._link(frame, Box.whole(frame.low_res), self._warp(frame)) for frame in frames]
        tie = self._tie(None if state is None else state.latents, links)
        pixels, hidden = self._sampler(frames, links[0].box, tie, self._past(frames[0], state))
        for i, (frame, link) in enumerate(zip(frames, links, strict=True)):
            self._results.add(frame, pixels[i : i + 1], None if hidden is None else hidden[i : i + 1])
            picture = self._finished(pixels[i], frame, link.box)
            latents = tie.latents[i] if tie.steps else None
            own = None if hidden is None else hidden[i]
            rendered = ShotState(frame, picture, latents, own, raw=self._raw(pixels[i]))
            state = self._held(rendered, state)
            yield state

    def _boxed(
        self, frames: list[Followed], boxes: list[Box], state: ShotState | None
    ) -> Iterator[ShotState]:
        assert state is not None
        for frame in frames:
            state = self._pasted(frame, boxes, state)
            yield state

    def _pasted(self, frame: Followed, cores: list[Box], state: ShotState) -> ShotState:
        """Compute boxes, and paste them into the last result."""
        warp, past = self._warp(frame), self._past(frame, state)
        picture = state.upscaled.clone()
        latents, hidden = (None if last is None else last.clone() for last in (state.latents, state.hidden))
        for core in cores:
            box = self._with_margin(frame, core)
            tie = self._tie(state.latents, [self._link(frame, box, warp)])
            sampled = self._sampler([frame], box, tie, past)
            self._results.add(frame, *sampled)
            inner = core.moved(-box.top, -box.left)
            finished = self._finished(sampled.pixels[0], frame, box)
            picture[:, *core.scaled(SCALE).slices] = finished[:, *inner.scaled(SCALE).slices]
            if latents is not None:
                latents[..., *core.slices] = tie.latents[0][..., *inner.slices]
            if hidden is not None and sampled.hidden is not None:
                hidden[:, *core.slices] = sampled.hidden[0][:, *inner.slices]
        share_reused = 1 - self._cost(frame, cores)
        return self._held(ShotState(frame, picture, latents, hidden, share_reused=share_reused), state)

    def _link(self, frame: Followed, box: Box, warp: Warp | None) -> Link:
        reached = self._reached(frame)
        held = None if reached is None else to_device(~reached[box.slices], self._device)
        return Link(box, None if warp is None else warp.cropped(box), held)

    def _held(self, state: ShotState, last: ShotState | None) -> ShotState:
        """Restore the last result and hidden state wherever only rounding can have changed them."""
        reached = self._reached(state.last)
        if reached is None or last is None:
            return state
        reached = to_device(reached, self._device)
        fine = reached.repeat_interleave(SCALE, 0).repeat_interleave(SCALE, 1)
        upscaled, hidden = _chosen(fine, state.upscaled, last.upscaled), state.hidden
        if hidden is not None and last.hidden is not None:
            hidden = torch.where(reached, hidden, last.hidden)
        return replace(state, upscaled=upscaled, hidden=hidden)


class TileRenderer(ShotRenderer):
    """Renders frames as overlapping, independent tiles; unchanged tiles are kept."""

    def _compute(self, frames: list[Followed], state: ShotState | None) -> Iterator[ShotState]:
        for frame in frames:
            state = self._tiled(frame, state)
            yield state

    def _tiled(self, frame: Followed, state: ShotState | None) -> ShotState:
        assert self._settings.tile_size is not None
        size = self._settings.tile_size
        height, width = frame.low_res.shape[1:]
        overlap, boxes = overlap_of(size), tile_boxes(height, width, size, self._size_multiple)
        warp, past = self._warp(frame), self._past(frame, state)
        kept = [None] * len(boxes) if state is None else _kept(frame, boxes, state)
        tiles = (
            self._tile(frame, box, state, warp, past) if tile is None else tile
            for box, tile in zip(boxes, kept, strict=True)
        )
        new = _stacked(tiles, len(boxes))
        has_hidden = self._settings.remembers and self._settings.recall is None
        self._results.add(frame, new.pixels, new.hidden if has_hidden else None)
        whole = blend(new.pixels, boxes, overlap, SCALE)
        picture = self._finished(whole, frame, Box.whole(frame.low_res))
        latents = blend(new.latents, boxes, overlap, scale=1) if self._settings.ties else None
        hidden = blend(new.hidden, boxes, overlap, scale=1) if has_hidden else None
        if hidden is not None:
            hidden = hidden.to(new.hidden.dtype)
        share_reused = sum(tile is not None for tile in kept) / len(boxes)
        return ShotState(frame, picture, latents, hidden, new, self._raw(whole), share_reused)

    def _tile(
        self, frame: Followed, box: Box, state: ShotState | None, warp: Warp | None, past: Past | Shown | None
    ) -> tuple[Tensor, ...]:
        """Return the fields of `Tiles` for one tile."""
        link = Link(box, None if warp is None else warp.cropped(box))
        tie = self._tie(None if state is None else state.latents, [link])
        pixels, hidden = self._sampler([frame], box, tie, past)
        empty = pixels.new_empty(0)
        return pixels[0], tie.latents[0] if tie.steps else empty, empty if hidden is None else hidden[0]


def _chosen(mask: Tensor, pixels: Tensor, others: Tensor) -> Tensor:
    """Return pixels where a mask is set, and others elsewhere, all of one type."""
    if pixels.dtype != torch.uint16:
        return torch.where(mask, pixels, others)
    # Not every operation of a GPU knows this type; the bits are the same in one that all know.
    return torch.where(mask, pixels.view(torch.int16), others.view(torch.int16)).view(torch.uint16)


def _stacked(tiles: Iterable[tuple[Tensor, ...]], num_tiles: int) -> Tiles:
    """Return the fields of all tiles, each of which is put in its place as it comes: none exists twice."""
    stacked: list[Tensor] = []
    for index, fields in enumerate(tiles):
        stacked = stacked or [field.new_empty(num_tiles, *field.shape) for field in fields]
        for whole, field in zip(stacked, fields, strict=True):
            whole[index] = field
    return Tiles(*stacked)


def _kept(frame: Followed, boxes: Sequence[Box], state: ShotState) -> Sequence[tuple[Tensor, ...] | None]:
    """Return the last frame's tiles whose input is unchanged; None in place of the others."""
    if frame.changed is None or state.tiles is None or not _are_cut(state.tiles, boxes):
        return [None] * len(boxes)
    changed = [bool(frame.changed[box.slices].any()) for box in boxes]
    return [
        None if is_changed else tile
        for is_changed, tile in zip(changed, zip(*state.tiles, strict=True), strict=True)
    ]


def _are_cut(tiles: Tiles, boxes: Sequence[Box]) -> bool:
    """Return whether the last frame was cut like this one: not if memory ran out since, and tiles shrank."""
    height, width = (side // SCALE for side in tiles.pixels.shape[-2:])
    return len(tiles.pixels) == len(boxes) and (height, width) == (boxes[0].height, boxes[0].width)


def make_renderer(components: Components, settings: Settings) -> ShotRenderer:
    """Return the renderer for the settings: whole frames or tiles."""
    renderer = FrameRenderer if settings.tile_size is None else TileRenderer
    return renderer(components, settings)
