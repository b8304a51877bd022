"""A model's name -> its components."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import cpu_offload

from vidx4.diffusion.autoencoder import Autoencoder
from vidx4.diffusion.compact import CompactDenoiser, Memory, ResidualAutoencoder
from vidx4.diffusion.denoise import Denoiser, PlainDenoiser, PromptEmbeds
from vidx4.diffusion.hub import cached, fetch
from vidx4.diffusion.parts import load_network, load_scheduler, read_json
from vidx4.errors import ModelError, OptionError
from vidx4.temporal.noise import NoiseSpec, Role

COMPACT_FOLDER = Path(__file__).parent.parent / "weights" / "compact"
SD_X4_REPOSITORY = "stabilityai/stable-diffusion-x4-upscaler"
SD_X4_REVISION = "572c99286543a273bfd17fac263db5a77be12c4c"


class Speed(StrEnum):
    """What is given up for time."""

    QUALITY = "quality"
    """Nothing."""
    BALANCED = "balanced"
    FAST = "fast"


@dataclass(frozen=True)
class ModelDefaults:
    """What an option is when the user leaves it to the model."""

    num_inference_steps: int
    guidance_scale: float
    noise_level: int
    consistency: float
    """Where it is needed."""
    scheduler: str | None = None
    """One of `SCHEDULERS`; None for the one that the model comes with."""
    guidance_stop: float = 1.0
    cache_interval: int = 1
    remembers: bool = True
    """Whether a model that can do so looks back."""


_COMPACT = ModelDefaults(num_inference_steps=1, guidance_scale=1.0, noise_level=0, consistency=0.2)
COMPACT_DEFAULTS = {
    Speed.QUALITY: _COMPACT,
    Speed.BALANCED: _COMPACT,  # one step is one step: there is nothing between that and not to look back
    Speed.FAST: replace(_COMPACT, consistency=0.0, remembers=False),
}


@dataclass(frozen=True)
class Components:
    """A model, ready to denoise on one device."""

    name: str
    unet: Any
    denoiser: Denoiser
    """Evaluates `unet`."""
    autoencoder: Autoencoder
    scheduler: Any
    low_res_scheduler: Any
    prompt_embeds: PromptEmbeds | None
    """None for a model that takes no prompt."""
    max_noise_level: int
    size_multiple: int
    """The sides of what `unet` sees must be multiples of it."""
    reach: int | None
    """How many pixels away an input can change a result of `unet`; None where every pixel can."""
    memory: Memory | None
    """How `unet` sees what the frame before became; None if it takes each frame alone."""
    first_step_is_blind: bool
    """Whether `unet` pays no heed to the latents that it starts from, which are nothing but noise."""
    device: torch.device
    """Where the denoiser runs."""
    has_deep_features: bool
    """Whether `denoiser` can use features of another step again."""
    operations_per_pixel: float
    """Of an evaluation, for a low-resolution pixel; two per multiply-add."""
    gains_by_compiling: bool
    batch_pixels: int
    """Low-resolution pixels that are denoised together."""
    values_per_pixel: int
    """Numbers that `denoiser` holds at once, for each low-resolution pixel; measured on a CPU."""
    is_lessened_by_tiles: bool
    """Whether tiles take less memory than whole frames; measured on a CPU."""
    defaults: Mapping[Speed, ModelDefaults]

    def offload(self) -> None:
        """Keep the denoiser's weights on the host from now on; each layer's are here only while it works."""
        if not hasattr(self.unet, "_hf_hook"):
            assert self.digest  # there are no weights to look at afterwards
            cpu_offload(self.unet, self.device)

    @cached_property
    def digest(self) -> str:
        """Of all weights and schedules, wherever they were loaded from."""
        digest = sha256()
        for network in filter(None, (self.unet, self.autoencoder.vae)):
            for name, tensor in sorted(network.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        for scheduler in (self.scheduler, self.low_res_scheduler):
            digest.update(scheduler.to_json_string().encode())
        return digest.hexdigest()

    def noise_specs(self, num_inference_steps: int) -> tuple[NoiseSpec, ...]:
        """Return the noise that a frame takes."""
        specs = []
        if self._adds_low_res_noise:
            specs.append(NoiseSpec(Role.LOW_RES, channels=3))
        if not (self.first_step_is_blind and num_inference_steps == 1):
            grid = self.autoencoder.grid
            specs.append(NoiseSpec(Role.LATENTS, self.autoencoder.latent_channels // grid**2, grid))
        return tuple(specs)

    @property
    def _adds_low_res_noise(self) -> bool:
        """Whether a noise level puts noise on the frame; else it only tells `unet` how bad that is."""
        return bool(self.low_res_scheduler.alphas_cumprod[-1] < 1)


def choose_model(name: str, device: torch.device) -> tuple[str, str]:
    """Return the model that a name means on a device, and why, in a few words."""
    if name != "auto":
        return name, "as asked"
    if device.type == "cuda":
        return "sd-x4", "a CUDA GPU is there"
    return "compact", "no CUDA GPU; sd-x4 would take minutes per frame"


def load(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    prompt: str = "",
    negative_prompt: str = "",
    folder: Path | None = None,
) -> Components:
    """Load a model.

    Args:
        name: `compact`, `sd-x4`, a hub repository id, or a folder in diffusers format.
        device: where it will run.
        dtype: of the denoiser; the autoencoder of `sd-x4` is in float16 on a CUDA GPU, else in float32.
        prompt: what the picture shows; encoded now, after which the text encoder is freed.
        negative_prompt: what guidance leads away from.
        folder: where its files are; they are found by its name where None.

    Raises:
        ModelError: it can't be had, is incomplete, or is of another architecture.
        OptionError: it takes no prompt and one is given.
    """
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    folder = folder or find(name, dtype)
    index = read_json(folder / "model_index.json")
    load_family = _FAMILIES.get(index.get("_class_name", ""))
    if load_family is None:
        known = " or ".join(_FAMILIES)
        raise ModelError(f"{folder} holds a {index.get('_class_name')}, not a {known}.")
    return load_family(name, folder, index, Target(device, dtype, prompt, negative_prompt))


def find(name: str, dtype: torch.dtype) -> Path:
    """Return the folder of a model, fetched from the hub where it is not here yet.

    Raises:
        ModelError: there is no such model, or the hub can't be reached.
    """
    if name == "compact":
        return COMPACT_FOLDER
    if name == "sd-x4":
        return fetch(SD_X4_REPOSITORY, SD_X4_REVISION, half=dtype != torch.float32)
    if Path(name).is_dir():
        return Path(name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return fetch(name, None, half=dtype != torch.float32)
    raise ModelError(
        f"There is no model {name!r}: use auto, compact, sd-x4, a hub repository (owner/name), or a folder."
    )


@dataclass(frozen=True)
class Target:
    """Where a model goes, and what it is told."""

    device: torch.device
    dtype: torch.dtype
    prompt: str
    negative_prompt: str


def _load_compact(name: str, folder: Path, index: dict[str, Any], target: Target) -> Components:
    if target.prompt or target.negative_prompt:
        raise OptionError(f"The model {name} takes no prompt; sd-x4 does.")
    unet = load_network(CompactDenoiser, folder, "unet", torch_dtype=target.dtype)
    autoencoder = ResidualAutoencoder.from_config(ResidualAutoencoder.load_config(folder, subfolder="vae"))
    return Components(
        name=name,
        unet=place(unet, target.device),
        denoiser=PlainDenoiser(unet),
        autoencoder=autoencoder,
        scheduler=load_scheduler(folder, "scheduler"),
        low_res_scheduler=load_scheduler(folder, "low_res_scheduler"),
        prompt_embeds=None,
        max_noise_level=index["max_noise_level"],
        size_multiple=1,
        reach=unet.reach,
        memory=Memory(autoencoder),
        first_step_is_blind=True,
        device=target.device,
        has_deep_features=False,
        operations_per_pixel=2.0 * num_parameters(unet),
        gains_by_compiling=False,
        # One frame at a time: it needs what the last became. Nor does a batch gain without that, on a CPU:
        # at 320x240 a frame takes 0.124 s alone, 0.142 to 0.151 s in batches (`scripts/bench.py scale`).
        batch_pixels=1,
        values_per_pixel=2000,
        is_lessened_by_tiles=False,
        defaults=COMPACT_DEFAULTS,
    )


def _load_stable_diffusion(name: str, folder: Path, index: dict[str, Any], target: Target) -> Components:
    # Importing its parts takes most of a second, which compact can spare.
    from vidx4.diffusion.stable_diffusion import load_stable_diffusion

    return load_stable_diffusion(name, folder, index, target)


_FAMILIES: dict[str, Callable[[str, Path, dict[str, Any], Target], Components]] = {
    "CompactUpscaler": _load_compact,
    "StableDiffusionUpscalePipeline": _load_stable_diffusion,
}


def place(module: Any, device: torch.device) -> Any:
    """Return a network on its device, in the memory format that convolutions like best."""
    return module.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)


def num_parameters(module: Any) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def num_bytes(module: Any) -> int:
    """Return the bytes of a module's weights; 0 for none."""
    parameters = [] if module is None else module.parameters()
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


@dataclass(frozen=True)
class KnownModel:
    """A model that has a name of its own."""

    name: str
    description: str
    folder: Path | None
    """Where it lies; None if it is not on this machine."""
    size: int
    """Of its files in bytes; 0 if it is not on this machine."""
    advice: str


def known_models() -> list[KnownModel]:
    """Return the models that have a name of their own, and whether they are on this machine."""
    return [
        _known("compact", "bundled; for CPUs, previews and small GPUs", COMPACT_FOLDER, ""),
        _known(
            "sd-x4",
            f"Stable Diffusion x4 Upscaler ({SD_X4_REPOSITORY}); for CUDA GPUs",
            cached(SD_X4_REPOSITORY, SD_X4_REVISION),
            "It is fetched on first use (1.7 GB in float16, 3.5 GB in float32).",
        ),
    ]


def _known(name: str, description: str, folder: Path | None, advice: str) -> KnownModel:
    files = [] if folder is None else [path for path in folder.rglob("*") if path.is_file()]
    return KnownModel(name, description, folder, sum(path.stat().st_size for path in files), advice)
