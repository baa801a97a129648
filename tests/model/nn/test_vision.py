"""The image encoder against what transformers made of the same pixels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.engine.compilations import compilations
from model.nn.vision.params import VisionParams, load_vision, vision_parameter_count
from model.nn.vision.tower import soft_tokens
from model.spec import ModelSpec


class Encoder:
    def __init__(self, path) -> None:
        self.spec: ModelSpec = open_checkpoint(path).spec
        self.params: VisionParams = load_vision(open_checkpoint(path), jnp.dtype(jnp.float32))
        self.run = jax.jit(partial(soft_tokens, self.spec.vision))
        expected = np.load(path / "expected.npz")
        self.pixels = ((expected["images"] / 255 - 0.5) / 0.5).astype(np.float32)
        self.features = expected["features"]


@pytest.fixture(scope="module")
def encoder(parity_fixtures) -> Encoder:
    return Encoder(parity_fixtures / "gemma3-vision")


@pytest.mark.parametrize("queries", [512, 16])
def test_soft_tokens_are_those_of_transformers(encoder, queries, monkeypatch):
    monkeypatch.setattr("model.nn.vision.tower._QUERIES", queries)
    jax.clear_caches()
    with jax.default_matmul_precision("highest"):
        found = jax.jit(partial(soft_tokens, encoder.spec.vision))(encoder.params, encoder.pixels)
    assert found.shape == encoder.features.shape
    assert np.abs(found - encoder.features).max() <= 1e-5 * np.abs(encoder.features).max()


def test_an_image_is_encoded_alike_alone_and_among_others(encoder):
    together = np.asarray(encoder.run(encoder.params, encoder.pixels))
    before = compilations()
    for index, image in enumerate(encoder.pixels):
        alone = np.asarray(encoder.run(encoder.params, image[None]))[0]
        assert np.abs(alone - together[index]).max() <= 1e-5
    assert compilations() - before <= 1


def test_every_parameter_matters(encoder):
    """So that the fixture would show a forgotten one."""
    plain = np.asarray(encoder.run(encoder.params, encoder.pixels[:1]))
    leaves, tree = jax.tree.flatten(encoder.params)
    for index, leaf in enumerate(leaves):
        changed = [*leaves]
        changed[index] = leaf.at[(0,) * leaf.ndim].add(1.0)
        other = encoder.run(jax.tree.unflatten(tree, changed), encoder.pixels[:1])
        is_key_bias = leaf.shape == (3, encoder.spec.vision.d_model)
        assert is_key_bias or np.abs(other - plain).max() > 1e-6


def test_parameters_are_counted(encoder):
    stored = sum(leaf.size for leaf in jax.tree.leaves(encoder.params))
    assert vision_parameter_count(encoder.spec) == stored
