"""The engine with the compiled kernels: what holds in plain JAX holds here."""

import numpy as np
import pytest

from model.engine.device import cpu_multiplies_bytes
from model.kernels.library import load_kernels
from model.nn.attention import attend
from model.nn.params import Params
from tests.model.engine import test_parity as plain
from tests.model.engine.test_parity import FAMILIES, Loaded, top_logprobs

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C++ compiler here")


@pytest.fixture(scope="module", params=FAMILIES)
def compiled(request, parity_fixtures) -> Loaded:
    return Loaded(parity_fixtures / request.param, kernels="auto")


# Experts are never packed.
PACKED = [name for name in FAMILIES if name != "gemma4-experts"]


@pytest.fixture(scope="module", params=PACKED)
def packed(request, parity_fixtures) -> Loaded:
    if not cpu_multiplies_bytes():
        pytest.skip("this CPU has no AVX-512 VNNI")
    return Loaded(parity_fixtures / request.param, kernels="auto", weights="int8")


@pytest.mark.parametrize("chunk", [1, 16])
def test_logprobs_with_kernels_are_those_of_transformers(compiled, chunk):
    plain.test_logprobs_are_those_of_transformers_however_the_prompt_is_cut(compiled, chunk)


def test_greedy_continuations_with_kernels_are_those_of_transformers(compiled):
    plain.test_greedy_continuations_are_those_of_transformers(compiled)


def test_sampled_paths_with_kernels_are_the_same_alone_and_in_a_full_batch(compiled):
    plain.test_sampled_paths_are_the_same_alone_and_in_a_full_batch(compiled)


def test_sampled_paths_in_eight_bits_are_the_same_alone_and_in_a_full_batch(packed):
    plain.test_sampled_paths_are_the_same_alone_and_in_a_full_batch(packed)


def test_eight_bits_change_logprobs_a_little_and_cutting_the_prompt_nothing(packed):
    tokens = [int(t) for t in (*packed.expected["prompt_2"], *packed.expected["continuation_2"])]
    logits = packed.expected["logits_2"].astype(np.float64)
    wanted = logits - np.log(np.exp(logits).sum(-1))[:, None]
    whole = top_logprobs(packed, tokens, 16)
    same = np.take_along_axis(wanted, whole[..., 0].astype(int), axis=-1)
    assert np.abs(whole[..., 1] - same).mean() < 0.06 * logits.std()
    assert (top_logprobs(packed, tokens, 1) == whole).all()
    assert (top_logprobs(packed, tokens, 5) == whole).all()


def test_weights_of_experts_stay_as_they_are_and_the_log_says_so(parity_fixtures, caplog):
    fixture = parity_fixtures / "gemma4-experts"
    loaded = Loaded(fixture, kernels="auto", weights="int8")
    assert isinstance(loaded.runner.params, Params)
    assert "weights stay in float32: there are no kernels for experts" in caplog.text


def test_attention_that_the_kernel_does_not_have_is_plain_and_the_log_says_so(
    parity_fixtures, caplog
):
    loaded = Loaded(parity_fixtures / "gemma4", kernels="auto")
    assert loaded.runner._backend.attend is attend
    assert "the CPU kernel has no attention like gemma4's: plain JAX runs it" in caplog.text
