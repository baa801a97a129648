"""Every poll that a record can tell of: all k up to what was recorded, all m.

Accuracy is exact over all subsets of the paths (`subsets`); cost is estimated (`costs`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from routing.calibration import costs, subsets
from routing.policy import MAX_K
from routing.records import RecordedQuestion

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """Means over questions, each [k_max + 1, k_max + 2]: k paths (row), m votes to win (column).

    m = 0 is always the mode (no vote, no answer), m = k + 1 always the greedy answer, and there is
    nothing beyond: NaN, as is row 0. paths, tokens: of the greedy-first plan. paths_error,
    tokens_error: their Monte Carlo error, one standard error over the table.
    """

    k_max: int
    questions: int
    accuracy: Array
    paths: Array
    tokens: Array
    paths_error: float
    tokens_error: float


def sweep(questions: Sequence[RecordedQuestion], k_max: int, seed: int = 0) -> Sweep:
    """Over the questions whose answer is known, on the first k_max paths of each.

    Raises ValueError when there is none, for k_max outside 1 to 64, and for too few paths.
    """
    if not 1 <= k_max <= MAX_K:
        raise ValueError(f"k_max must be between 1 and {MAX_K}, got {k_max}")
    accuracy = np.zeros((k_max + 1, k_max + 2))
    halves = np.zeros((2, 2, k_max + 1, k_max + 2))  # paths and tokens, twice
    known = 0
    for question in questions:
        if question.answer is None:
            continue
        paths = question.paths[:k_max]
        if len(paths) < k_max:
            raise ValueError(f"question {question.id!r}: fewer than {k_max} paths recorded")
        accuracy += subsets.accuracy(subsets.Votes.of(paths, question.greedy, question.answer))
        for half, cost in zip(
            halves, costs.two_estimates(paths, question.greedy, [seed, known]), strict=True
        ):
            half += cost.paths, cost.tokens
        known += 1
    if known == 0:
        raise ValueError("no question has a known answer")
    accuracy, halves = accuracy / known, halves / known
    exists = (np.arange(k_max + 2) <= np.arange(k_max + 1)[:, None] + 1) & (
        np.arange(k_max + 1)[:, None] > 0
    )
    paths, tokens = halves.mean(axis=0)
    # Of two estimates with error e each the distance is e sqrt 2, their mean's error e / sqrt 2.
    distance = np.abs(halves[0] - halves[1])[:, exists]
    paths_error, tokens_error = np.sqrt((distance**2).mean(axis=1)) / 2
    return Sweep(
        k_max,
        known,
        np.where(exists, accuracy, np.nan),
        np.where(exists, paths, np.nan),
        np.where(exists, tokens, np.nan),
        float(paths_error),
        float(tokens_error),
    )
