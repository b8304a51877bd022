"""Load a model for single pictures, one of the thousands that people share as files of weights.

Such a network enlarges a picture in one evaluation. To the denoising loop it is a denoiser that takes one
step and ignores the latents: its picture, folded to low resolution, is the prediction of the clean latents.
"""

from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from vidx4.diffusion.denoise import PlainDenoiser
from vidx4.diffusion.device import choose_dtype, dtype_name
from vidx4.diffusion.models.components import Components, Family, LoadSettings, ModelDefaults, place
from vidx4.diffusion.models.network_cost import SMALL_SIDES, Cost, cost_of
from vidx4.diffusion.models.spandrel_models import enlarge, outline, read_file, whole, zeroed
from vidx4.diffusion.options import Precision, Speed
from vidx4.errors import ModelError, OptionError
from vidx4.files.stamp import State, state
from vidx4.frames import SCALE

LATENT_CHANNELS = 3 * SCALE**2
COMMUNITY_DEFAULTS = dict.fromkeys(
    (Speed.QUALITY, Speed.BALANCED, Speed.FAST),
    ModelDefaults(num_inference_steps=1, guidance_scale=1.0, noise_level=0, consistency=0.0, color_fix="off"),
)
HOST_FACTOR = 1.5
"""How many times the numbers that are counted a CPU takes: its convolutions reorder what they work on."""
FINISHING_VALUES = 1000
"""Numbers for a low-resolution pixel up to which finishing, which works on whole frames, takes more
memory."""
MOST_TILE_MULTIPLE = 64
"""Number of which the sides of all tiles that the program chooses are multiples."""
CAUTION_ABOUT_TILES = "This model does best with whole frames: its tiles may differ in tone."
BATCH_PIXELS = 4 * 128 * 128
"""Low-resolution pixels that are denoised at once on a GPU, so that small frames keep it busy; assumed."""
_CONVOLUTIONAL = ("Compact", "ESRGAN", "SPAN")
"""Architectures in which a pixel affects no others than those that convolutions carry it to."""


class FoldedPicture:
    """An autoencoder without weights whose latents are the picture itself, folded to low resolution."""

    latent_channels = LATENT_CHANNELS
    grid = SCALE

    def decode(self, latents: Tensor, low_res: Tensor) -> Tensor:
        """Return the pictures that latents stand for; see `Autoencoder`. `low_res` is ignored."""
        return F.pixel_shuffle(latents, SCALE)


class SinglePictureNetwork(nn.Module):
    """A network for single pictures with the signature of diffusers' `UNet2DConditionModel`.

    Args:
        model: spandrel's description of the network. The names of the weights begin with that of its
            architecture, which is thus a part of the identity of the model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config = _Config(model)
        self.add_module(model.architecture.id, model.model)

    @classmethod
    def from_config(cls, config: "_Config") -> Self:
        """Return such a network without its weights."""
        return cls(config.outline())

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.parameters()).dtype

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: None = None,
        class_labels: Tensor | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """Enlarge pictures.

        Args:
            sample: latents, which are ignored, and the low-resolution pictures in [-1, 1], (N, 48 + 3, H, W).
            timestep: ignored.
            encoder_hidden_states: always None, since the model takes no prompt.
            class_labels: ignored, since the model knows no noise level.
            return_dict: always False.

        Returns:
            The pictures four times larger in [-1, 1], folded to low resolution, (N, 48, H, W).
        """
        low_res = sample[:, LATENT_CHANNELS:]
        return (F.pixel_unshuffle(enlarge(self.config.model, low_res / 2 + 0.5) * 2 - 1, SCALE),)


class _Config:
    """What a network is made from: spandrel's description of it."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def outline(self) -> Any:
        """Return a copy of the description whose network has no weights."""
        no_weights = {
            id(each): nn.Parameter(torch.empty_like(each, device="meta"), requires_grad=False)
            for each in self.model.model.parameters()
        }
        return deepcopy(self.model, no_weights)


def load_community(name: str, path: Path, settings: LoadSettings) -> Components:
    """Load a model from a file of weights; see `registry.load`.

    Raises:
        ModelError: the file can't be read, or is of no network that enlarges colour pictures four times.
        OptionError: a prompt is given, or a precision that the network does not support.
    """
    if settings.prompt or settings.negative_prompt:
        raise OptionError(f"The model {name} takes no prompt; --model sd-x4 does.")
    model, cost = _known(path, state(path))
    unet = place(SinglePictureNetwork(whole(read_file(path), settings.dtype)), settings.device)
    multiple = model.size_requirements.multiple_of
    components = Components(
        name=name,
        unet=unet,
        denoiser=PlainDenoiser(unet),
        autoencoder=FoldedPicture(),
        scheduler=DDIMScheduler(prediction_type="sample", clip_sample=False),
        low_res_scheduler=DDPMScheduler(beta_start=0.0, beta_end=0.0),  # adds no noise
        prompt_embeds=None,
        max_noise_level=0,
        # The network pads its input itself, too, if a tile is no multiple.
        size_multiple=multiple if MOST_TILE_MULTIPLE % multiple == 0 else 1,
        reach=reach_of(model),
        memory=None,
        first_step_is_blind=True,
        device=settings.device,
        has_texture=False,
        has_deep_features=False,
        operations=cost.operations,
        gains_by_compiling=False,
        batch_pixels=1 if settings.device.type == "cpu" else BATCH_PIXELS,
        values_per_pixel=cost.values_per_pixel,
        host_values_per_pixel=round(HOST_FACTOR * cost.values_per_pixel),
        is_lessened_by_tiles=cost.values_per_pixel > FINISHING_VALUES,
        defaults=COMMUNITY_DEFAULTS,
        takes_one_step=True,
        takes_prompts=False,
        caution_about_tiles="" if model.tiling.name == "SUPPORTED" else CAUTION_ABOUT_TILES,
    )
    _ = components.digest  # now: SPAN merges some of its weights when it is evaluated
    return components


def community_family(path: Path) -> Family:
    """Return what is known of a model before it is loaded, by the description of its weights.

    Raises:
        ModelError: as for `load_community`.
    """
    _, cost = _known(path, state(path))
    return Family(COMMUNITY_DEFAULTS, cost.operations)


@lru_cache(maxsize=16)
def _known(path: Path, state: State | None) -> tuple[Any, Cost]:
    """Return spandrel's description of a network without its weights, and what it takes.

    Args:
        path: the file of its weights.
        state: the state of the file; another one is read again.
    """
    model = outline(read_file(path))
    return model, _cost(path, model)


def choose_community_dtype(name: str, path: Path, precision: str, device: torch.device) -> torch.dtype:
    """Return the precision for a model: of those that it supports, the fastest that is exact enough.

    That is never bfloat16: the network gives the whole picture, not what a plain enlargement lacks, and 8
    significant bits of that are fewer than a picture has.

    Raises:
        ModelError: as for `load_community`.
        OptionError: the network or the device does not support the precision that is asked for.
    """
    dtype, (model, _) = choose_dtype(precision, device), _known(path, state(path))
    supports = {torch.float16: model.supports_half, torch.bfloat16: model.supports_bfloat16}
    if precision == Precision.AUTO:
        return dtype if dtype == torch.float16 and supports[dtype] else torch.float32
    if not supports.get(dtype, True):
        raise OptionError(
            f"The model {name} ({model.architecture.name}) does not support {dtype_name(dtype)}: use --dtype "
            "float32 or auto."
        )
    return dtype


def reach_of(model: Any) -> int | None:
    """Return the distance in low-resolution pixels at which an input affects a result; None if any may.

    It is the sum over all convolutions, as if they followed one another, and as if all were at low
    resolution.
    """
    if model.architecture.id not in _CONVOLUTIONAL or model.size_requirements.multiple_of > 1:
        return None  # ESRGAN may fold pixels first: then, it matters where a box begins
    return sum(map(_reach, _convolutions(model.model)))


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    """Return the convolutions of a network, without those that SPAN merges into one."""
    if isinstance(merged := getattr(module, "eval_conv", None), nn.Conv2d):
        return [merged]
    own = [module] if isinstance(module, nn.Conv2d) else []
    return own + [each for child in module.children() for each in _convolutions(child)]


def _reach(convolution: nn.Conv2d) -> int:
    sides = zip(convolution.kernel_size, convolution.dilation, strict=True)
    return max((side // 2) * dilation for side, dilation in sides)


def _cost(path: Path, model: Any) -> Cost:
    """Measure what a network takes, and check that it does what it should."""
    network = SinglePictureNetwork(deepcopy(model)).eval()
    try:
        try:
            return cost_of(partial(_run, network.to("meta")))
        except (RuntimeError, NotImplementedError):  # SeemoRe chooses layers by numbers, so it needs some
            zeroed(network)
            return cost_of(partial(_run, network), SMALL_SIDES)
    except Exception as error:  # a network whose settings contradict each other
        raise ModelError(
            f"{path} ({model.architecture.name}) can't be used: it fails with {error}."
        ) from error


def _run(network: SinglePictureNetwork, side: int) -> None:
    device = next(network.parameters()).device
    sample = torch.zeros(1, LATENT_CHANNELS + 3, side, side, device=device)
    (latents,) = network(sample, torch.zeros((), device=device))
    if latents.shape != (1, LATENT_CHANNELS, side, side):
        raise ValueError(f"pictures of {tuple(latents.shape)}")
