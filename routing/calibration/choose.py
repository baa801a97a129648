"""Choose k and the votes to win on one half of the questions, and report on the other.

The best of hundreds of settings looks better than it is on the questions that chose it. So the
half that reports never chooses.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from routing.calibration.artefact import Arm
from routing.calibration.outcomes import Outcomes, outcomes
from routing.calibration.replays import greedy_first_cost
from routing.calibration.statistics import (
    Difference,
    Interval,
    interval_of_mean,
    paired_difference,
)
from routing.calibration.sweep import Sweep
from routing.records import RecordedQuestion

FEWEST = 2  # questions with a known answer, in either half


@dataclass(frozen=True)
class Setting:
    """k paths, min_votes to win; k + 1 votes is always the greedy answer."""

    k: int
    min_votes: int


@dataclass(frozen=True)
class ArmResult:
    """accuracy with its 95 % interval (Wilson; bootstrap where a question counts in part).

    paths, tokens: expected of the paths, as cheap as a plan that changes no answer can be, one
    path after the other. The greedy answer's own tokens count for it alone.
    """

    name: str
    accuracy: float
    interval: Interval
    paths: float
    tokens: float


@dataclass(frozen=True)
class Comparison:
    """The settings as they fared on the reporting half, and what to use."""

    setting: Setting
    questions: int
    arms: tuple[ArmResult, ...]
    routed_majority: Difference
    routed_greedy: Difference
    majority_greedy: Difference
    arm: Arm

    def of(self, name: str) -> ArmResult:
        return next(arm for arm in self.arms if arm.name == name)


def in_choosing_half(question: RecordedQuestion, seed: int = 0) -> bool:
    """By a hash of the id: a question keeps its half when others are added to the record."""
    key = f"{seed}:".encode() + msgspec.json.encode(question.id)
    return hashlib.sha256(key).digest()[0] % 2 == 0


def split(
    questions: Sequence[RecordedQuestion], seed: int = 0
) -> tuple[list[RecordedQuestion], list[RecordedQuestion]]:
    """Those with a known answer: to choose on, to report on. ValueError when either is too few."""
    known = [question for question in questions if question.answer is not None]
    choosing = [question for question in known if in_choosing_half(question, seed)]
    reporting = [question for question in known if not in_choosing_half(question, seed)]
    if min(len(choosing), len(reporting)) < FEWEST:
        raise ValueError(
            f"{len(known)} questions with a known answer are too few to choose on one half and "
            "report on the other"
        )
    return choosing, reporting


def best(sweep: Sweep, weight: float = 0.0, k: int | None = None) -> Setting:
    """The setting of highest accuracy minus weight per expected path; among equals the cheapest.

    k: only this many paths. m = 0 is left out: m = 1 answers all that it does, and more.
    """
    value = sweep.accuracy - weight * sweep.paths
    value[:, 0] = np.nan
    if k is not None:
        value[np.arange(len(value)) != k] = np.nan
    # Averages of the same numbers differ in their last digits.
    ties = np.argwhere(value >= np.nanmax(value) - 1e-12)
    paths, m = min(ties.tolist(), key=lambda cell: (sweep.paths[cell[0], cell[1]], *cell))
    if m == paths + 1:  # greedy, whatever k is: compared with the largest poll there could be
        paths = k or sweep.k_max
        m = paths + 1
    return Setting(paths, m)


def compare(questions: Sequence[RecordedQuestion], setting: Setting) -> Comparison:
    """All arms on these questions (with known answers). Raises ValueError when there is none."""
    known = [question for question in questions if question.answer is not None]
    found = outcomes(known, setting.k)
    routed = found.routed(setting.min_votes)
    routed_majority = paired_difference(routed, found.majority)
    routed_greedy = paired_difference(routed, found.greedy)
    majority_greedy = paired_difference(found.majority, found.greedy)
    return Comparison(
        setting,
        found.questions,
        arm_results(known, found, setting),
        routed_majority,
        routed_greedy,
        majority_greedy,
        simplest(routed_majority, routed_greedy, majority_greedy),
    )


def simplest(
    routed_majority: Difference, routed_greedy: Difference, majority_greedy: Difference
) -> Arm:
    """The first of greedy, majority, routed that none of the others is shown to beat."""
    if routed_greedy.interval.low <= 0 and majority_greedy.interval.low <= 0:
        return "greedy"
    if routed_majority.interval.low <= 0 and majority_greedy.interval.high >= 0:
        return "majority"
    return "routed"


def arm_results(
    questions: Sequence[RecordedQuestion], found: Outcomes, setting: Setting
) -> tuple[ArmResult, ...]:
    k = setting.k
    costs = {
        "greedy": (0.0, _mean([q.greedy_tokens for q in questions])),
        "cot": (1.0, _mean([0 if q.cot is None else q.cot.tokens for q in questions])),
        "path": (1.0, _mean([p.tokens for q in questions for p in q.paths[:k]])),
        "majority": greedy_first_cost(questions, k, 1),
        "routed": greedy_first_cost(questions, k, setting.min_votes),
    }
    all_paths = (float(k), _mean([sum(p.tokens for p in q.paths[:k]) for q in questions]))
    return tuple(
        ArmResult(name, float(right.mean()), interval_of_mean(right), *costs.get(name, all_paths))
        for name, right in found.arms(setting.min_votes).items()
    )


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
