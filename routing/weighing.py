"""Votes that weigh what their paths' confidence says: apart from the exact rule, which counts.

An answer wins when its share of the weight of all finished paths is above tau; paths without a
usable answer keep theirs in the whole. There is no early stop: any path may weigh anything.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import exp, fsum

from routing.confidence import PathConfidence, Weighting
from routing.stopping import OnDisagreement, Verdict
from routing.tally import tie_order


def weight_of(confidence: PathConfidence, weighting: Weighting) -> float | None:
    """Not negative. 0 for a path without tokens; None when the worker did not measure it.

    The mean logprob is turned into a probability (the geometric mean of the tokens'), because a
    weight must grow with confidence and be positive; the other two are positive as they are.
    """
    if confidence.tokens == 0:
        return 0.0
    match weighting:
        case "mean_logprob":
            mean = confidence.mean_logprob
            return None if mean is None else exp(mean)
        case "self_certainty":
            measured = confidence.self_certainty
        case "group_confidence":
            measured = confidence.group_confidence
    return None if measured is None else max(0.0, measured)


def shares(ballots: Iterable[tuple[str | None, float]], greedy: str | None) -> dict[str, float]:
    """Each answer's part of the whole weight, the winning one first. Empty without any weight.

    ballots: answer (None: no usable one) and weight of each path. The sums are exact up to one
    rounding, so that the order of paths cannot matter.
    """
    cast = list(ballots)
    whole = fsum(weight for _, weight in cast)
    if whole <= 0:
        return {}
    parts = {
        answer: fsum(weight for given, weight in cast if given == answer) / whole
        for answer in {given for given, _ in cast if given is not None}
    }
    ranked = sorted(parts, key=lambda answer: (-parts[answer], *tie_order(answer, greedy)))
    return {answer: parts[answer] for answer in ranked}


def weigh(
    parts: Mapping[str, float],
    tau: Fraction,
    greedy: str | None,
    on_disagreement: OnDisagreement = "greedy",
) -> Verdict:
    """The outcome over `shares`. Without any weight there is no consensus."""
    leader = next(iter(parts), None)
    if leader is not None and parts[leader] > tau:
        return Verdict("majority", leader)
    if on_disagreement == "abstain":
        return Verdict("abstain", None)
    if on_disagreement == "best_effort" and leader is not None:
        return Verdict("best_effort", leader)
    return Verdict("greedy", greedy)
