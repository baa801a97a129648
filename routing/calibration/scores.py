"""Accuracy of arms with intervals, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from routing.calibration.arms import Trial
from routing.calibration.statistics import wilson


@dataclass(frozen=True)
class Score:
    """Of one arm. low, high: the 95 % Wilson interval. tokens: sampled, per question.

    seconds: per question, when the run was timed: its wall clock, by the arm's share of tokens.
    """

    arm: str
    questions: int
    accuracy: float
    low: float
    high: float
    invalid: float
    tokens: float
    seconds: float | None = None


def score(arm: str, trials: Sequence[Trial], seconds_per_token: float | None = None) -> Score:
    """Raises ValueError without trials."""
    if not trials:
        raise ValueError("no question has a true answer")
    n = len(trials)
    correct = sum(trial.correct for trial in trials)
    tokens = sum(trial.tokens for trial in trials) / n
    # For an average of several paths per question it is too wide rather than too narrow.
    interval = wilson(correct, n)
    return Score(
        arm=arm,
        questions=n,
        accuracy=correct / n,
        low=interval.low,
        high=interval.high,
        invalid=sum(trial.invalid for trial in trials) / n,
        tokens=tokens,
        seconds=None if seconds_per_token is None else seconds_per_token * tokens,
    )
