"""Networks that spandrel knows: which one the weights of a file belong to, built with or without them.

spandrel finds out the architecture and its sizes from the names and shapes of the weights. These may come
from anywhere, so a network is first built without memory for weights, and compared with the file.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vidx4.diffusion.device_errors import first_line, is_out_of_memory
from vidx4.diffusion.models.loading.model_file import ModelFile, read_model_file
from vidx4.errors import ModelError
from vidx4.frames import SCALE

# What PyTorch and spandrel tell programmers while files are read and networks are built. Set once, when this
# module is imported, and never while work runs: threads share the filters.
for _module in (
    *(
        r"torch\.(?:_utils|_weights_only_unpickler|functional|serialization|storage)",
        r"torch\.nn\.(?:init|modules)",
    ),
    *("spandrel", __name__.replace(".", r"\.")),
):
    warnings.filterwarnings("ignore", module=rf"{_module}(?:\.|$)")

INSTALL = "pip install spandrel, or scripts/setup community in a clone"
"""The commands that install what reads the networks of such files."""
EXAMPLES = "Compact, DAT, DRCT, ESRGAN, HAT, OmniSR, PLKSR, RCAN, RealCUGAN, SPAN, Swin2SR and SwinIR"
"""Architectures that enlarge, of those that spandrel knows."""
TRIAL_SIDE = 64
"""Side in low-resolution pixels of the picture that a network is tried on."""
_ABSENT = {
    "torchvision": (),
    "torchvision.transforms": (),
    "torchvision.transforms.functional": ("InterpolationMode", "normalize", "rotate"),
}
"""What spandrel imports of torchvision, by module."""


def spandrel_version() -> str | None:
    """Return the version of spandrel; None if it is not installed."""
    try:
        return version("spandrel")
    except PackageNotFoundError:
        return None


@cache
def library() -> Any:
    """Import spandrel.

    Raises:
        ModelError: it is not installed, or can't be imported.
    """
    try:
        if find_spec("spandrel") is None:
            raise ModelError(f"A model in a file needs spandrel, which is not installed: {INSTALL}.")
        with _without_torchvision():
            import spandrel
        return spandrel
    except ModelError:
        raise
    except Exception as error:  # whatever an installation that is broken, or lacks a package, leads to
        raise ModelError(
            f"A model in a file needs spandrel, which can't be imported ({first_line(error)}): {INSTALL}."
        ) from error


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Stand in for torchvision while spandrel is imported, unless another library has imported it already.

    Of all networks, only LaMa and RestoreFormer use it, which don't enlarge pictures four times. torchvision
    takes a second to import, and does not import at all if it was built for another PyTorch, as the one on
    PyPI is beside a PyTorch for the CPU.
    """
    if "torchvision" in sys.modules:
        yield
        return
    stand_ins = {name: ModuleType(name) for name in _ABSENT}
    for name, attributes in _ABSENT.items():
        for attribute in attributes:
            setattr(stand_ins[name], attribute, _Missing)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


class _Missing:
    """Stands in for what torchvision has; RestoreFormer and LaMa would fail with it."""

    BILINEAR = NEAREST = None


def read_file(path: Path) -> ModelFile:
    """Read the description of a file of weights; raises as `read_model_file`, or if spandrel is missing."""
    return read_model_file(path, library().canonicalize_state_dict)


_SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]


class _Building(TorchFunctionMode):
    """What is special while a network is built.

    Without weights, these are made on the meta device, where they take no memory. That device as a default
    would break networks that read numbers of small tables while they are built.

    Args:
        most: most weights to make.
        has_weights: whether they take memory.
    """

    _MAKERS = frozenset({torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full})

    def __init__(self, most: int, *, has_weights: bool) -> None:
        super().__init__()
        self._left = most
        self._has_weights = has_weights
        self.has_rounded = False
        """Whether a file holds whole numbers where the network has floating-point numbers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._MAKERS and kwargs.get("device") is None:
            self._left -= 1
            if self._left < 0:
                raise ValueError("its names stand for more layers than it has weights")
            kwargs = kwargs if self._has_weights else kwargs | {"device": "meta"}
        elif func is torch.meshgrid and kwargs.get("indexing") is None:
            kwargs = kwargs | {"indexing": "ij"}  # as by default, of which PyTorch would warn
        elif func == _SET_DATA and args[0].is_meta:
            args = (args[0], args[1].to("meta"))
        elif func is Tensor.copy_ and args[0].is_floating_point() and not args[1].is_floating_point():
            self.has_rounded = True
        elif func is Tensor.copy_ and args[1].is_meta:
            return args[0]  # a table that the network has computed stays, as there are no numbers to copy
        return func(*args, **kwargs)


def outline(file: ModelFile) -> Any:
    """Return spandrel's description of the network of a file that can be used, built without its weights.

    Raises:
        ModelError: as for `unweighted`, or the network does not make colour pictures four times larger.
    """
    model = unweighted(file)
    if why := unsuited(model):
        raise ModelError(f"{file.path} ({model.architecture.name}) can't be used: {why}.")
    return model


def unweighted(file: ModelFile) -> Any:
    """Return spandrel's description of the network of a file, built without its weights.

    Raises:
        ModelError: no architecture is known that has such weights.
    """
    return _built(file.path, file.shapes, has_weights=False)


def whole(file: ModelFile, dtype: torch.dtype) -> Any:
    """Return spandrel's description of the network of a file, with its weights in a type, on the CPU.

    Raises:
        ModelError: as for `outline`, or the weights can't be used.
    """
    model = _built(file.path, file.read(dtype), has_weights=True)
    model.model.to(dtype)
    return model


def enlarge(model: Any, pictures: Tensor) -> Tensor:
    """Return pictures enlarged by a network, which are padded to the sizes that it takes.

    Args:
        model: spandrel's description of the network.
        pictures: in [0, 1], in the type of its weights, (N, 3, H, W).

    Returns:
        Pictures in [0, 1], of the same type, (N, 3, 4H, 4W).
    """
    # Without spandrel's inference mode: in it, SPAN can't merge its weights on the meta device.
    call = library().ImageModelDescriptor.__call__.__wrapped__
    return call(model, pictures)  # type: ignore[no-any-return]


def _built(path: Path, weights: Mapping[str, Tensor], *, has_weights: bool) -> Any:
    known = library()
    # Layers make their weights one by one, and a few masks and tables besides.
    building = _Building(8 * len(weights) + 1000, has_weights=has_weights)
    try:
        with building:
            model = known.MAIN_REGISTRY.load(dict(weights))
    except known.UnsupportedModelError as error:
        raise ModelError(
            f"{path} can't be used: its weights belong to no architecture that spandrel {spandrel_version()} "
            f"knows. Among those that it knows are {EXAMPLES}."
        ) from error
    except Exception as error:  # names or shapes that contradict each other
        if is_out_of_memory(error):
            raise
        if "meta" in str(error) and isinstance(
            error, RuntimeError
        ):  # its building needs the weights' numbers
            raise ModelError(f"{path} can't be used: this kind of network isn't supported.") from error
        raise ModelError(
            f"{path} can't be used: no network can be built from its weights ({_reason(error)})."
        ) from error
    if building.has_rounded:
        raise ModelError(f"{path} can't be used: its weights must be plain floating-point numbers.")
    return model


def _reason(error: Exception) -> str:
    """Return the beginning of an error, of which PyTorch puts only a heading on the first line."""
    if isinstance(error, KeyError):
        return f"they lack {error}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])[:200].rstrip(".")


def unsuited(model: Any) -> str:
    """Return why a network can't be used; empty if it makes colour pictures four times larger."""
    if not isinstance(model, library().ImageModelDescriptor):
        return "it fills holes in pictures, and enlarges none"
    if model.purpose == "FaceSR":
        return "it is for pictures of single faces"
    if model.scale != SCALE:
        does = "keeps the size of pictures" if model.scale == 1 else f"enlarges {model.scale} times"
        return f"it {does}, but a model has to enlarge {SCALE} times"
    if (model.input_channels, model.output_channels) != (3, 3):
        return f"it turns {model.input_channels} channels into {model.output_channels}, not RGB into RGB"
    return ""


def failure(model: Any) -> str:
    """Return why a network fails that is run once on a small picture, without numbers; empty if it runs.

    Args:
        model: spandrel's description of the network, built without its weights, which is used up.
    """
    network = model.model.eval()
    try:
        with torch.no_grad():
            try:
                network.to("meta")
                made = enlarge(model, torch.zeros(1, 3, TRIAL_SIDE, TRIAL_SIDE, device="meta"))
            except (RuntimeError, NotImplementedError):  # it chooses layers by numbers, so it needs some
                zeroed(network)
                made = enlarge(model, torch.zeros(1, 3, TRIAL_SIDE, TRIAL_SIDE))
    except Exception as error:  # a network whose settings contradict each other
        return f"it fails with {_reason(error)}"
    side = SCALE * TRIAL_SIDE
    return "" if made.shape == (1, 3, side, side) else f"it makes pictures of {tuple(made.shape)}"


def zeroed(network: nn.Module) -> None:
    """Move a network without weights to the CPU, with all its numbers zero."""
    network.to_empty(device="cpu")
    for module in network.modules():
        for name, each in vars(module).items():
            if isinstance(each, Tensor) and each.is_meta:
                setattr(module, name, torch.zeros_like(each, device="cpu"))
    for each in (*network.parameters(), *network.buffers()):
        each.detach().zero_()
