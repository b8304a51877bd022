"""The network that tells cuts from other changes, of one hidden layer, and its weights."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

NETWORK = Path(__file__).parents[1] / "weights" / "cuts" / "network.safetensors"
RANGE = 4.0
"""Standard deviations beyond which a feature is not told apart."""


def cut_score(features: np.ndarray) -> float:
    """Return the log-odds of a cut, for features of `vidx4.temporal.cuts.describe`; from 0 on, it is one.

    In float64, and without a library of linear algebra, so that machines differ by rounding only.
    """
    return score_of(_weights(), features)


def score_of(weights: Mapping[str, np.ndarray], features: np.ndarray) -> float:
    """Return what a network of these weights makes of features."""
    inputs = ((features - weights["mean"]) / weights["deviation"]).clip(-RANGE, RANGE)
    hidden = np.maximum((weights["hidden.weight"] * inputs).sum(1) + weights["hidden.bias"], 0)
    return float((weights["out.weight"] * hidden).sum() + weights["out.bias"][0])


@cache
def _weights() -> dict[str, np.ndarray]:
    return {name: tensor.astype(np.float64) for name, tensor in load_file(NETWORK).items()}
