"""Sampling on the device against the textbook, in numpy."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine.sampling import SamplingRows, sample

_sample = jax.jit(sample)
VOCAB = 96


def rows(count: int, **fields) -> SamplingRows:
    """Rows that all want the same, with seeds 0, 1, 2, ..."""
    seeds = fields.pop("seeds", range(count))
    values = {
        "live": np.arange(count, dtype=np.int32),
        "temperature": np.full(count, fields.get("temperature", 1.0), np.float32),
        "top_k": np.full(count, fields.get("top_k", 0), np.int32),
        "top_p": np.full(count, fields.get("top_p", 1.0), np.float32),
        "min_p": np.full(count, fields.get("min_p", 0.0), np.float32),
        "seed": np.array([(s >> 32, s & 0xFFFFFFFF) for s in seeds], np.uint32),
        "position": np.full(count, fields.get("position", 10), np.int32),
        "target": np.full(count, fields.get("target", -1), np.int32),
    }
    return SamplingRows(**values)


def drawn(logits: np.ndarray, count: int = 4096, **fields) -> np.ndarray:
    repeated = np.broadcast_to(logits.astype(np.float32), (count, len(logits)))
    return np.asarray(_sample(repeated, rows(count, **fields)).token)


def textbook(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0) -> np.ndarray:
    """The distribution: min-p, then top-k, then the smallest set that holds top_p of the rest."""
    weights = np.exp((logits - logits.max()) / temperature)
    weights = np.where(weights >= min_p, weights, 0)
    if top_k:
        weights = np.where(weights >= np.sort(weights)[-min(top_k, len(weights))], weights, 0)
    order = np.argsort(-weights)
    before = np.cumsum(weights[order]) - weights[order]
    kept = order[before < top_p * weights.sum() * (1 - 1e-6)]
    # Tokens as likely as the last one kept are kept too.
    weights = np.where(weights >= weights[kept].min() * (1 - 1e-5), weights, 0)
    return weights / weights.sum()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0},
        {"top_k": 5},
        {"top_p": 0.7},
        {"min_p": 0.1},
        {"temperature": 1.5, "top_k": 20, "top_p": 0.8, "min_p": 0.02},
    ],
)
def test_frequencies_follow_the_filtered_distribution(fields):
    logits = np.random.default_rng(0).normal(size=VOCAB) * 2
    wanted = textbook(logits, **fields)
    count = 4096
    found = np.bincount(drawn(logits, count, **fields), minlength=VOCAB)
    assert (found[wanted == 0] == 0).all()
    likely = wanted * count >= 5
    chi2 = ((found - wanted * count)[likely] ** 2 / (wanted * count)[likely]).sum()
    degrees = likely.sum() - 1
    # Five standard deviations above the mean of the chi-squared distribution.
    assert chi2 <= degrees + 5 * np.sqrt(2 * degrees) + 5


@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=700),
    top_k=st.integers(0, 20),
    top_p=st.floats(0.01, 1.0),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
)
@settings(max_examples=25, deadline=None)
def test_a_draw_is_never_outside_the_filters(logits, top_k, top_p, temperature):
    logits = np.array(logits)
    tokens = drawn(logits, 16, top_k=top_k, top_p=top_p, temperature=temperature)
    assert ((tokens >= 0) & (tokens < len(logits))).all()
    if temperature == 0:
        assert (logits[tokens] == logits.max()).all()
        return
    # One tie-wide step of slack: float32 sums against float64 ones.
    wanted = textbook(logits, temperature, top_k, min(1.0, top_p + 1e-4))
    assert (wanted[tokens] > 0).all()


def test_the_token_depends_on_seed_and_position_and_nothing_beside_its_row():
    logits = np.random.default_rng(1).normal(size=(8, VOCAB)).astype(np.float32)
    together = np.asarray(_sample(logits, rows(8, seeds=range(100, 108))).token)
    for row in range(8):
        alone = rows(8, seeds=[100 + row] * 8, temperature=0.0)
        alone.temperature[3] = 1.0
        crowd = np.full_like(logits, 7.0)
        crowd[3] = logits[row]
        assert np.asarray(_sample(crowd, alone).token)[3] == together[row]
    one_row = np.repeat(logits[:1], 8, axis=0)
    by_seed = np.asarray(_sample(one_row, rows(8)).token)
    by_position = [int(_sample(one_row, rows(8, position=p)).token[0]) for p in range(8)]
    assert len(set(by_seed.tolist())) > 1
    assert len(set(by_position)) > 1


def test_large_seeds_use_all_their_bits():
    logits = np.zeros(VOCAB)
    tokens = drawn(logits, 64, seeds=[i << 32 for i in range(64)])
    assert len(set(tokens.tolist())) > 20


def test_targets_are_scored_instead_of_sampled():
    logits = np.random.default_rng(2).normal(size=(4, VOCAB)).astype(np.float32)
    result = _sample(logits, rows(4, target=33))
    wanted = logits[:, 33] - np.log(np.exp(logits).sum(-1))
    assert (np.asarray(result.token) == 33).all()
    np.testing.assert_allclose(np.asarray(result.logprob), wanted, atol=1e-5)


def test_the_logprob_is_of_the_logits_as_they_came_whatever_the_filters():
    logits = (3 * np.random.default_rng(3).normal(size=(16, VOCAB))).astype(np.float32)
    result = _sample(logits, rows(16, temperature=0.3, top_k=4, min_p=0.01))
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(-1, keepdims=True))
    chosen = np.take_along_axis(exact, np.asarray(result.token)[:, None], axis=-1)[:, 0]
    np.testing.assert_allclose(np.asarray(result.logprob), chosen, atol=1e-5)
    np.testing.assert_allclose(result.log_total, np.log(np.exp(logits).sum(-1)), rtol=1e-6)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e38])
def test_padding_rows_are_zeros_and_change_nobody(garbage):
    logits = np.random.default_rng(4).normal(size=(8, VOCAB)).astype(np.float32)
    alone = _sample(logits, rows(8))
    padded = rows(8)
    for row in (1, 6):
        logits[row] = garbage
        padded.live[row] = -1
        # What a padding row holds is left over from anything.
        padded.temperature[row], padded.top_k[row], padded.top_p[row] = 9.0, 3, 0.1
        padded.target[row] = 5
    result = _sample(logits, padded)
    for ours, before in zip(result, alone, strict=True):
        ours, before = np.asarray(ours), np.asarray(before)
        assert (ours[[1, 6]] == 0).all()
        assert (np.delete(ours, [1, 6]) == np.delete(before, [1, 6])).all()
