"""Wishes on the device against float64 references; nobody's wish is another row's concern."""

from functools import cache, partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import MAX_LOGPROBS
from model.engine import wishes as module
from model.engine.compilations import compilations
from model.engine.resampling import Resampled, Resampler, adjust, likeliest, penalise
from model.engine.sampling import sample
from model.engine.step import Chosen
from model.engine.wishes import WishFiller, penalty_entries
from model.kernels.library import load_kernels
from tests.model.engine.test_sampling import rows as sampling_rows
from tests.model.engine.wishing import Story, bits

VOCAB = 96
EOS = (94, 95)
ROOM = 16
"""Penalty entries of a call here, so that rows need several."""

_penalise, _adjust = jax.jit(penalise), jax.jit(adjust)


@pytest.fixture(autouse=True)
def few_entries(monkeypatch):
    monkeypatch.setattr(module, "PENALTY_ENTRIES", ROOM)


@pytest.fixture(params=["plain", "compiled"])
def compiled(request) -> bool:
    if request.param == "compiled" and load_kernels() is None:
        pytest.skip("no C++ compiler here")
    return request.param == "compiled"


@cache
def programs(compiled: bool, vocab: int, group: int):
    return jax.jit(partial(sample, compiled=compiled)), Resampler(vocab, EOS, compiled, group)


def asked(stories: list[Story], R: int):
    """Sampling rows of the stories' paths, padding after them."""
    rows = sampling_rows(R)
    for at in range(R):
        if at >= len(stories):
            rows.live[at] = -1
            continue
        params = stories[at].sampling
        rows.temperature[at], rows.top_k[at] = params.temperature, params.top_k
        rows.top_p[at], rows.min_p[at] = params.top_p, params.min_p
        rows.seed[at] = (params.seed >> 32, params.seed & 0xFFFFFFFF)
        rows.position[at] = len(stories[at].path.tokens)
    return rows


def drawn(logits, stories, compiled, masks=None, garbage=False):
    """What a step and, if there is a wish, its second program say: plain and resampled."""
    R, vocab = logits.shape
    rows = asked(stories, R)
    inputs = np.zeros(R, np.int32)
    inputs[: len(stories)] = [story.newest for story in stories]
    first, resampler = programs(compiled, vocab, 3 if R <= 8 else 128)
    plain = first(logits, rows)
    masks = {at: bits(allowed, vocab) for at, allowed in (masks or {}).items()}
    wishes = WishFiller(vocab, EOS).fill([story.output() for story in stories], R, masks)
    if wishes is None:
        return plain, Resampled(plain.token, plain.logprob, None, None, None)
    if garbage:
        for values in wishes.rows:
            values[len(stories) :] = np.ones((), values.dtype)
    chosen = Chosen(logits, inputs, plain)
    result, carry = resampler(np.full(4, -7, np.int32), chosen, rows, wishes)
    tokens = np.asarray(result.token)
    assert np.asarray(carry).tolist() == [*tokens[:4].tolist(), *[-7] * (4 - R)]
    return plain, Resampled(*map(np.asarray, result))


def adjusted(logits, stories, masks=None) -> np.ndarray:
    """The device's logits after all wishes, [len(stories), V]."""
    R, vocab = logits.shape
    masks = {at: bits(allowed, vocab) for at, allowed in (masks or {}).items()}
    wishes = WishFiller(vocab, EOS).fill([story.output() for story in stories], R, masks)
    inputs = np.array([story.newest for story in stories], np.int32)
    changed, seen = logits, np.zeros(R, bool)
    for entries in penalty_entries(wishes.held, range(R), vocab):
        changed, seen = _penalise(changed, seen, entries, wishes.rows, inputs)
    allowed = wishes.allowed
    if allowed is None:
        allowed = np.full((R, -(-vocab // 32)), 2**32 - 1, np.uint32)
    return np.asarray(_adjust(changed, seen, wishes.rows, allowed, inputs))


ids = st.integers(1, VOCAB - 3)
wished = st.fixed_dictionaries(
    {"seed": st.integers(0, 2**63 - 1)},
    optional={
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "repetition_penalty": st.floats(0.1, 10),
        "logit_bias": st.lists(st.tuples(ids, st.floats(-100, 100)), max_size=4).map(tuple),
        "min_tokens": st.integers(0, 5),
        "logprobs": st.integers(0, MAX_LOGPROBS),
        "temperature": st.sampled_from([0.0, 0.7, 2.0]),
        "top_k": st.integers(0, 9),
    },
)
stories = st.builds(
    lambda prompt, generated, sampling: Story(
        prompt, generated=generated, ignore_eos=False, **sampling
    ),
    st.lists(ids, min_size=1, max_size=30),
    st.lists(ids, max_size=30),
    wished,
)


def some_logits(seed: int, R: int, vocab: int = VOCAB) -> np.ndarray:
    return (3 * np.random.default_rng(seed).normal(size=(R, vocab))).astype(np.float32)


@given(
    told=st.lists(stories, min_size=4, max_size=4), later=st.lists(ids, max_size=3), data=st.data()
)
@settings(max_examples=60, deadline=None)
def test_adjusted_logits_are_those_of_the_textbook(told, later, data):
    for token in later:
        for story in told:
            story.goes_on(token)
    masks = data.draw(st.dictionaries(st.integers(0, 3), st.lists(ids, min_size=1)))
    # A wish that does nothing, so that there is always one.
    told[0] = Story(told[0].held, presence_penalty=1e-9)
    logits = some_logits(len(later), 4)
    found = adjusted(logits, told, masks).astype(np.float64)
    for row, story in enumerate(told):
        wanted = story.adjusted(logits[row], EOS, masks.get(row))
        possible = np.isfinite(wanted)
        assert (found[row][~possible] < -1e8).all()
        np.testing.assert_allclose(found[row][possible], wanted[possible], rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize(
    "sampling",
    [
        {"presence_penalty": 1.5},
        {"frequency_penalty": -0.5},
        {"repetition_penalty": 1.8},
        {"repetition_penalty": 0.6},
        {"logit_bias": ((3, 4.0), (40, -100.0))},
        {"presence_penalty": -1.0, "repetition_penalty": 1.3, "top_p": 0.8, "top_k": 30},
    ],
)
def test_a_changed_draw_follows_the_changed_distribution(compiled, sampling):
    count, held = 4096, [3, 5, 5, 8, 40, 41]
    told = [Story(held[:3], generated=held[3:] * 2, seed=s, **sampling) for s in range(count)]
    logits = np.repeat(some_logits(7, 1, 48), count, axis=0)
    _, result = drawn(logits, told, compiled)
    exact = told[0].adjusted(logits[0])
    weights = np.exp(exact - exact.max())
    if "top_k" in sampling:
        weights[weights < np.sort(weights)[-30]] = 0
        order = np.argsort(-weights)
        before = np.cumsum(weights[order]) - weights[order]
        weights[order[before >= 0.8 * weights.sum()]] = 0
    wanted = weights / weights.sum() * count
    found = np.bincount(result.token, minlength=48)
    assert (found[weights == 0] == 0).all()
    likely = wanted >= 5
    chi2 = ((found - wanted)[likely] ** 2 / wanted[likely]).sum()
    degrees = likely.sum() - 1
    # Five standard deviations above the mean of the chi-squared distribution.
    assert chi2 <= degrees + 5 * np.sqrt(2 * degrees) + 5
    # Reported is what the model said.
    logprobs = logits[0].astype(np.float64)
    logprobs -= np.log(np.exp(logprobs).sum())
    np.testing.assert_allclose(result.logprob, logprobs[result.token], atol=2e-5)


@given(told=st.lists(stories, min_size=1, max_size=6), masked=st.booleans())
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("by_kernel", [False, True])
def test_a_rows_wishes_never_change_another_row(by_kernel, told, masked):
    if by_kernel and load_kernels() is None:
        pytest.skip("no C++ compiler here")
    R = 8
    logits = some_logits(1, R)
    masks = {0: [5, 50]} if masked else None
    plain, together = drawn(logits, told, by_kernel, masks)
    for row, story in enumerate(told):
        # The row alone in another step, in the same place, beside others' plain draws.
        others = [Story([1], seed=9) for _ in told]
        others[row] = story
        crowd = some_logits(2, R)
        crowd[row] = logits[row]
        _, alone = drawn(crowd, others, by_kernel, {row: [5, 50]} if masked and row == 0 else None)
        assert alone.token[row] == together.token[row]
        assert alone.logprob[row] == together.logprob[row]
        params = story.sampling
        changes = params.penalises or params.logit_bias or params.min_tokens or (masks and not row)
        if not changes:
            assert together.token[row] == plain.token[row]
            assert together.logprob[row] == plain.logprob[row]


def test_wishing_for_alternatives_keeps_the_plain_token_bit_for_bit(compiled):
    told = [Story([1], seed=s, temperature=1.5, logprobs=s % 3) for s in range(256)]
    plain, result = drawn(some_logits(3, 256), told, compiled)
    assert (np.asarray(plain.token) == result.token).all()
    assert (np.asarray(plain.logprob) == result.logprob).all()


def test_penalties_that_are_off_keep_the_token_of_the_seed(compiled):
    """The same uniform number is inverted; only a border between two tokens may round."""
    logits = some_logits(4, 256)
    neutral = [Story([1, 2], seed=s, logit_bias=((7, 0.0),)) for s in range(256)]
    plain, result = drawn(logits, neutral, compiled)
    assert (np.asarray(plain.token) == result.token).mean() >= (1.0 if compiled else 0.98)
    _, again = drawn(logits, neutral, compiled)
    assert (again.token == result.token).all()


@pytest.mark.parametrize("vocab", [1, 19, 96, 500, 1536, 5000])
def test_alternatives_are_the_likeliest_in_order_of_equals_the_first(vocab):
    rng = np.random.default_rng(vocab)
    # Coarse, so that there are many equals.
    logits = (np.round(rng.normal(size=(6, vocab)) * 2) + 0.0).astype(np.float32)
    logits[5] = -np.inf
    logits[5, vocab // 2 :] = 1.0
    count = min(MAX_LOGPROBS, vocab)
    values, found = likeliest(logits, count)
    order = np.argsort(-logits, axis=-1, kind="stable")[:, :count]
    assert (np.asarray(found) == order).all()
    assert (np.asarray(values) == np.take_along_axis(logits, order, axis=-1)).all()


def test_alternatives_are_of_the_models_own_distribution_for_those_who_asked(compiled):
    logits = some_logits(5, 8)
    told = [
        Story([1, 2], generated=[5, 5], logprobs=4, repetition_penalty=3.0),
        Story([1, 2], repetition_penalty=2.0),
        Story([1, 2], logprobs=20, temperature=0.0),
    ]
    _, result = drawn(logits, told, compiled)
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(-1, keepdims=True))
    for row in (0, 2):
        order = np.argsort(-exact[row])[:20]
        assert result.top_ids[row].tolist() == order.tolist()
        np.testing.assert_allclose(result.top_logprobs[row], exact[row][order], atol=1e-5)
    # The chosen token says the same in both places.
    assert result.top_logprobs[2, 0] == result.logprob[2]
    assert not result.top_ids[[1, 3, 4, 5, 6, 7]].any()
    assert not result.top_logprobs[[1, 3, 4, 5, 6, 7]].any()


@pytest.mark.parametrize("temperature", [0.0, 1.0, 100.0])
def test_forbidden_and_masked_tokens_are_never_drawn(compiled, temperature):
    logits = some_logits(6, 512)
    logits[:, EOS] = 30.0
    told = [
        Story([1], seed=s, temperature=temperature, min_tokens=1, stop_ids=(7,), ignore_eos=False)
        for s in range(512)
    ]
    masks = {row: [7, 50, 93, 95] for row in range(0, 512, 2)}
    _, result = drawn(logits, told, compiled, masks)
    assert set(result.token[::2].tolist()) <= {50, 93}
    assert not set(result.token[1::2].tolist()) & {7, *EOS}


@pytest.mark.parametrize("vocab", [95, 96])
def test_a_mask_has_its_say_at_both_ends_of_the_vocabulary(compiled, vocab):
    told = [Story([1], seed=s, temperature=2.0) for s in range(64)]
    masks = {row: [0, vocab - 1] for row in range(64)}
    _, result = drawn(some_logits(8, 64, vocab), told, compiled, masks)
    assert set(result.token.tolist()) == {0, vocab - 1}


def test_a_mask_is_stronger_than_a_forbidden_end_and_an_empty_one_is_none(compiled):
    story = Story([1], min_tokens=3, ignore_eos=False, temperature=0.0)
    empty = Story([1], temperature=0.0)
    logits = some_logits(9, 4, 95)
    # The last word has room for one more id than there are.
    _, result = drawn(logits, [story, empty, empty], compiled, {0: [94], 1: [], 2: [95]})
    assert result.token[0] == 94
    assert result.token[1:3].tolist() == logits[1:3].argmax(-1).tolist()


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e38])
def test_padding_rows_never_leak(compiled, garbage):
    told = [
        Story([1, 2], generated=[3, 4, 3], seed=5, repetition_penalty=1.5, logprobs=3),
        Story([2], seed=6),
    ]
    logits = some_logits(10, 8)
    _, clean = drawn(logits, told, compiled)
    logits[2:] = garbage
    _, dirty = drawn(logits, told, compiled, garbage=True)
    for ours, before in zip(dirty, clean, strict=True):
        assert (ours[:2] == before[:2]).all()
        assert not ours[2:].any()


def test_a_penalised_row_answers_to_what_it_holds_not_to_its_neighbour(compiled):
    """One row's newest token is among another's entries."""
    logits = np.zeros((2, VOCAB), np.float32)
    logits[:, 10], logits[:, 20] = 3.0, 2.0
    told = [
        Story([1], generated=[20, 20, 20], temperature=0.0, frequency_penalty=2.0),
        Story([1], generated=[10, 30], temperature=0.0, presence_penalty=2.0),
    ]
    _, result = drawn(logits, told, compiled)
    assert result.token.tolist() == [10, 20]


def test_all_that_wishes_run_is_compiled_in_the_warm_up(monkeypatch):
    monkeypatch.undo()
    resampler = Resampler(VOCAB, EOS, compiled=False, group=3)
    logits, rows = some_logits(11, 4), sampling_rows(4)
    chosen = jax.jit(lambda x: Chosen(x, np.zeros(4, np.int32), sample(x, rows)))(logits)
    carry = np.zeros(4, np.int32)
    resampler.warm_up(carry, chosen, rows)
    before = compilations()
    told = [Story(range(1, 90), generated=[4], repetition_penalty=2.0, logprobs=3)] * 4
    for masks in (None, {1: bits([3], VOCAB)}):
        wishes = WishFiller(VOCAB, EOS).fill([story.output() for story in told], 4, masks)
        resampler(carry, chosen, rows, wishes)
    assert compilations() == before


def test_certainty_is_over_tokens_and_not_over_the_padding_of_the_vocabulary():
    logits, rows = some_logits(5, 4), sampling_rows(4)
    used = VOCAB - 9
    logits[:, used:] = 30.0
    resampler = Resampler(VOCAB, EOS, compiled=False, group=3, used=used)
    told = [Story([1], certainty=certain) for certain in (True, False, True, True)]
    wishes = WishFiller(VOCAB, EOS).fill([story.output() for story in told], 4)
    chosen = Chosen(logits, np.ones(4, np.int32), sample(logits, rows))
    result, _ = resampler(np.zeros(4, np.int32), chosen, rows, wishes)
    exact = logits[:, :used].astype(np.float64)
    logp = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    wanted = -logp.mean(-1) - np.log(used)
    wanted[1] = 0
    assert np.asarray(result.certainty) == pytest.approx(wanted, abs=1e-5)
    uniform = Chosen(np.zeros_like(logits), chosen.inputs, chosen.sampled)
    result, _ = resampler(np.zeros(4, np.int32), uniform, rows, wishes)
    assert np.asarray(result.certainty) == pytest.approx(0, abs=1e-6)
