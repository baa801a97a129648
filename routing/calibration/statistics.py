"""How sure a measured share or difference is."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]

_RESAMPLES = 10_000
_SEED = 20_231_206  # of the bootstrap: the same record gives the same interval


@dataclass(frozen=True)
class Interval:
    low: float
    high: float

    def includes(self, value: float) -> bool:
        return self.low <= value <= self.high


def wilson(successes: float, trials: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share (Wilson 1927). Raises ValueError without trials."""
    _check(successes, trials)
    z = float(special.ndtri((1 + confidence) / 2))
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    scale = 1 + z * z / trials
    # At 0 and 1 rounding would leave the share itself outside.
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return Interval(max(0.0, min(share, low)), min(1.0, max(share, high)))


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """The exact interval of a share, both sides (Clopper and Pearson 1934)."""
    _check(successes, trials)
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0
    return Interval(low, upper_bound(successes, trials, 1 - tail))


def upper_bound(successes: int, trials: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's upper bound, one side: the share is not above it, so confident.

    1 without trials: nothing was seen, nothing is excluded.
    """
    if successes >= trials:
        return 1.0
    return float(special.betaincinv(successes + 1, trials - successes, confidence))


def binomial_tail(successes: npt.ArrayLike, trials: npt.ArrayLike, share: npt.ArrayLike) -> Array:
    """P(X <= successes) for X ~ Binomial(trials, share), elementwise."""
    return np.asarray(special.bdtr(successes, trials, share), dtype=np.float64)


def _check(successes: float, trials: int) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no share")


@dataclass(frozen=True)
class Difference:
    """Of two arms on the same questions: the first minus the second.

    interval: paired bootstrap, 95 %. only_first, only_second: questions that one alone has right.
    p: exact McNemar test that these two are equally likely.
    """

    mean: float
    interval: Interval
    only_first: int
    only_second: int
    p: float

    @property
    def undecided(self) -> bool:
        return self.interval.includes(0.0)


def paired_difference(first: Array, second: Array) -> Difference:
    """first, second: whether (1 or 0) each question was right, shape [questions], at least one."""
    if first.shape != second.shape or first.ndim != 1 or len(first) == 0:
        raise ValueError("the arms must have answered the same questions, at least one")
    differences = first - second
    b, c = int((differences > 0).sum()), int((differences < 0).sum())
    return Difference(
        float(differences.mean()), bootstrap_mean(differences), b, c, exact_mcnemar(b, c)
    )


def bootstrap_mean(values: Array, confidence: float = 0.95) -> Interval:
    """Percentile interval of the mean over questions drawn anew.

    How often each distinct value is drawn is multinomial, so no question is drawn one by one.
    """
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(_SEED).multinomial(
        len(values), counts / len(values), size=_RESAMPLES
    )
    means = drawn @ distinct / len(values)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def interval_of_mean(right: Array) -> Interval:
    """95 %, of the share that is right: Wilson's; bootstrap where a question counts in part."""
    if np.isin(right, (0.0, 1.0)).all():
        return wilson(float(right.sum()), len(right))
    return bootstrap_mean(right)


def exact_mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of the exact test (McNemar 1947, binomial); 1 when the arms agree."""
    discordant = only_first + only_second
    return min(1.0, 2 * float(binomial_tail(min(only_first, only_second), discordant, 0.5)))
