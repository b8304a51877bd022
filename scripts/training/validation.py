"""Validate the averaged weights on Kodak's pictures and on sequences of photographs held out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scripts.evaluate.clips import reduce_clean
from scripts.evaluate.metrics import Lpips, psnr_y
from scripts.training.config import Config
from scripts.training.scenes import Photo
from scripts.training.sequences import Frame, Pool
from scripts.training.trainer import Trainer
from vidx4.diffusion.denoise import PlainDenoiser, denoise
from vidx4.frames import SCALE
from vidx4.temporal.warp import Warp

NUM_SEQUENCES = 16
"""Number of sequences of each kind, clean and damaged."""
POOL_SEED = 1_000_000
NUM_STEPS = 4
"""Steps for scores of the texture."""

Scores = dict[str, float]


class Validation:
    """Scores of a trainer's averaged weights.

    Args:
        pictures: folder with Kodak's pictures (*.png).
        photos: photographs held out from training.
        config: settings of the run.
        cache: folder in which sequences are kept.
        lpips: the perceptual metric.
    """

    def __init__(
        self, pictures: Path, photos: Sequence[Photo], config: Config, cache: Path, lpips: Lpips
    ) -> None:
        self._pictures = [
            np.asarray(Image.open(path).convert("RGB")) for path in sorted(pictures.glob("*.png"))
        ]
        if not self._pictures:
            raise SystemExit(f"no pictures (*.png) in {pictures}")
        self._lpips = lpips
        pools = {
            "clean": Pool(photos, replace(config, pool_seed=POOL_SEED, clean_share=1.0), cache),
            "damaged": Pool(photos, replace(config, pool_seed=POOL_SEED + 1, clean_share=0.0), cache),
        }
        self._sequences = {kind: _load(pool, config.num_frames) for kind, pool in pools.items()}
        self._levels = {
            kind: torch.tensor([pool.level(number) for number in range(NUM_SEQUENCES)])
            for kind, pool in pools.items()
        }

    @torch.inference_mode()
    def __call__(self, trainer: Trainer) -> Scores:
        """Score one step on pictures and sequences, and several steps on sequences if texture is trained."""
        scores = self._of_pictures(trainer)
        for kind in self._sequences:
            one = self._of_sequences(trainer, kind, num_steps=1)
            scores |= {f"{kind}_{name}": value for name, value in one.items()}
            if trainer.config.perceptual_weight:
                several = self._of_sequences(trainer, kind, NUM_STEPS)
                scores |= {f"{kind}_{name}_{NUM_STEPS}": value for name, value in several.items()}
        return scores

    def _of_pictures(self, trainer: Trainer) -> Scores:
        results = []
        for picture in self._pictures:
            low_res = _signal(reduce_clean(picture[None]), trainer)
            result = _enlarge(trainer, low_res, trainer.memory.blank(low_res), torch.tensor([0]), num_steps=1)
            results.append(self._score(result, _signal(picture[None], trainer)))
        return {name: _mean([result[name] for result in results]) for name in results[0]}

    def _of_sequences(self, trainer: Trainer, kind: str, num_steps: int) -> Scores:
        """Score the first frames, and the last ones, which remember those before."""
        frames, levels = self._sequences[kind], self._levels[kind].to(trainer.device)
        results: list[Tensor] = []
        for frame in frames:
            low_res, trust = frame.low_res.to(trainer.device), frame.trust.to(trainer.device)
            memory = trainer.memory.blank(low_res)
            if results:
                moved = Warp.along(frame.flow.to(trainer.device), trust, SCALE).fetch(results[-1])
                memory = trainer.memory(moved, trust, low_res)
            results.append(_enlarge(trainer, low_res, memory, levels, num_steps))
        first, last = (
            self._score(results[i], frames[i].truth.to(trainer.device)) for i in (0, len(frames) - 1)
        )
        return {"first_psnr_y": first["psnr_y"]} | last

    def _score(self, results: Tensor, truths: Tensor) -> Scores:
        pairs = [
            (((a + 1) * 127.5).round().clamp(0, 255)[None] / 255, (b[None] + 1) / 2)
            for a, b in zip(results, truths, strict=True)
        ]
        return {
            "psnr_y": _mean([psnr_y(*pair) for pair in pairs]),
            "lpips": _mean([float(self._lpips(*pair)) for pair in pairs]),
        }


def _enlarge(trainer: Trainer, low_res: Tensor, memory: Tensor, levels: Tensor, num_steps: int) -> Tensor:
    noise = torch.randn(1, 48, *low_res.shape[2:], generator=torch.Generator().manual_seed(0))
    latents = denoise(
        PlainDenoiser(trainer.average_at(levels)),
        trainer.scheduler,
        torch.cat([low_res, memory], dim=1),
        noise.to(trainer.device),
        noise_level=0,
        num_inference_steps=num_steps,
        prompt_embeds=None,
        guidance_scale=1.0,
    ).latents
    pictures: Tensor = trainer.autoencoder.decode(latents, low_res).clamp(-1, 1)
    return pictures


def _load(pool: Pool, num_frames: int) -> list[Frame]:
    """Return frames 0, 1, ... of all sequences, each stacked over sequences, in signal range."""
    stacked = []
    for index in range(num_frames):
        frames = [pool.frame(number, index) for number in range(NUM_SEQUENCES)]
        fields = {name: torch.stack([getattr(frame, name) for frame in frames]) for name in vars(frames[0])}
        for name in ("truth", "previous_truth", "low_res"):
            fields[name] = fields[name] / 127.5 - 1
        stacked.append(
            Frame(**fields | {"flow": fields["flow"].float(), "trust": fields["trust"].float()[:, None]})
        )
    return stacked


def _signal(pictures: np.ndarray, trainer: Trainer) -> Tensor:
    planes = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
    return planes.to(trainer.device) / 127.5 - 1


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
