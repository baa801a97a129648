"""How sure a path was, against the definitions written out."""

import random
from math import inf, isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import SamplingParams, TokenLogprob
from routing.confidence import TOP, WINDOW, PathConfidence, measuring


def token(logprob: float, certainty: float | None = None, top: int = TOP) -> TokenLogprob:
    alternatives = tuple((place, logprob - place) for place in range(top))
    return TokenLogprob(id=1, logprob=logprob, top=alternatives, certainty=certainty)


def fed(tokens: list[TokenLogprob], chunk: int = 7) -> PathConfidence:
    confidence = PathConfidence()
    for start in range(0, len(tokens), chunk):
        confidence.take(tokens[start : start + chunk])
    return confidence


def lowest_group(tokens: list[TokenLogprob]) -> float:
    each = [-sum(logprob for _, logprob in token.top[:TOP]) / TOP for token in tokens]
    if len(each) < WINDOW:
        return sum(each) / len(each)
    groups = [each[end - WINDOW : end] for end in range(WINDOW, len(each) + 1)]
    return min(sum(group) / WINDOW for group in groups)


@pytest.mark.parametrize("length", [1, 5, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
@given(seed=st.integers(0, 10**6), chunk=st.integers(1, 300))
@settings(max_examples=10, deadline=None)
def test_measures_are_as_defined_however_the_tokens_come(
    length: int, seed: int, chunk: int
) -> None:
    source = random.Random(seed)
    tokens = [token(-source.random() * 9, source.random() * 5) for _ in range(length)]
    confidence = fed(tokens, chunk)
    assert confidence.tokens == length
    assert confidence.mean_logprob == pytest.approx(sum(t.logprob for t in tokens) / length)
    certainties = [t.certainty or 0 for t in tokens]
    assert confidence.self_certainty == pytest.approx(sum(certainties) / length)
    assert confidence.group_confidence == pytest.approx(lowest_group(tokens))


def test_one_unsure_stretch_is_what_group_confidence_sees() -> None:
    sure, unsure = token(-9.0), token(-1.0)
    mixed = [sure] * 400 + [unsure] * WINDOW + [sure] * 400
    assert fed(mixed).group_confidence == pytest.approx(lowest_group([unsure]))


def test_more_alternatives_than_five_change_nothing() -> None:
    few, many = [token(-1.0)] * 9, [token(-1.0, top=20)] * 9
    assert fed(few).group_confidence == fed(many).group_confidence


def test_what_was_not_measured_is_none() -> None:
    nothing = PathConfidence()
    assert (nothing.mean_logprob, nothing.self_certainty, nothing.group_confidence) == (None,) * 3
    bare = fed([token(-1.0, 0.5), token(-1.0, None, top=0)])
    assert bare.mean_logprob == -1.0
    assert bare.self_certainty is None
    assert bare.group_confidence is None
    # Also when it comes later.
    assert fed([token(-1.0, None, top=0), token(-1.0, 0.5)]).self_certainty is None


def test_infinities_become_numbers() -> None:
    odd = TokenLogprob(id=1, logprob=-inf, top=tuple((i, -inf) for i in range(5)), certainty=inf)
    confidence = fed([odd])
    for measure in (
        confidence.mean_logprob,
        confidence.self_certainty,
        confidence.group_confidence,
    ):
        assert measure is not None
        assert isfinite(measure)


def test_sampling_asks_for_what_a_measure_needs_and_nothing_more() -> None:
    base = SamplingParams(max_tokens=5, temperature=0.7, seed=3)
    wanted = {
        name: (measuring(base, name).logprobs, measuring(base, name).certainty)
        for name in ("mean_logprob", "self_certainty", "group_confidence")
    }
    assert wanted == {
        "mean_logprob": (0, False),
        "self_certainty": (0, True),
        "group_confidence": (5, False),
    }
    assert measuring(base, "mean_logprob").seed == 3


def test_tokens_that_a_constraint_put_in_are_passed_over() -> None:
    chosen = [token(-1.0, certainty=2.0), token(-2.0, certainty=4.0)]
    put_in = TokenLogprob(id=1, logprob=0.0)
    mixed = fed([chosen[0], put_in, chosen[1], put_in])
    assert mixed.self_certainty == fed(chosen).self_certainty == 3.0
    assert mixed.group_confidence == fed(chosen).group_confidence
    assert mixed.tokens == 4
