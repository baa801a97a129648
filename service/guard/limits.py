"""What one key may do in a minute and at once, counted as it happens.

On the event loop's thread only. Clocks give seconds and never go back.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.errors import ApiError

Clock = Callable[[], float]

MINUTE_S = 60.0
LONGEST_WAIT_S = 86_400.0
"""What a client is told at most; it may have to come back more than once."""

_ROUNDING = 1e-6
"""A bucket that lacks less than this of what is asked has it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_sequences: int | None = None


class Bucket:
    """Holds what a minute allows, fills up at that rate, and may be overdrawn: a cost that is
    known only afterwards is taken all the same, and the debt has to be waited off."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._capacity = float(per_minute)
        self._clock = clock
        self._level = self._capacity
        self._filled = clock()

    def wait(self, amount: float = 1.0) -> float:
        """Seconds until `amount` is there; 0.0 when it is."""
        self._fill()
        lacking = amount - self._level
        return lacking * MINUTE_S / self._capacity if lacking > _ROUNDING else 0.0

    def take(self, amount: float = 1.0) -> None:
        self._fill()
        self._level -= amount

    def _fill(self) -> None:
        now = self._clock()
        gained = (now - self._filled) * self._capacity / MINUTE_S
        self._level = min(self._capacity, self._level + gained)
        self._filled = now


class Account:
    """What a key has used. identity: changes with the key, also where its name does not; it tells
    nothing of the key. `requests` and `tokens` only grow; `sequences` are those in flight."""

    def __init__(
        self, name: str, limits: Limits, clock: Clock, identity: bytes | None = None
    ) -> None:
        self.name = name
        self.identity = name.encode() if identity is None else identity
        self.requests = 0
        self.tokens = 0
        self.sequences = 0
        self._clock = clock
        self.adopt(limits)

    def adopt(self, limits: Limits) -> None:
        """New limits begin with a full minute."""
        self.limits = limits
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._requests = Bucket(requests, self._clock) if requests else None
        self._tokens = Bucket(tokens, self._clock) if tokens else None

    def begin(self) -> None:
        """One request. Raises ApiError("rate_limited") when the minute's requests are used up or
        its tokens overdrawn."""
        _require(self._requests, "requests", self.limits.requests_per_minute)
        _require(self._tokens, "tokens", self.limits.tokens_per_minute)
        if self._requests is not None:
            self._requests.take()
        self.requests += 1

    def charge(self, tokens: int) -> None:
        """Tokens that were read or sampled: known afterwards, so they may overdraw."""
        self.tokens += tokens
        if self._tokens is not None:
            self._tokens.take(tokens)

    @contextmanager
    def running(self, sequences: int) -> Iterator[None]:
        """Raises ApiError("rate_limited"), or "forbidden" when so many can never run at once."""
        most = self.limits.concurrent_sequences
        if most is not None and sequences > most:
            raise ApiError(
                "forbidden",
                f"the request needs {sequences} sequences at once (a routed question k + 1) and "
                f"this key may run {most}",
                code="too_many_sequences",
            )
        if most is not None and self.sequences + sequences > most:
            raise _limited(
                f"this key runs {self.sequences} of {most} sequences, and the request needs "
                f"{sequences}",
                retry_after=1.0,
            )
        self.sequences += sequences
        try:
            yield
        finally:
            self.sequences -= sequences


def _require(bucket: Bucket | None, what: str, per_minute: int | None) -> None:
    wait = 0.0 if bucket is None else bucket.wait()
    if wait > 0:
        seconds = min(LONGEST_WAIT_S, max(1.0, math.ceil(wait - _ROUNDING)))
        message = f"this key's {per_minute} {what} a minute are used up"
        raise _limited(f"{message}; try again in {seconds:.0f} seconds", seconds)


def _limited(message: str, retry_after: float) -> ApiError:
    return ApiError("rate_limited", message, code="rate_limit_exceeded", retry_after=retry_after)
