"""The connection to Redis or Valkey: how it is opened, and what is said when it breaks.

Several tasks use one broker. `Link` keeps what they know of it together: it logs one line when the
broker is lost and one when it is back, however many tasks notice, and paces their retries.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from model.wire import Timing

log = logging.getLogger("pollux.broker")

BROKEN = (RedisError, OSError, asyncio.TimeoutError)
"""What a call on a broker that is away, restarting or read-only may raise."""

FIRST_RETRY_S = 0.05


class BadBrokerURL(ValueError):
    """The URL is not of a broker that can be spoken to. One line, for a person."""


def connect(url: str) -> aioredis.Redis:
    """A client that never retries on its own, since who calls it knows what may be repeated.

    Accepts redis://, rediss:// (TLS), unix://, and the same with valkey for redis.
    Opens nothing yet. Raises BadBrokerURL.
    """
    plain = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
    try:
        return aioredis.Redis.from_url(  # type: ignore[no-any-return,unused-ignore]
            plain,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=5.0,
            socket_timeout=10.0,
        )
    except ValueError as error:
        raise BadBrokerURL(f"{shown(url)} is not a broker's URL: {error}") from error


def shown(url: str) -> str:
    """The URL without its credentials."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def entries_of(reply: Any) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """The entries in an answer to XREAD or XREADGROUP; a deleted one has no fields."""
    for _, entries in reply or ():
        for entry, fields in entries:
            yield entry, fields or {}


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks that talk to a broker and waits until they are over, whatever they raise.

    Asks more than once: redis-py sends inside `asyncio.wait_for`, which before Python 3.12 loses a
    cancellation that arrives as it ends (github.com/python/cpython/issues/86296).
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=0.1)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen: it is not reported as never retrieved


class Link:
    """What is known of the broker by everyone here who speaks to it."""

    def __init__(self, url: str, timing: Timing) -> None:
        self._name = shown(url)
        self._longest_pause = timing.heartbeat_s
        self._lost_at: float | None = None
        self._failures = 0
        self.connected = False
        self.problem = "looking for the broker"
        """What to tell who needs the broker while it is not `connected`."""
        self.since = time.monotonic()
        """When it was last found again; before that, when it was first looked for."""

    @property
    def away_s(self) -> float:
        """Seconds without the broker; 0 when it is there."""
        if self.connected:
            return 0.0
        return time.monotonic() - (self.since if self._lost_at is None else self._lost_at)

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Runs one exchange. When the broker fails it, waits a little and returns normally: the
        caller's loop tries again. Programming errors pass through."""
        try:
            yield
        except BROKEN as error:
            self._lose(error)
            await asyncio.sleep(self._pause())
        else:
            self._find()

    def _lose(self, error: BaseException) -> None:
        self._failures += 1
        if self._lost_at is not None:
            return
        self._lost_at = time.monotonic()
        self.connected = False
        self.problem = "the broker cannot be reached"
        log.warning("broker %s is away, retrying: %s", self._name, _one_line(error))

    def _find(self) -> None:
        self._failures = 0
        if self.connected:
            return
        if self._lost_at is not None:
            log.warning("broker %s is back after %.1f s", self._name, self.away_s)
        self._lost_at = None
        self.connected = True
        self.since = time.monotonic()

    def _pause(self) -> float:
        longest = min(FIRST_RETRY_S * 2.0 ** min(self._failures, 16), self._longest_pause)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 (spreads retries, no secret)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
