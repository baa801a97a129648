"""A record under one rule, in numbers: what the command prints and gives as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from routing.calibration.histograms import histogram
from routing.calibration.replays import PlanName, PlanSummary, summarise
from routing.lossy import DEFAULT_EPSILON
from routing.records import RecordedQuestion

if TYPE_CHECKING:
    from routing.calibration.statistics import Interval
    from routing.calibration.study import Study


@dataclass(frozen=True)
class ArmShare:
    name: str
    accuracy: float
    interval: "Interval"


@dataclass(frozen=True)
class Overview:
    """tau: as given; None when the votes were. to_majority: questions that all k paths send to the
    majority. arms: on `judged` questions with a known answer; None when there is none.
    """

    k: int
    tau: float | None
    min_votes: int
    questions: int
    to_majority: int
    plans: dict[PlanName, PlanSummary]
    judged: int
    arms: tuple[ArmShare, ...] | None

    def to_json(self) -> dict[str, Any]:
        return {
            "k": self.k,
            "tau": self.tau,
            "min_votes": self.min_votes,
            "questions": self.questions,
            "plans": {name: msgspec.to_builtins(plan) for name, plan in self.plans.items()},
            "accuracy": {arm.name: arm.accuracy for arm in self.arms or ()},
        }


def overview(
    questions: Sequence[RecordedQuestion],
    k: int,
    min_votes: int,
    tau: float | None = None,
    epsilon: float = DEFAULT_EPSILON,
) -> Overview:
    """Arms on all questions with a known answer. Raises BadRecord for fewer than k paths."""
    judged = sum(question.answer is not None for question in questions)
    return Overview(
        k=k,
        tau=tau,
        min_votes=min_votes,
        questions=len(questions),
        to_majority=sum(histogram(questions, k)[min_votes:]),
        plans=summarise(questions, k, min_votes, epsilon),
        judged=judged,
        arms=_arms(questions, k, min_votes) if judged else None,
    )


def _arms(questions: Sequence[RecordedQuestion], k: int, min_votes: int) -> tuple[ArmShare, ...]:
    # Here, because scipy takes as long to load as a small record to replay.
    from routing.calibration.outcomes import outcomes
    from routing.calibration.statistics import interval_of_mean

    arms = outcomes(questions, k).arms(min_votes)
    return tuple(
        ArmShare(name, float(right.mean()), interval_of_mean(right)) for name, right in arms.items()
    )


def overview_of(study: "Study", tau: float | None = None) -> Overview:
    """Under a study's setting. Arms on the questions that report, never on those that chose."""
    return Overview(
        k=study.setting.k,
        tau=tau,
        min_votes=study.setting.min_votes,
        questions=study.questions,
        to_majority=sum(study.histogram[study.setting.min_votes :]),
        plans=study.plans,
        judged=study.reporting,
        arms=tuple(ArmShare(arm.name, arm.accuracy, arm.interval) for arm in study.comparison.arms),
    )
