"""What each arm answered to each question with a known answer, as arrays."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from routing.calibration.arms import WEIGHTINGS, tally_of, weight_of
from routing.records import RecordedPath, RecordedQuestion
from routing.tally import Tally, tie_order

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Weighted votes: what a path's vote counts. DeepConf (arXiv 2508.15260), self-certainty
# (arXiv 2502.18581); the mean log probability as the geometric mean of the tokens' probabilities.
WEIGHTS: Final[Mapping[str, Callable[[RecordedPath], float | None]]] = {
    f"weighted_{weighting}": partial(weight_of, weighting=weighting) for weighting in WEIGHTINGS
}


@dataclass(frozen=True)
class Outcomes:
    """k: paths polled of each question, the first recorded ones. All arrays are [questions].

    greedy: the answer without chain of thought is right (1 or 0). majority: the mode is (0 when no
    path voted). path: share of the paths that are right alone. cot: the greedy chain of thought
    is, where all questions have one. weighted: by arm, where all voting paths have the weight.
    votes: of the mode. wrong: the mode is not the true answer. invalid: paths without a vote.
    """

    k: int
    greedy: Array
    majority: Array
    path: Array
    cot: Array | None
    weighted: dict[str, Array]
    votes: Ints
    invalid: Ints

    @property
    def questions(self) -> int:
        return len(self.greedy)

    @property
    def wrong(self) -> Bools:
        return np.equal(self.majority, 0)

    @property
    def consensus(self) -> Array:
        """Share of the k paths that the mode has."""
        return self.votes / self.k

    def routed(self, min_votes: int) -> Array:
        """Right answers under the rule: the mode if it has min_votes, otherwise greedy."""
        return np.where(self.votes >= max(1, min_votes), self.majority, self.greedy)

    def arms(self, min_votes: int) -> dict[str, Array]:
        """All arms by name, those of fewest paths first."""
        alone = {} if self.cot is None else {"cot": self.cot}
        return {
            "greedy": self.greedy,
            **alone,
            "path": self.path,
            "majority": self.majority,
            "routed": self.routed(min_votes),
            **self.weighted,
        }


def outcomes(questions: Sequence[RecordedQuestion], k: int) -> Outcomes:
    """Of the questions whose answer is known. Raises ValueError when there is none."""
    known = [question for question in questions if question.answer is not None]
    if not known:
        raise ValueError("no question has a known answer")
    tallies = [tally_of(question.paths[:k]) for question in known]
    modes = [mode(tally, question.greedy) for tally, question in zip(tallies, known, strict=True)]
    with_cot = all(question.cot is not None for question in known)
    return Outcomes(
        k=k,
        greedy=_flags(q.greedy == q.answer for q in known),
        majority=_flags(said == q.answer for said, q in zip(modes, known, strict=True)),
        path=np.array([sum(p.answer == q.answer for p in q.paths[:k]) / k for q in known]),
        cot=_flags(q.cot is not None and q.cot.answer == q.answer for q in known)
        if with_cot
        else None,
        weighted={
            name: _flags(weighted_mode(q, k, weight) == q.answer for q in known)
            for name, weight in WEIGHTS.items()
            if _all_have(known, k, weight)
        },
        votes=np.array([tally.most for tally in tallies]),
        invalid=np.array([tally.invalid for tally in tallies]),
    )


def weighted_mode(
    question: RecordedQuestion, k: int, weight: Callable[[RecordedPath], float | None]
) -> str | None:
    """The answer with the largest sum of weights (negative ones are 0); ties as in every vote."""
    sums: dict[str, float] = {}
    for path in question.paths[:k]:
        if path.answer is not None:
            sums[path.answer] = sums.get(path.answer, 0.0) + (weight(path) or 0.0)
    return min(sums, key=lambda a: (-sums[a], *tie_order(a, question.greedy)), default=None)


def mode(tally: Tally, greedy: str | None) -> str | None:
    """The most frequent answer; None when nothing voted."""
    return min(tally.counts, key=lambda answer: tally.place(answer, greedy), default=None)


def _flags(right: Iterable[bool]) -> Array:
    return np.array([float(flag) for flag in right])


def _all_have(
    questions: Sequence[RecordedQuestion], k: int, weight: Callable[[RecordedPath], float | None]
) -> bool:
    voting = [p for q in questions for p in q.paths[:k] if p.answer is not None]
    return bool(voting) and all(weight(path) is not None for path in voting)
