"""Responses that can be read, continued and deleted: in this process's memory, for a while."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from service.api.openai.responses.conversation import Item

MAX_RESPONSES = 10_000
MAX_BYTES = 128 * 1024 * 1024
"""Of all together."""
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""Of one with its conversation; a larger one is not kept."""
LIFETIME_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished response.

    owner: whose it is; None where callers are not told apart. body: the response object as JSON.
    items: what the model was given, earlier turns included, without instructions. output: what
    it said. logprobs: whether the body has them.
    """

    owner: str | None
    body: bytes
    items: tuple[Item, ...]
    output: tuple[Item, ...]
    logprobs: bool

    @property
    def conversation(self) -> tuple[Item, ...]:
        return (*self.items, *self.output)

    @property
    def size(self) -> int:
        """Bytes, from above: turns that conversations share are counted in each."""
        return len(self.body) + sum(item.size for item in self.conversation)


class ResponseStore:
    """Bounded in number, bytes and time; the oldest go first.

    Every entry holds its whole conversation, so that it can be continued when those before it
    are gone. Not thread-safe: the event loop is its only user. clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        max_responses: int = MAX_RESPONSES,
        max_bytes: int = MAX_BYTES,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        lifetime: float = LIFETIME_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._max_response_bytes = min(max_response_bytes, max_bytes)
        self._lifetime = lifetime
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, Kept]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def keep(self, response_id: str, kept: Kept) -> bool:
        """False when it is too large to be kept."""
        if kept.size > self._max_response_bytes:
            return False
        self._expire()
        self._entries[response_id] = (self._clock(), kept)
        self.bytes += kept.size
        while len(self._entries) > self._max_responses or self.bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
        return True

    def get(self, response_id: str, owner: str | None) -> Kept | None:
        """None for an id that is unknown, too old or another owner's."""
        self._expire()
        _, kept = self._entries.get(response_id, (0.0, None))
        return kept if kept is not None and kept.owner == owner else None

    def delete(self, response_id: str, owner: str | None) -> bool:
        if self.get(response_id, owner) is None:
            return False
        self._drop(response_id)
        return True

    def _expire(self) -> None:
        oldest = self._clock() - self._lifetime
        while self._entries:
            response_id, (born, _) = next(iter(self._entries.items()))
            if born >= oldest:
                return
            self._drop(response_id)

    def _drop(self, response_id: str) -> None:
        _, kept = self._entries.pop(response_id)
        self.bytes -= kept.size
