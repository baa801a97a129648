"""The named models' weights against transformers' own reading of the same files."""

import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.checkpoints.catalogue import CATALOGUE
from model.checkpoints.fetch import cached
from model.checkpoints.names import hf_name, tensor_shapes

pytestmark = [pytest.mark.parity, pytest.mark.checkpoint]


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_weights_are_those_that_transformers_reads(name: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    path = cached(CATALOGUE[name])
    if path is None:
        pytest.skip(f"{name} is not in the cache")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).state_dict()
    ours = open_checkpoint(path)

    for tensor in tensor_shapes(ours.spec):
        expected = theirs[hf_name(tensor, ours.spec.family, "model.", "")].numpy()
        if ours.spec.family == "gemma3" and tensor.endswith("_norm"):
            # They keep w, of a scale of 1 + w.
            np.testing.assert_allclose(ours.tensor(tensor), expected + 1, rtol=1e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(ours.tensor(tensor), expected)
