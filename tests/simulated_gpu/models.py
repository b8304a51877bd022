"""Models at their real size, without weights."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests import sd_x4, stream_diffvsr
from vidx4.diffusion.models.loading import parts, weights
from vidx4.diffusion.models.networks.tiny_network import TemporalAutoencoderTiny

VAE_WIDTHS = (128, 256, 512)
TEXT_WIDTH = 1024


def save_real_model(folder: Path) -> Path:
    """Write a model folder whose UNet and autoencoder are those of sd-x4, but have no weights.

    The text encoder is a small one of the right width, since it runs only once for each prompt.
    """
    pipeline = sd_x4.make_pipeline()
    pipeline.register_modules(text_encoder=sd_x4.make_text_encoder(TEXT_WIDTH).eval())
    pipeline.save_pretrained(folder)
    with torch.device("meta"):
        unet, vae = sd_x4.make_unet(sd_x4.REAL_WIDTHS, TEXT_WIDTH), sd_x4.make_vae(VAE_WIDTHS)
    for part, network in (("unet", unet), ("vae", vae)):
        for path in (folder / part).glob("*.safetensors"):
            path.unlink()
        (folder / part / "config.json").write_text(json.dumps(dict(network.config)))
    return folder


def save_real_stream_model(folder: Path) -> Path:
    """Write a model folder like that of `save_real_model`, whose networks are those of Stream-DiffVSR."""
    stream_diffvsr.save_model(folder)
    sd_x4.make_text_encoder(TEXT_WIDTH).save_pretrained(folder / "text_encoder")
    with torch.device("meta"):
        unet = stream_diffvsr.make_unet(sd_x4.REAL_WIDTHS, TEXT_WIDTH)
        controlnet = stream_diffvsr.make_controlnet(unet, stream_diffvsr.REAL_CONTROL)
        networks = {"unet": unet, "controlnet": controlnet, "vae": TemporalAutoencoderTiny()}
    for part, network in networks.items():
        for path in (folder / part).glob("*.safetensors"):
            path.unlink()
        (folder / part / "config.json").write_text(json.dumps(dict(network.config)))
    return folder


@contextmanager
def without_weights(fake_mode: FakeTensorMode) -> Iterator[None]:
    """Let parts of a model that have no files of weights be loaded without numbers."""
    load = weights.load_weights

    def load_or_imagine(make: Callable[[], Any], folder: Path, part: str, dtype: Any, *, half: bool) -> Any:
        if any((folder / part).glob("*.safetensors")):
            return load(make, folder, part, dtype, half=half)
        with fake_mode:
            return make().to(dtype)

    with patch.object(parts, "load_weights", load_or_imagine):
        yield
