"""A program compiled from shapes alone is the one that runs."""

import jax
import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.engine import runner as runner_module
from model.engine.config import EngineConfig
from model.engine.runner import JaxRunner
from model.nn.params import abstract_params, load_params
from tests.model.engine.test_parity import FAMILIES, Loaded, top_logprobs


@pytest.mark.parametrize("family", FAMILIES)
def test_abstract_parameters_are_those_that_are_loaded(family, parity_fixtures):
    checkpoint = open_checkpoint(parity_fixtures / family)
    loaded = load_params(checkpoint, np.dtype(np.float32))
    abstract = abstract_params(checkpoint.spec, np.dtype(np.float32))
    described = jax.tree.map(lambda array: (array.shape, array.dtype), loaded)
    assert described == jax.tree.map(lambda array: (array.shape, array.dtype), abstract)


def test_pages_are_planned_beside_the_largest_step_which_is_compiled_once(
    parity_fixtures, monkeypatch
):
    """As on an accelerator that says how much it has."""
    free = 2**24
    monkeypatch.setattr(runner_module, "free_device_bytes", lambda devices: free)
    checkpoint = open_checkpoint(parity_fixtures / "llama")
    config = EngineConfig(dtype="float32", max_rows=4, page_size=8, prefill_chunk=16, kernels="off")
    runner = JaxRunner(checkpoint, config, 128)
    loaded = Loaded(parity_fixtures / "llama")
    tokens = [int(token) for token in loaded.expected["prompt_1"]]
    wanted = top_logprobs(loaded, tokens, 16)
    loaded.runner = runner
    np.testing.assert_array_equal(top_logprobs(loaded, tokens, 16), wanted)
    assert runner._program._jitted._cache_size() == 0
    needed = runner._program.cost(runner.shapes.largest, runner.memory.with_null_pages).beside
    assert 0 < needed <= free - runner.memory.bytes
