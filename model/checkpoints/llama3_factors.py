"""The rotary scaling of Llama 3.1 and later, which GGUF files keep only as its result."""

import math
from dataclasses import replace

import numpy as np

from model.spec import Llama3Scaling, ModelSpec, UnsupportedModel

# Meta's values; only the factor differs between releases (8 in 3.1 and 3.3, 32 in 3.2).
_LOW_FREQ, _HIGH_FREQ, _ORIGINAL_CONTEXT = 1.0, 4.0, 8192


def scaling_from_factors(factors: np.ndarray, spec: ModelSpec) -> Llama3Scaling:
    """The parameters whose divisors of the rotary frequencies are `factors` [K/2].

    Raises UnsupportedModel when they are no Llama 3 scaling.
    """
    largest = float(factors.max())
    if not 1.0 <= largest <= 1e6:
        raise UnsupportedModel("rotary frequency factors that are no Llama 3 scaling")
    scaling = Llama3Scaling(largest, _LOW_FREQ, _HIGH_FREQ, _ORIGINAL_CONTEXT)
    expected = llama3_factors(scaling, spec.layers[0].rope.theta, spec.layers[0].head_dim)
    if not np.allclose(factors, expected, rtol=1e-3):
        raise UnsupportedModel("rotary frequency factors that are no Llama 3 scaling")
    return scaling


def llama3_factors(scaling: Llama3Scaling, theta: float, head_dim: int) -> np.ndarray:
    """What each of the K/2 frequencies is divided by: 1 for short wavelengths, the whole factor
    for long ones, and a frequency-weighted mean between. Float64 [K/2]."""
    frequencies = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    turns = scaling.original_context * frequencies / (2 * math.pi)
    span = scaling.high_freq_factor - scaling.low_freq_factor
    kept = np.clip((turns - scaling.low_freq_factor) / span, 0.0, 1.0)
    return np.asarray(1.0 / ((1.0 - kept) / scaling.factor + kept))


def with_scaling(spec: ModelSpec, scaling: Llama3Scaling) -> ModelSpec:
    layers = (replace(layer, rope=replace(layer.rope, llama3=scaling)) for layer in spec.layers)
    return replace(spec, layers=tuple(layers))
