"""Presets beside what their makers publish."""

import jax.numpy as jnp
import pytest

from model.engine.config import EngineConfig
from model.engine.memory import plan_memory
from model.nn.layout import KvLayout
from model.nn.params import abstract_params, parameter_count
from model.presets import PRESETS

# Of weights in thousands of millions, as the model cards say them (the text decoder's part).
PUBLISHED = {
    "gemma-3-270m": 0.27,
    "gemma-3-1b": 1.0,
    "gemma-3-4b": 3.88,
    "gemma-3-12b": 11.8,
    "gemma-3-27b": 27.0,
    "gemma-4-12b": 11.9,
    "gemma-4-26b-a4b": 25.2,
    "gemma-4-31b": 30.7,
}
EFFECTIVE = {"gemma-4-e2b": 2.3, "gemma-4-e4b": 4.5}
"""Without the tables of layer inputs."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_published(name: str) -> None:
    assert parameter_count(PRESETS[name]) / 1e9 == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("name", EFFECTIVE)
def test_effective_sizes_are_those_published(name: str) -> None:
    spec = PRESETS[name]
    tables = spec.vocab_size * spec.layer_inputs * len(spec.layers)
    effective = (parameter_count(spec) - tables) / 1e9
    assert effective == pytest.approx(EFFECTIVE[name], rel=0.04)


def test_every_preset_is_checked_against_something_published() -> None:
    assert PRESETS.keys() == PUBLISHED.keys() | EFFECTIVE.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_layers_that_share_read_pages_like_their_own(name: str) -> None:
    spec = PRESETS[name]
    assert len(abstract_params(spec, jnp.dtype(jnp.bfloat16)).layers) == len(spec.layers)
    for layer, at in zip(spec.layers, spec.kv_index, strict=True):
        source = spec.kv_layers[at]
        assert (layer.window, layer.kv_heads, layer.head_dim) == (
            source.window,
            source.kv_heads,
            source.head_dim,
        )


def test_a_long_context_of_31b_costs_its_global_layers() -> None:
    """32K tokens: ten global layers of four heads of 512, and fifty windows of 1,024."""
    spec = PRESETS["gemma-4-31b"]
    plan = plan_memory(spec, EngineConfig(), 1, 32768, KvLayout(2), 2**40)
    one = plan.bytes / (1 + 2)
    everywhere = 10 * 2 * 4 * 512 * 2 * 32768
    windows = 50 * 2 * 16 * 256 * 2 * (1024 + 256)
    assert one == pytest.approx(everywhere + windows, rel=0.05)
