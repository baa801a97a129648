"""What can be promised about answers that a majority gave.

    Under i.i.d. traffic from the calibration distribution and this exact configuration, with
    confidence 1 - delta, the error rate among majority-routed answers is at most alpha.

Given how many questions a threshold m routes to the majority, the wrong ones among them are
binomial with the error rate in question. For an m that was fixed without looking at these
questions, Clopper and Pearson's upper bound is such an alpha. For an m that is chosen on them,
Learn then Test (arXiv 2110.01052) with fixed sequence testing: from strict to loose, each m is
tested at level delta, and the first failure ends it. The error rate need not fall with m: that is
why the order is fixed, and why nothing below the first failure counts.

"Majority-routed" is by the full poll. A poll that stops greedy-first leaves the route open
(`either`) where the majority would have agreed with the greedy answer; those it does call
majority are then mostly the others, a harder lot, to which this promise does not apply.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.calibration.statistics import binomial_tail, upper_bound

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Bound:
    """At one threshold m of k: `errors` of `routed` majority answers were wrong.

    upper: the error rate is at most this, with confidence 1 - delta, if m was fixed beforehand.
    sequential: the least alpha for which a sequence of tests from strict to loose gets here.
    """

    m: int
    routed: int
    errors: int
    upper: float
    sequential: float


@dataclass(frozen=True)
class Chosen:
    """What Learn then Test found. m: the loosest threshold that holds alpha; None: none does.

    bounds: of all thresholds from `start` down to 1. least_alpha: below it no threshold is
    certified on these questions (1 when nothing is routed at the start).
    """

    alpha: float
    delta: float
    start: int
    m: int | None
    least_alpha: float
    bounds: tuple[Bound, ...]


def bound(votes: Ints, wrong: Bools, m: int, delta: float = 0.05) -> Bound:
    """For an m fixed beforehand.

    votes: of the winner, among the k paths of each question; wrong: whether it is. [questions].
    """
    _check_level(delta, "delta")
    routed, errors = _counts(votes, wrong, m)
    upper = upper_bound(errors, routed, 1 - delta)
    return Bound(m, routed, errors, upper, upper)


def learn_then_test(
    votes: Ints, wrong: Bools, start: int, alpha: float, delta: float = 0.05
) -> Chosen:
    """start: where the sequence begins, at most k; chosen without these questions.

    An m so strict that it routes next to nothing passes no test and ends the sequence at once:
    `first_testable` finds a start on other questions.
    """
    _check_level(alpha, "alpha")
    _check_level(delta, "delta")
    if start < 1:
        raise ValueError(f"the sequence starts at 1 or more votes, not {start}")
    sequence = range(start, 0, -1)
    routed, errors = np.array([_counts(votes, wrong, m) for m in sequence]).T
    passed = int(passed_in_sequence(routed, errors, alpha, delta))
    bounds, worst = [], 0.0
    for m, n, e in zip(sequence, routed.tolist(), errors.tolist(), strict=True):
        upper = upper_bound(e, n, 1 - delta)
        worst = max(worst, upper)
        bounds.append(Bound(m, n, e, upper, worst))
    return Chosen(
        alpha,
        delta,
        start,
        start - passed + 1 if passed else None,
        bounds[0].sequential,
        tuple(bounds),
    )


def passed_in_sequence(routed: Ints, errors: Ints, alpha: float, delta: float) -> Ints:
    """How many times "the error rate is above alpha" is rejected before the first time it is not.

    routed, errors: [..., tests], in the order of testing. Nothing routed rejects nothing.
    """
    rejected = np.where(routed > 0, binomial_tail(errors, routed, alpha), 1.0) <= delta
    return np.asarray(np.cumprod(rejected, axis=-1).sum(axis=-1))


def fewest_routed(alpha: float, delta: float) -> int:
    """With fewer answers, not one of them wrong, alpha cannot be shown: 59 for 5 % and 5 %."""
    return math.ceil(math.log(delta) / math.log1p(-alpha))


def first_testable(votes: Ints, k: int, alpha: float, delta: float) -> int:
    """The strictest m that routes enough of other questions for a test to pass; 1 if none does."""
    needed = fewest_routed(alpha, delta)
    return next((m for m in range(k, 0, -1) if int((votes >= m).sum()) >= needed), 1)


def statement(alpha: float, delta: float) -> str:
    return (
        "Under i.i.d. traffic from the calibration distribution and this exact configuration, "
        f"with confidence {100 * (1 - delta):g} %, the error rate among majority-routed answers "
        f"is at most {rounded_up(alpha)} %."
    )


def rounded_up(share: float) -> str:
    """In percent with one decimal, never below the share itself."""
    return f"{math.ceil(share * 1000 - 1e-9) / 10:.1f}"


def _counts(votes: Ints, wrong: Bools, m: int) -> tuple[int, int]:
    routed = votes >= m
    return int(routed.sum()), int((routed & wrong).sum())


def _check_level(value: float, name: str) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")
