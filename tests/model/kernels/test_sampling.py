"""Sampling with the compiled kernel: all that holds of the plain one, and the same tokens."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.engine.sampling import sample
from model.kernels.library import load_kernels
from tests.model.engine import test_sampling as plain
from tests.model.engine.test_sampling import (  # noqa: F401
    test_a_draw_is_never_outside_the_filters,
    test_frequencies_follow_the_filtered_distribution,
    test_large_seeds_use_all_their_bits,
    test_padding_rows_are_zeros_and_change_nobody,
    test_targets_are_scored_instead_of_sampled,
    test_the_logprob_is_of_the_logits_as_they_came_whatever_the_filters,
    test_the_token_depends_on_seed_and_position_and_nothing_beside_its_row,
)

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C++ compiler here")

_compiled = jax.jit(partial(sample, compiled=True))


@pytest.fixture(scope="module", autouse=True)
def by_the_kernel() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "_sample", _compiled)
        yield


@pytest.mark.parametrize("vocabulary", [1, 5, 96, 512, 513, 3000])
@pytest.mark.parametrize("temperature", [0.0, 0.01, 0.7, 1.0, 5.0])
def test_tokens_and_logprobs_are_those_of_plain_jax(vocabulary, temperature):
    rng = np.random.default_rng(vocabulary)
    logits = (3 * rng.normal(size=(256, vocabulary))).astype(np.float32)
    asked = plain.rows(256, temperature=temperature)
    ours, theirs = _compiled(logits, asked), sample(jnp.asarray(logits), asked)
    same = np.asarray(ours.token) == np.asarray(theirs.token)
    # A uniform number may fall where the two round a border differently.
    assert same.mean() >= (1.0 if temperature == 0 else 0.99)
    logprobs = np.asarray(ours.logprob), np.asarray(theirs.logprob)
    np.testing.assert_allclose(logprobs[0][same], logprobs[1][same], atol=2e-5)


def test_a_row_with_filters_leaves_its_neighbours_tokens_alone():
    logits = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32)
    asked = plain.rows(64)
    before = np.asarray(_compiled(logits, asked).token)
    asked.top_k[7] = 1
    after = np.asarray(_compiled(logits, asked).token)
    assert after[7] == logits[7].argmax()
    assert (np.delete(after, 7) == np.delete(before, 7)).all()
