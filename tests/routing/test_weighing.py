"""Votes that weigh: shares, outcomes, and whole polls over a worker that measures."""

import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import exp, fsum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.contract import Group, PathRequest, TokenLogprob
from routing.confidence import TOP, PathConfidence
from routing.router import RoutingFailed
from routing.stopping import Verdict
from routing.weighing import shares, weigh, weight_of
from tests.routing.questions import DIRECT, Shuffled, outcome, policy, run
from tests.scripted import Chunk, PathScript, ScriptedWorker, say

ballots = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.floats(0, 100)), max_size=20
)


@given(cast=ballots, greedy=st.sampled_from(["a", "c", None]), source=st.randoms())
def test_shares_are_parts_of_all_the_weight_in_any_order(
    cast: list[tuple[str | None, float]], greedy: str | None, source: random.Random
) -> None:
    parts = shares(cast, greedy)
    whole = fsum(weight for _, weight in cast)
    for answer, part in parts.items():
        assert part == fsum(weight for given, weight in cast if given == answer) / whole
    assert all(parts[one] >= parts[other] for one, other in pairwise(parts))
    source.shuffle(cast)
    again = shares(cast, greedy)
    assert list(again.items()) == list(parts.items())


def test_paths_without_an_answer_keep_their_weight_in_the_whole() -> None:
    assert shares([("a", 1.0), (None, 3.0)], None) == {"a": 0.25}
    assert shares([(None, 0.0), ("a", 0.0)], None) == {}


@pytest.mark.parametrize(
    ("on_disagreement", "verdict"),
    [
        ("greedy", Verdict("greedy", "g")),
        ("abstain", Verdict("abstain", None)),
        ("best_effort", Verdict("best_effort", "a")),
    ],
)
def test_a_share_wins_only_above_the_threshold(on_disagreement: Any, verdict: Verdict) -> None:
    parts = {"a": 0.5, "b": 0.25}
    assert weigh(parts, Fraction(49, 100), "g", on_disagreement) == Verdict("majority", "a")
    assert weigh(parts, Fraction(1, 2), "g", on_disagreement) == verdict
    # Nobody has any weight: there is nothing to make an effort with.
    nobody = Verdict("abstain", None) if on_disagreement == "abstain" else Verdict("greedy", "g")
    assert weigh({}, Fraction(0), "g", on_disagreement) == nobody


def test_ties_of_weight_go_to_the_greedy_answer_and_then_to_code_point_order() -> None:
    assert list(shares([("b", 1.0), ("a", 1.0)], None)) == ["a", "b"]
    assert list(shares([("b", 1.0), ("a", 1.0)], "b")) == ["b", "a"]


def test_the_mean_logprob_weighs_as_the_probability_of_a_token() -> None:
    confidence = PathConfidence()
    assert weight_of(confidence, "mean_logprob") == 0.0
    confidence.take([TokenLogprob(id=1, logprob=-1.0), TokenLogprob(id=1, logprob=-2.0)])
    assert weight_of(confidence, "mean_logprob") == pytest.approx(exp(-1.5))
    assert weight_of(confidence, "self_certainty") is None


# --- whole polls -------------------------------------------------------------------------------


def measured(
    greedy: str, paths: Sequence[tuple[str | None, float]], **options: Any
) -> ScriptedWorker:
    """Path i gives an answer, each of its tokens with the logprob (and certainty) given."""

    def script(group: Group, path: PathRequest) -> PathScript:
        if group.prompt == DIRECT:
            return say(f"Answer: {greedy}")
        answer, sure = paths[path.index]
        plain = say("no idea" if answer is None else f"Answer: {answer}")
        top = tuple((place, sure) for place in range(path.sampling.logprobs or 0))
        certainty = -sure if path.sampling.certainty else None
        scored = TokenLogprob(id=1, logprob=sure, top=top, certainty=certainty)
        return PathScript(
            tuple(Chunk(c.tokens, c.text, (scored,) * len(c.tokens)) for c in plain.chunks)
        )

    return ScriptedWorker(script, **options)


# Three of five say 4, unsure; two say 5, sure.
SPLIT: list[tuple[str | None, float]] = [
    ("4", -3.0),
    ("5", -0.1),
    ("4", -3.0),
    ("5", -0.1),
    ("4", -3.0),
]


async def test_a_sure_minority_outweighs_an_unsure_majority() -> None:
    worker = measured("9", SPLIT, schedule=Shuffled(random.Random(3)))
    asked = policy(5, 3, "full", weighting="mean_logprob")
    decision, shown = outcome(await run(worker, asked))
    assert (decision.route, decision.answer, shown.path) == ("majority", "5", 1)
    response = decision.to_response()
    assert response["voting"] == "mean_logprob"
    whole = 3 * exp(-3.0) + 2 * exp(-0.1)
    assert response["weights"] == pytest.approx(
        {"5": 2 * exp(-0.1) / whole, "4": 3 * exp(-3.0) / whole}
    )
    assert list(response["votes"].items()) == [("5", 2), ("4", 3)]
    assert response["consensus"] == [0.6, 0.6]
    assert decision.samples.run == 5
    counted, _ = outcome(await run(measured("9", SPLIT), policy(5, 3, "full")))
    assert counted.answer == "4"


@pytest.mark.parametrize("weighting", ["self_certainty", "group_confidence"])
async def test_the_other_measures_weigh_too(weighting: str) -> None:
    sure_minority = [(answer, {-3.0: -1.0, -0.1: -9.0}[sure]) for answer, sure in SPLIT]
    asked = policy(5, 3, "full", weighting=weighting)
    worker = measured("9", sure_minority)
    decision, _ = outcome(await run(worker, asked))
    assert (decision.answer, decision.voting) == ("5", weighting)
    assert decision.weights == pytest.approx({"5": 18 / 21, "4": 3 / 21})
    sampling = worker.groups[1].requests[0].sampling
    assert sampling.logprobs == (TOP if weighting == "group_confidence" else 0)


async def test_no_vote_is_weighed_before_all_paths_are_there() -> None:
    worker = measured("4", [("4", -0.1)] * 6)
    asked = policy(6, 2, "full", weighting="mean_logprob")
    decision, shown = outcome(await run(worker, asked))
    assert (decision.samples.run, decision.answer, shown.path) == (6, "4", 0)
    assert worker.groups[0].requests[0].sampling.logprobs is None


async def test_a_budget_weighs_what_has_finished() -> None:
    asked = policy(5, 3, "full", weighting="mean_logprob", budget={"paths": 1})
    decision, _ = outcome(await run(measured("9", SPLIT), asked))
    assert (decision.route, decision.answer) == ("majority", "4")
    assert (decision.limited_by, decision.limited_to) == ("paths", 1)
    spent = policy(5, 3, "full", weighting="mean_logprob", budget={"tokens": 2})
    decision, _ = outcome(await run(measured("9", SPLIT), spent))
    assert (decision.route, decision.answer, decision.weights) == ("greedy", "9", {})
    assert (decision.limited_by, decision.limited_to) == ("tokens", 0)


async def test_answers_without_weight_are_listed_last() -> None:
    worker = measured("9", [("7", -5000.0), ("8", -0.1)])
    decision, _ = outcome(await run(worker, policy(2, 1, "full", weighting="mean_logprob")))
    assert list(decision.to_response()["votes"]) == ["8", "7"]
    assert decision.weights == {"8": 1.0, "7": 0.0}


async def test_a_worker_that_does_not_measure_is_told_apart_from_an_unsure_one() -> None:
    def script(group: Group, path: PathRequest) -> PathScript | str:
        return "Answer: 4"

    asked = policy(3, 2, "full", weighting="self_certainty")
    worker = ScriptedWorker(script)
    with pytest.raises(RoutingFailed, match="does not measure self_certainty"):
        await run(worker, asked)
    assert worker.idle
