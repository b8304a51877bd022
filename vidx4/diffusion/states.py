"""What a model with its settings leaves after a frame, and whether a state is of that kind."""

from vidx4.diffusion.device import dtype_name
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.models.networks.compact_denoiser import HIDDEN_CHANNELS
from vidx4.diffusion.settings import Settings
from vidx4.frames import FrameBatch
from vidx4.temporal.follow import FollowedBatch
from vidx4.temporal.mode import Temporal
from vidx4.temporal.state import ShotState
from vidx4.temporal.state_spec import StateSpec


def state_spec_of(components: Components, settings: Settings) -> StateSpec:
    """Return what the states of a model hold with some settings."""
    noise, num_ties = components.noise_specs(settings.num_inference_steps), len(settings.ties)
    moves = settings.temporal is Temporal.MOVING and not settings.draws_anew
    return StateSpec(
        noise=noise,
        has_particles=moves and bool(noise),
        latents=(num_ties, components.autoencoder.latent_channels) if num_ties else None,
        hidden=HIDDEN_CHANNELS if settings.remembers and settings.recall is None else None,
        has_raw=settings.recall is not None,
        dtype=components.dtype,
        size_multiple=components.size_multiple,
    )


def check_state(spec: StateSpec, batch: FrameBatch | FollowedBatch, state: ShotState | None) -> None:
    """Check that a model can continue from a state.

    Args:
        spec: what its states hold.
        batch: the frames that come next.
        state: the state after the frames before them; None if there is none.

    Raises:
        ValueError: it can't.
    """
    if isinstance(batch, FrameBatch):
        (height, width), dtype = batch.data.shape[2:], batch.data.dtype
    else:
        visible, dtype = batch.last.visible, batch.last.low_res.dtype
        height, width = visible.height, visible.width
        if state is None and batch.warm_up is None and batch.frames[0].changed is not None:
            raise ValueError(
                "the batch was tied to a frame before it, so it needs the state after that frame"
            )
    if state is not None and (difference := spec.difference(state.tensors, width, height, dtype)):
        what = f"one after {width}x{height} frames of {dtype_name(dtype)} with this model and settings"
        raise ValueError(f"this state is not {what}: {difference}")
