"""Weights of files that keep them in few bits: packing must not lose what is left of them."""

from pathlib import Path

import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from model.checkpoints.gguf import GgufCheckpoint
from model.kernels.library import load_kernels
from model.kernels.packed import load_packed, pack
from tests.model.kernels.test_linear import dense

LIBRARY = load_kernels()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="no C++ compiler here")


def lost(weights: np.ndarray, bits: int) -> float:
    """Root mean square of what packing changes, as a share of the weights'."""
    found = dense(pack(LIBRARY, weights, bits), *weights.shape)
    return float(np.sqrt(((found - weights) ** 2).mean() / (weights**2).mean()))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q4_K"])
def test_four_bits_of_a_file_come_through_almost_exactly(kind):
    """Any levels at all, so many groups miss their lowest or highest one."""
    rng = np.random.default_rng(0)
    kind = GGMLQuantizationType[kind]
    block, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (64 * 1024 // block, size)).astype(np.uint8)
    scales = rng.uniform(0.5, 1.5, (len(blocks), 2)).astype(np.float16)
    scales[:, 1] *= -1 if kind == GGMLQuantizationType.Q4_1 else 1
    count = 1 if kind == GGMLQuantizationType.Q4_0 else 2
    blocks[:, : 2 * count] = np.ascontiguousarray(scales[:, :count]).view(np.uint8)
    weights = dequantize(blocks, kind).reshape(64, 1024)
    assert lost(weights, 4) < 1e-3
    assert lost(weights, 4) < lost(weights, 8)


def test_constant_rows_and_lone_weights_survive_four_bits():
    weights = np.zeros((40, 70), np.float32)
    weights[1] = 0.25
    weights[2, 3] = -1.0
    weights[3, 69] = 1e-3
    found = dense(pack(LIBRARY, weights, 4), 40, 70)
    # To what float16 leaves of a step, fifteen of which make the range of the group.
    ranges = np.array([1, 1, 1, 1e-3] + [1] * 36)[:, None]
    assert (np.abs(found - weights) <= 2**-11 * ranges).all()
    assert (found[[0, 1]] == weights[[0, 1]]).all()


def test_the_default_model_loses_nothing_in_the_bits_of_its_file(default_checkpoint: Path):
    checkpoint = GgufCheckpoint(default_checkpoint)
    for name in ("layers.0.q", "layers.7.down", "layers.29.gate"):
        assert checkpoint.four_bits(name)
        assert lost(checkpoint.tensor(name), 4) < 1e-5
    assert not checkpoint.four_bits("embed")
    assert lost(checkpoint.tensor("embed")[:1000], 8) < 1e-5
    assert not checkpoint.four_bits("final_norm")
    with pytest.raises(KeyError):
        checkpoint.four_bits("layers.99.q")


def test_loading_packs_each_matrix_in_the_bits_of_its_file(default_checkpoint: Path):
    params = load_packed(LIBRARY, GgufCheckpoint(default_checkpoint))
    assert params.embed.bits == 8
    for layer in params.layers:
        assert {m.bits for m in (layer.qkv, layer.o, layer.gate_up, layer.down)} == {4}


@pytest.mark.parametrize("bits", [4, 8])
def test_bits_that_are_asked_for_are_those_of_every_matrix(default_checkpoint: Path, bits):
    params = load_packed(LIBRARY, GgufCheckpoint(default_checkpoint), bits)
    assert params.embed.bits == bits
    for layer in params.layers:
        assert {m.bits for m in (layer.qkv, layer.o, layer.gate_up, layer.down)} == {bits}
