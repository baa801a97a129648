"""How sure a path was of its own tokens, from their logprobs as they stream in.

mean_logprob: mean natural-log probability of the sampled tokens. group_confidence: DeepConf's
lowest group confidence (arXiv 2508.15260): a token's confidence is minus the mean logprob of the
likeliest tokens at its place, a group is a sliding window of tokens, the least sure group counts.
self_certainty: mean KL divergence of the model's distribution from uniform (arXiv 2502.18581),
measured by the worker.
"""

from collections import deque
from collections.abc import Sequence

from model.contract import TokenLogprob

GROUP_TOKENS = 256
"""DeepConf's windows have 2,048 tokens, for chains of tens of thousands; ours are shorter."""
TOP_LOGPROBS = 5


class PathConfidence:
    """Fed with a path's logprobs in order. What was not measured is None."""

    def __init__(self, window: int = GROUP_TOKENS) -> None:
        self._tokens = 0
        self._logprobs = 0.0
        self._certainties: float | None = 0.0
        self._window: deque[float] = deque(maxlen=window)
        self._in_window = 0.0
        self._lowest: float | None = None
        self._has_top = True

    def take(self, logprobs: Sequence[TokenLogprob]) -> None:
        for entry in logprobs:
            self._tokens += 1
            self._logprobs += entry.logprob
            certainty: float | None = getattr(entry, "certainty", None)
            if certainty is None or self._certainties is None:
                self._certainties = None
            else:
                self._certainties += certainty
            self._take_group(entry)

    def _take_group(self, entry: TokenLogprob) -> None:
        if not entry.top:
            self._has_top = False
            return
        top = entry.top[:TOP_LOGPROBS]
        full = len(self._window) == self._window.maxlen
        if full:
            self._in_window -= self._window[0]
        confidence = -sum(logprob for _, logprob in top) / len(top)
        self._window.append(confidence)
        self._in_window += confidence
        if len(self._window) == self._window.maxlen:
            mean = self._in_window / len(self._window)
            self._lowest = mean if self._lowest is None else min(self._lowest, mean)

    @property
    def mean_logprob(self) -> float | None:
        return self._logprobs / self._tokens if self._tokens else None

    @property
    def group_confidence(self) -> float | None:
        """Of a path shorter than a window: the mean over its tokens."""
        if not self._tokens or not self._has_top:
            return None
        if self._lowest is not None:
            return self._lowest
        return self._in_window / len(self._window)

    @property
    def self_certainty(self) -> float | None:
        if not self._tokens or self._certainties is None:
            return None
        return self._certainties / self._tokens
