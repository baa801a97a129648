"""Draws by the compiled kernel against the distribution in float64, filters included."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.kernels import ops
from model.kernels.library import load_kernels

pytestmark = pytest.mark.skipif(load_kernels() is None, reason="no C++ compiler here")

JUST_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


@dataclass(frozen=True)
class Wish:
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0


def draw(logits, uniform, wishes: list[Wish], live=None) -> tuple[np.ndarray, np.ndarray]:
    R = len(logits)

    def column(name: str, dtype: type) -> jnp.ndarray:
        return jnp.asarray([getattr(wish, name) for wish in wishes], dtype)

    token, total = ops.draw(
        jnp.asarray(logits, jnp.float32),
        jnp.zeros(R, jnp.int32) if live is None else jnp.asarray(live, jnp.int32),
        column("temperature", np.float32),
        jnp.asarray(np.broadcast_to(uniform, R), jnp.float32),
        column("top_k", np.int32),
        column("top_p", np.float32),
        column("min_p", np.float32),
    )
    return np.asarray(token), np.asarray(total)


def weights_of(logits: np.ndarray, wish: Wish, slack: float = 0.0) -> np.ndarray:
    """What the filters leave, in float64. slack: how much less is asked of an id that stays."""
    weights = np.exp((logits.astype(np.float64) - logits.max()) / wish.temperature)
    # At the border of what float32 holds, an id may stay or go.
    weights[weights < (1e-38 if slack else 1e-37)] = 0
    weights = np.where(weights >= wish.min_p * (1 - slack), weights, 0)
    if wish.top_k:
        least = np.sort(weights)[-min(wish.top_k, len(weights))]
        weights = np.where(weights >= least * (1 - slack), weights, 0)
    if wish.top_p < 1:
        order = np.argsort(-weights, kind="stable")
        before = np.cumsum(weights[order]) - weights[order]
        share = wish.top_p * (1 - 1e-6) + slack
        least = weights[order[before < share * weights.sum()]].min(initial=1)
        weights = np.where(weights >= least * (1 - slack), weights, 0)
    return weights


def check(logits: np.ndarray, wish: Wish, uniform: np.ndarray) -> None:
    """One row for each of `uniform`: the id at which the distribution passes it."""
    rows = np.broadcast_to(logits, (len(uniform), len(logits)))
    tokens, totals = draw(rows, uniform, [wish] * len(uniform))
    assert ((tokens >= 0) & (tokens < len(logits))).all()
    finite = logits.astype(np.float64)
    wanted = logits.max() + np.log(np.exp(finite - finite.max()).sum())
    np.testing.assert_allclose(totals, wanted, rtol=1e-6, atol=2e-6)
    if wish.temperature == 0:
        assert (tokens == logits.argmax()).all()
        return
    # float32 may round a filter's border, or the distribution's, the other way.
    assert (weights_of(logits, wish, slack=1e-4)[tokens] > 0).all()
    weights = weights_of(logits, wish)
    after = np.cumsum(weights) / weights.sum()
    before = after - weights / weights.sum()
    assert (before[tokens] <= uniform + 1e-3).all()
    assert (after[tokens] >= uniform - 1e-3).all()


WISHES = [
    Wish(),
    Wish(temperature=0.0),
    Wish(temperature=0.5),
    Wish(temperature=2.0),
    Wish(top_k=1),
    Wish(top_k=40),
    Wish(top_k=5000, temperature=3.0),
    Wish(top_p=0.7),
    Wish(top_p=0.999, temperature=4.0),
    Wish(top_p=1e-6),
    Wish(min_p=0.05),
    Wish(min_p=1.0),
    Wish(temperature=1.5, top_k=20, top_p=0.8, min_p=0.02),
    Wish(temperature=0.01, top_k=3, top_p=0.5),
]


@pytest.mark.parametrize("vocabulary", [1, 2, 15, 64, 513, 3001, 262144, 262145])
@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_a_grid_of_uniforms_inverts_the_filtered_distribution(vocabulary, wish):
    logits = 3 * np.random.default_rng(vocabulary).normal(size=vocabulary).astype(np.float32)
    count = 200 if vocabulary < 10000 else 40
    uniform = np.concatenate([np.arange(count) / count, [JUST_BELOW_ONE]]).astype(np.float32)
    check(logits, wish, uniform)


@given(
    logits=st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=700),
    temperature=st.sampled_from([0.3, 1.0, 3.0]),
    top_k=st.integers(0, 20),
    top_p=st.one_of(st.just(1.0), st.floats(0.01, 1.0)),
    min_p=st.one_of(st.just(0.0), st.floats(0.0, 1.0)),
)
@settings(max_examples=100, deadline=None)
def test_a_draw_is_never_outside_the_filters(logits, temperature, top_k, top_p, min_p):
    wish = Wish(temperature, top_k, top_p, min_p)
    values = np.array(logits, np.float32)
    uniform = np.linspace(0, JUST_BELOW_ONE, 16).astype(np.float32)
    tokens, _ = draw(np.broadcast_to(values, (16, len(values))), uniform, [wish] * 16)
    assert (weights_of(values, wish, slack=1e-4)[tokens] > 0).all()


@pytest.mark.parametrize("wish", [Wish(top_k=5), Wish(top_p=0.3), Wish(top_k=5, top_p=0.3)])
def test_ids_as_likely_as_the_last_that_stays_stay_too(wish):
    logits = np.zeros(2000, np.float32)
    logits[::2] = -1.0
    uniform = (np.arange(1000) + 0.5) / 1000
    tokens, _ = draw(np.broadcast_to(logits, (1000, 2000)), uniform, [wish] * 1000)
    assert (tokens == 2 * np.arange(1000) + 1).all()


def test_frequencies_follow_the_filtered_distribution():
    rng = np.random.default_rng(0)
    logits = (2 * rng.normal(size=96)).astype(np.float32)
    wish = Wish(temperature=1.5, top_k=30, top_p=0.9, min_p=0.01)
    count = 20000
    tokens, _ = draw(np.broadcast_to(logits, (count, 96)), rng.random(count), [wish] * count)
    wanted = weights_of(logits, wish)
    wanted *= count / wanted.sum()
    found = np.bincount(tokens, minlength=96)
    assert (found[wanted == 0] == 0).all()
    likely = wanted > 5
    chi2 = ((found - wanted)[likely] ** 2 / wanted[likely]).sum()
    degrees = likely.sum() - 1
    # Five standard deviations above the mean of the chi-squared distribution.
    assert chi2 <= degrees + 5 * np.sqrt(2 * degrees)


def test_rows_are_independent_of_their_neighbours_bit_for_bit():
    rng = np.random.default_rng(1)
    logits = (3 * rng.normal(size=(64, 3000))).astype(np.float32)
    uniform = rng.random(64).astype(np.float32)
    wishes = [WISHES[i % len(WISHES)] for i in range(64)]
    tokens, totals = draw(logits, uniform, wishes)
    for row in range(0, 64, 5):
        alone = draw(logits[row : row + 1], uniform[row : row + 1], wishes[row : row + 1])
        assert (alone[0][0], alone[1][0]) == (tokens[row], totals[row])
    without = [Wish(wish.temperature) for wish in wishes]
    plain, same = draw(logits, uniform, without)
    assert (same == totals).all()
    asks_nothing = np.array([wish == bare for wish, bare in zip(wishes, without, strict=True)])
    assert (plain == tokens)[asks_nothing].all()


def test_rows_that_are_not_live_change_nothing():
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(9, 700)).astype(np.float32)
    live = np.array([0, -1, 3, -1, -1, 5, 0, -1, 2])
    logits[live < 0] = np.nan
    uniform = rng.random(9).astype(np.float32)
    wishes = [Wish(), Wish(top_k=3), Wish(top_p=0.5)] * 3
    some = draw(logits, uniform, wishes, live)
    kept = live >= 0
    alone = draw(logits[kept], uniform[kept], [w for w, k in zip(wishes, kept, strict=True) if k])
    for found, wanted in zip(some, alone, strict=True):
        assert (found[kept] == wanted).all()
    draw(logits, uniform, wishes, np.full(9, -1))


@pytest.mark.parametrize("wish", [Wish(), Wish(top_k=2), Wish(top_p=0.9), Wish(min_p=1e-30)])
def test_impossible_ids_are_never_drawn_even_at_the_ends_of_the_range(wish):
    logits = np.full((3, 1500), -np.inf, np.float32)
    logits[:, [700, 1100]] = 0.0
    tokens, total = draw(logits, [0.0, 0.5, JUST_BELOW_ONE], [wish] * 3)
    assert tokens.tolist() == [700, 1100, 1100]
    np.testing.assert_allclose(total, np.log(2), rtol=1e-6)


@pytest.mark.parametrize("wish", WISHES, ids=str)
@pytest.mark.parametrize("fill", [np.nan, -np.inf, np.inf, 3e38, -3e38])
@pytest.mark.parametrize("places", ["all", "some", "first", "all but one"])
def test_logits_that_are_no_numbers_still_give_an_id_of_the_vocabulary(wish, fill, places):
    logits = np.random.default_rng(3).normal(size=(4, 1000)).astype(np.float32)
    where = {
        "all": np.ones(1000, bool),
        "some": np.arange(1000) % 3 == 0,
        "first": np.arange(1000) == 0,
        "all but one": np.arange(1000) != 500,
    }[places]
    logits[:, where] = fill
    tokens, _ = draw(logits, [0.0, 0.3, 0.7, JUST_BELOW_ONE], [wish] * 4)
    assert ((tokens >= 0) & (tokens < 1000)).all()


@pytest.mark.parametrize(
    "wish",
    [
        Wish(temperature=float("nan")),
        Wish(temperature=float("inf")),
        Wish(top_p=float("nan"), top_k=3),
        Wish(min_p=float("nan"), top_k=3),
        Wish(top_p=-1.0),
        Wish(min_p=7.0),
        Wish(top_k=-4),
        Wish(top_k=2**31 - 1),
    ],
    ids=str,
)
def test_senseless_wishes_still_give_an_id_of_the_vocabulary(wish):
    logits = np.random.default_rng(4).normal(size=(3, 1000)).astype(np.float32)
    tokens, _ = draw(logits, [0.0, 0.5, JUST_BELOW_ONE], [wish] * 3)
    assert ((tokens >= 0) & (tokens < 1000)).all()


def test_arrays_of_another_type_or_shape_are_refused():
    with pytest.raises(Exception, match="draw: shapes"):
        draw(np.zeros((2, 5)), [0.5, 0.5], [Wish()])
    ones = jnp.ones(1, jnp.float32)
    with pytest.raises(Exception, match="dtype"):
        ops.draw(jnp.ones((1, 5)), jnp.zeros(1, jnp.int32), ones, ones, ones, ones, ones)
