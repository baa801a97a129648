"""Whether today's questions still look like those of the calibration.

Of a fraction of the traffic all k paths are run, whatever the answer; how many votes the leading
answer gets there is compared with the calibration's distribution by the two-sample
Kolmogorov-Smirnov statistic: the largest difference of the two distribution functions. No labels
are needed. On counts of votes, which tie, the test is conservative: it alarms less often than
its level says.
"""

import math
from collections import Counter, deque
from collections.abc import Sequence

WINDOW = 500
LEVEL = 0.01
MIN_OBSERVED = 30
"""Below so many, no statement is made."""


class ConsensusDrift:
    """Compares the last `window` polls with a reference.

    reference: weight of c votes for the leading answer, c from 0 to k; any scale. questions: how
    many calibration questions it was measured on.
    """

    def __init__(self, reference: Sequence[float], questions: int, *, window: int = WINDOW) -> None:
        total = sum(reference)
        if len(reference) < 2 or total <= 0 or min(reference) < 0 or questions < 1:
            raise ValueError("the reference must be weights for 0 to k votes, not all 0")
        self.k = len(reference) - 1
        self._reference = [weight / total for weight in reference]
        self._questions = questions
        self._recent: deque[int] = deque(maxlen=window)
        self._counts: Counter[int] = Counter()

    def observe(self, votes: int) -> None:
        """votes: of the leading answer among all k paths; 0 when no path had an answer."""
        if not 0 <= votes <= self.k:
            raise ValueError(f"votes must be in [0, {self.k}], got {votes}")
        if len(self._recent) == self._recent.maxlen:
            self._counts[self._recent[0]] -= 1
        self._recent.append(votes)
        self._counts[votes] += 1

    @property
    def observed(self) -> int:
        return len(self._recent)

    @property
    def statistic(self) -> float | None:
        """Largest difference of the distribution functions, 0 to 1; None before MIN_OBSERVED."""
        if self.observed < MIN_OBSERVED:
            return None
        here = there = largest = 0.0
        for votes, expected in enumerate(self._reference):
            here += self._counts[votes] / self.observed
            there += expected
            largest = max(largest, abs(here - there))
        return largest

    @property
    def limit(self) -> float:
        """What the statistic exceeds in fewer than 1 % of windows when nothing has changed.

        Source: the asymptotic two-sample bound, sqrt(-ln(level / 2) / 2 * (1/n + 1/m)).
        """
        observed = max(self.observed, MIN_OBSERVED)
        scale = -math.log(LEVEL / 2) / 2
        return min(1.0, math.sqrt(scale * (1 / observed + 1 / self._questions)))

    @property
    def drifted(self) -> bool:
        return (statistic := self.statistic) is not None and statistic > self.limit
