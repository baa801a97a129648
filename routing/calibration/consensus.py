"""How far the consensus (the share of the k paths that agree) can be taken for a probability."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.calibration.statistics import Interval, wilson

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RiskCoverage:
    """If only the most agreed-on share `coverage` of questions is answered, `risk` are wrong.

    Questions of equal consensus cannot be told apart: a point per distinct consensus, highest
    first. area: mean risk over all coverages (AURC), equal ones in random order.
    """

    consensus: Array
    coverage: Array
    risk: Array
    area: float


def risk_coverage(consensus: Array, right: Array) -> RiskCoverage:
    """consensus in [0, 1]; right 1 or 0; both [questions], at least one."""
    levels, where = np.unique(-consensus, return_inverse=True)
    sizes = np.bincount(where, minlength=len(levels))
    wrong = np.bincount(where, 1 - right, minlength=len(levels))
    taken, errors = np.cumsum(sizes), np.cumsum(wrong)
    # Among the first i questions of a level, in random order, the expected errors are linear in i.
    risks = [
        (before + np.arange(1, size + 1) * w / size) / (start + np.arange(1, size + 1))
        for before, start, size, w in zip(errors - wrong, taken - sizes, sizes, wrong, strict=True)
    ]
    area = float(np.concatenate(risks).mean())
    return RiskCoverage(-levels, taken / len(right), errors / taken, area)


@dataclass(frozen=True)
class Bin:
    """Questions of similar consensus: its mean, and the share that the majority has right."""

    questions: int
    consensus: float
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Reliability:
    """bins: by consensus, lowest first. ece: expected calibration error over them. brier: mean
    squared distance of consensus and being right."""

    bins: tuple[Bin, ...]
    ece: float
    brier: float


def reliability(consensus: Array, right: Array, bins: int = 10) -> Reliability:
    """Bins of equal mass, as far as equal consensus stays together. Arguments as above."""
    _, where = np.unique(consensus, return_inverse=True)
    share_below = np.cumsum(np.bincount(where)) - np.bincount(where) / 2
    group = np.minimum((share_below / len(right) * bins).astype(int), bins - 1)[where]
    found = tuple(_bin(consensus[group == g], right[group == g]) for g in np.unique(group))
    ece = sum(b.questions * abs(b.consensus - b.accuracy) for b in found) / len(right)
    return Reliability(found, float(ece), float(((consensus - right) ** 2).mean()))


def _bin(consensus: Array, right: Array) -> Bin:
    count = len(right)
    return Bin(
        count,
        float(consensus.mean()),
        float(right.mean()),
        wilson(float(right.sum()), count),
    )
