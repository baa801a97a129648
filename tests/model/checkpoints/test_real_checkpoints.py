"""The catalogue's own files, where they are in the cache already (`make serve` puts them there)."""

import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.checkpoints.catalogue import CATALOGUE
from model.checkpoints.fetch import cached
from model.checkpoints.names import tensor_shapes

pytestmark = pytest.mark.checkpoint

EXPECTED = {
    "smollm2-135m-instruct": ("llama", 30, 576, 49152, 8192, "Q4_1", 134_515_008),
    "gemma-3-270m": ("gemma3", 18, 640, 262144, 32768, "Q4_K_M", 268_098_176),
}


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_weight_of_a_named_model_is_read(name: str) -> None:
    path = cached(CATALOGUE[name])
    if path is None:
        pytest.skip(f"{name} is not in the cache")
    checkpoint = open_checkpoint(path)
    spec = checkpoint.spec
    family, layers, width, vocabulary, context, quantization, parameters = EXPECTED[name]

    assert (spec.family, len(spec.layers), spec.d_model) == (family, layers, width)
    assert (spec.vocab_size, spec.context) == (vocabulary, context)
    assert checkpoint.quantization == quantization
    assert checkpoint.text.vocab_size == vocabulary
    total = 0
    for tensor in tensor_shapes(spec):
        values = checkpoint.tensor(tensor)
        assert np.isfinite(values).all()
        total += values.size
    assert total == parameters
    checkpoint.close()
