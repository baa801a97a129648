"""How sure the model was while it wrote a path, from the probabilities of its tokens."""

from collections import deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from model.contract import SamplingParams, TokenLogprob

Weighting = Literal["mean_logprob", "self_certainty", "group_confidence"]

TOP = 5
"""Alternatives per token that group confidence is taken from."""
WINDOW = 256
"""Tokens of a group. DeepConf (arXiv 2508.15260) has 2048, for paths of tens of thousands."""
LOWEST_LOGPROB = -9999.0
"""In place of minus infinity, so that every mean is a number."""


class PathConfidence:
    """Fed with a path's `PathOutput.logprobs` as they come.

    mean_logprob: natural log, of the tokens that were sampled. self_certainty: mean over tokens
    of KL(U || p) (arXiv 2502.18581). group_confidence: a token's confidence is minus the mean of
    the TOP best logprobs at its place, a group's is the mean over WINDOW tokens, and the path's
    that of its lowest group, or the mean when it has less than one window (DeepConf). None: no
    token yet, or a token without what the measure needs. Tokens that a constraint put in (logprob
    0, nothing else) were not chosen: the last two measures pass over them.
    """

    def __init__(self) -> None:
        self._tokens = 0
        self._logprobs = 0.0
        self._certainties: float | None = 0.0
        self._certain = 0
        self._window: deque[float] | None = deque(maxlen=WINDOW)
        self._in_window = 0.0
        self._lowest_full: float | None = None

    def take(self, logprobs: Iterable[TokenLogprob]) -> None:
        for token in logprobs:
            self._tokens += 1
            self._logprobs += max(token.logprob, LOWEST_LOGPROB)
            put_in = token.logprob == 0 and token.certainty is None and not token.top
            if not put_in:
                self._take_certainty(token.certainty)
                self._take_top(token.top[:TOP])

    @property
    def tokens(self) -> int:
        """Tokens that came with a logprob."""
        return self._tokens

    @property
    def mean_logprob(self) -> float | None:
        return self._logprobs / self._tokens if self._tokens else None

    @property
    def self_certainty(self) -> float | None:
        if self._certainties is None or not self._certain:
            return None
        return self._certainties / self._certain

    @property
    def group_confidence(self) -> float | None:
        if not self._window:
            return None
        if self._lowest_full is not None:
            return self._lowest_full
        return self._in_window / len(self._window)

    def _take_certainty(self, certainty: float | None) -> None:
        if certainty is None or self._certainties is None:
            self._certainties = None
            return
        self._certainties += min(certainty, -LOWEST_LOGPROB)
        self._certain += 1

    def _take_top(self, top: tuple[tuple[int, float], ...]) -> None:
        if len(top) < TOP or self._window is None:
            self._window = None
            return
        if len(self._window) == WINDOW:
            self._in_window -= self._window[0]
        confidence = -sum(max(logprob, LOWEST_LOGPROB) for _, logprob in top) / TOP
        self._window.append(confidence)
        self._in_window += confidence
        if len(self._window) == WINDOW:
            mean = self._in_window / WINDOW
            lowest = self._lowest_full
            self._lowest_full = mean if lowest is None else min(lowest, mean)


def measuring(sampling: SamplingParams, weighting: Weighting) -> SamplingParams:
    """The same sampling, with what the measure needs to be told of each token."""
    return msgspec.structs.replace(
        sampling,
        logprobs=TOP if weighting == "group_confidence" else 0,
        certainty=weighting == "self_certainty",
    )
