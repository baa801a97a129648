"""Accuracy of arms with intervals, and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from routing.calibration.arms import Trial

Z95 = 1.959963984540054


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
    accuracy = sum(trial.correct for trial in trials) / n
    tokens = sum(trial.tokens for trial in trials) / n
    low, high = wilson(accuracy, n)
    return Score(
        arm=arm,
        questions=n,
        accuracy=accuracy,
        low=low,
        high=high,
        invalid=sum(trial.invalid for trial in trials) / n,
        tokens=tokens,
        seconds=None if seconds_per_token is None else seconds_per_token * tokens,
    )


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share of n questions. For an average of several paths
    per question it is too wide rather than too narrow."""
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * (share * (1 - share) / n + Z95**2 / (4 * n**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
