"""Photographs -> batches to train on: crops, their reductions, and noise."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

NUM_TIMESTEPS = 1000


@dataclass(frozen=True)
class Config:
    """What a run depends on; a checkpoint of another `Config` is refused."""

    seed: int = 0
    width: int = 64
    num_blocks: int = 10
    batch_size: int = 16
    crop: int = 192
    learning_rate: float = 4e-4
    warmup: int = 100
    ema_decay: float = 0.998
    terminal_share: float = 0.5
    """Share of each batch trained at the last timestep, where the latents are zeros."""
    clean_share: float = 0.75
    """Share of each batch at noise level 0 from an undamaged picture."""
    max_noise_level: int = 150


def make_schedulers() -> tuple[DDIMScheduler, DDPMScheduler]:
    """Return the latents' scheduler (nothing of the picture left at the end) and the low-resolution one.

    The latter is that of the Stable Diffusion x4 Upscaler but for a smaller first beta, so that level 0
    adds a thousandth of the range (0.13 8-bit levels) and not a hundredth.
    """
    latents = DDIMScheduler(
        num_train_timesteps=NUM_TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    low_res = DDPMScheduler(beta_start=1e-6, beta_end=0.02, beta_schedule="scaled_linear")
    return latents, low_res


class Crops(Dataset[dict[str, Tensor]]):
    """Batch number `step`: crops, their reductions, and where on the two noise schedules each is."""

    def __init__(self, folder: Path, config: Config) -> None:
        paths = sorted(folder.rglob("*.jpg"))
        if not paths:
            raise SystemExit(f"no photographs (*.jpg) in {folder}")
        self.photos = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
        self.config = config
        self.level_sigma = (1 - make_schedulers()[1].alphas_cumprod).sqrt().numpy()

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.config.seed, step))
        items = [self._item(rng, i) for i in range(self.config.batch_size)]
        return {key: torch.stack([item[key] for item in items]) for key in items[0]}

    def _item(self, rng: np.random.Generator, index: int) -> dict[str, Tensor]:
        clean = index < self.config.clean_share * self.config.batch_size
        level = 0 if clean else 1 + int(self.config.max_noise_level * rng.random() ** 2)
        terminal = index % 4 < 4 * self.config.terminal_share
        timestep = NUM_TIMESTEPS - 1 if terminal else int(rng.integers(NUM_TIMESTEPS - 1))
        high_res = self._crop(rng)
        low_res = reduce(high_res)
        if not clean:
            low_res = self._damage(low_res, level, rng)
        return {
            "high_res": to_tensor(high_res),
            "low_res": to_tensor(low_res),
            "low_res_noise": torch.from_numpy(rng.standard_normal(_chw(low_res), np.float32)),
            "noise": torch.from_numpy(rng.standard_normal((48, *low_res.shape[:2]), np.float32)),
            "level": torch.tensor(level),
            "timestep": torch.tensor(timestep),
        }

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        photo = self.photos[rng.integers(len(self.photos))]
        size = self.config.crop
        top, left = (rng.integers(length - size + 1) for length in photo.shape[:2])
        crop: np.ndarray = np.rot90(photo[top : top + size, left : left + size], int(rng.integers(4)))
        return crop[:, ::-1] if rng.random() < 0.5 else crop

    def _damage(self, low_res: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
        """Add sensor noise and JPEG blocks, at most about as strong as the noise of `level`."""
        sigma = 127.5 * self.level_sigma[level] * rng.uniform(0, 0.7)
        noisy = low_res + sigma * rng.standard_normal(low_res.shape)
        picture = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
        if rng.random() < 0.5:
            worst = 95 - 65 * level / self.config.max_noise_level
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=int(rng.uniform(worst, 96)))
            picture = Image.open(file)
        return np.asarray(picture)


def reduce(high_res: np.ndarray) -> np.ndarray:
    """Reduce an 8-bit picture four times by antialiased bicubic interpolation."""
    picture = Image.fromarray(np.ascontiguousarray(high_res))
    return np.asarray(picture.resize((picture.width // 4, picture.height // 4), Image.Resampling.BICUBIC))


def to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1) / 127.5 - 1


def _chw(picture: np.ndarray) -> tuple[int, int, int]:
    return (picture.shape[2], *picture.shape[:2])
