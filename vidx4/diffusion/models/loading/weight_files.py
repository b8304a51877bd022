"""Find the files that hold the weights of a part of a model."""

import re
from pathlib import Path

from vidx4.errors import ModelError

_NAME = re.compile(
    r"(?:diffusion_pytorch_)?model(?P<half>\.fp16)?(?:-(?P<shard>\d{5})-of-(?P<total>\d{5}))?"
    r"(?P<late_half>\.fp16)?\.safetensors"
)


def weight_files(folder: Path, part: str, *, half: bool) -> list[str]:
    """Return the names of the files with a part's weights: one, or all that they are divided into.

    Args:
        folder: the model's folder.
        part: the name of the part's folder in it.
        half: whether to prefer float16 weights; they are also used if there are no others.

    Raises:
        ModelError: there are none, or some are missing.
    """
    names = sorted(path.name for path in (folder / part).glob("*.safetensors"))
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    halves = [match for match in matches if match["half"] or match["late_half"]]
    others = [match for match in matches if match not in halves]
    chosen = (halves or others) if half else (others or halves)
    whole = [match for match in chosen if not match["total"]][:1]
    for match in chosen:
        if not whole and int(match["total"]) != len(chosen):
            raise ModelError(
                f"{folder / part} lacks weights: {len(chosen)} of {int(match['total'])} files are there."
            )
    if not chosen:
        raise ModelError(f"The model is incomplete: {folder / part} has no weights as safetensors.")
    return [f"{part}/{match.string}" for match in whole or chosen]
