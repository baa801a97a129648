"""The ways to answer a question, side by side on the same recorded polls.

    greedy    the direct answer, without chain of thought
    cot       one greedy chain of thought
    path      one sampled path, on average over those recorded
    majority  the most frequent answer of k paths, however weak
    routed    majority when at least m paths agree, else greedy; stopped as early as is lossless
    mean_logprob, group_confidence, self_certainty
              the answer with the largest share of that weight, if above the same share, else greedy

An arm without an answer is wrong; ties are settled as in the vote (routing.tally).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from routing.records import RecordedPath, RecordedQuestion, replay
from routing.stopping import Poll, judge
from routing.tally import Tally
from routing.weighing import shares, weigh

WEIGHTINGS = ("mean_logprob", "group_confidence", "self_certainty")
ARMS = ("greedy", "cot", "path", "majority", "routed", *WEIGHTINGS)


class CannotJudge(ValueError):
    """The recording lacks what an arm needs. The message names both."""


@dataclass(frozen=True)
class Trial:
    """One question by one arm. correct, invalid: 0 or 1, for `path` the share of paths."""

    correct: float
    invalid: float
    tokens: float


def trials(arm: str, questions: Sequence[RecordedQuestion], k: int, min_votes: int) -> list[Trial]:
    """One per question that has a true answer, in order. Raises CannotJudge."""
    judged = [question for question in questions if question.answer is not None]
    return [_ARMS[arm](question, k, min_votes) for question in judged]


def _greedy(question: RecordedQuestion, k: int, min_votes: int) -> Trial:
    return _trial(question, question.greedy, question.greedy_tokens)


def _cot(question: RecordedQuestion, k: int, min_votes: int) -> Trial:
    if question.cot is None:
        raise CannotJudge(f"question {question.id}: no greedy chain of thought was recorded")
    return _trial(question, question.cot.answer, question.cot.tokens)


def _path(question: RecordedQuestion, k: int, min_votes: int) -> Trial:
    each = [_trial(question, path.answer, path.tokens) for path in _first(question, k)]
    return Trial(
        correct=sum(trial.correct for trial in each) / k,
        invalid=sum(trial.invalid for trial in each) / k,
        tokens=sum(trial.tokens for trial in each) / k,
    )


def _majority(question: RecordedQuestion, k: int, min_votes: int) -> Trial:
    paths = _first(question, k)
    ranked = tally_of(paths).ranked(question.greedy)
    return _trial(question, ranked[0] if ranked else None, sum(path.tokens for path in paths))


def _routed(question: RecordedQuestion, k: int, min_votes: int) -> Trial:
    paths = _first(question, k)
    verdict = judge(tally_of(paths), Poll(k, min_votes, question.greedy), "all")
    assert verdict is not None
    used = replay(question, k, min_votes).tokens
    return _trial(question, verdict.answer, question.greedy_tokens + used)


def _weighted(weighting: str) -> Callable[[RecordedQuestion, int, int], Trial]:
    def judged(question: RecordedQuestion, k: int, min_votes: int) -> Trial:
        paths = _first(question, k)
        parts = shares(
            [(path.answer, _weight(question, path, weighting)) for path in paths], question.greedy
        )
        # Strictly above the share that is just not enough votes.
        verdict = weigh(parts, Fraction(min_votes - 1, k), question.greedy)
        tokens = question.greedy_tokens + sum(path.tokens for path in paths)
        return _trial(question, verdict.answer, tokens)

    return judged


_ARMS: dict[str, Callable[[RecordedQuestion, int, int], Trial]] = {
    "greedy": _greedy,
    "cot": _cot,
    "path": _path,
    "majority": _majority,
    "routed": _routed,
    **{weighting: _weighted(weighting) for weighting in WEIGHTINGS},
}


def tally_of(paths: Sequence[RecordedPath]) -> Tally:
    tally = Tally()
    for path in paths:
        tally = tally.with_vote(path.answer)
    return tally


def _first(question: RecordedQuestion, k: int) -> Sequence[RecordedPath]:
    if len(question.paths) < k:
        raise CannotJudge(
            f"question {question.id}: {len(question.paths)} paths recorded, {k} asked"
        )
    return question.paths[:k]


def _weight(question: RecordedQuestion, path: RecordedPath, weighting: str) -> float:
    weight = weight_of(path, weighting)
    if weight is None:
        raise CannotJudge(f"question {question.id}: {weighting} was not recorded")
    return weight


def weight_of(path: RecordedPath, weighting: str) -> float | None:
    """What the path's vote counts, as in `routing.weighing`; None when it was not recorded."""
    value: float | None = getattr(path, weighting)
    if value is None:
        return None
    return math.exp(min(0.0, value)) if weighting == "mean_logprob" else max(0.0, value)


def _trial(question: RecordedQuestion, answer: str | None, tokens: float) -> Trial:
    return Trial(float(answer == question.answer), float(answer is None), tokens)
