"""Conversations that were left and may be taken up again: in this process's memory, for a while."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from service.api.sessions.history import Entry

MAX_KEPT = 4_096
MAX_BYTES = 64 * 1024 * 1024
"""Of all together."""


@dataclass(frozen=True, slots=True)
class Kept:
    """owner: whose it is; None where callers are not told apart. size: bytes, roughly."""

    owner: str | None
    entries: tuple[Entry, ...]
    size: int


class Shelf:
    """Bounded in number, bytes and time; the oldest go first. clock: seconds, monotonic."""

    def __init__(self, lifetime: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Kept]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, kept: Kept, *, instead_of: str | None = None) -> str | None:
        """The handle by which it can be had: unguessable. None when it is too large. instead_of:
        an earlier handle of the same conversation, which is good no more."""
        if instead_of is not None:
            self._drop(instead_of)
        if kept.size > MAX_BYTES:
            return None
        handle = secrets.token_urlsafe(24)
        self._kept[handle] = (self._clock(), kept)
        self.bytes += kept.size
        self._trim()
        return handle

    def take(self, handle: str, owner: str | None) -> Kept | None:
        """Once. None for a handle that is unknown, too old or another owner's."""
        self._trim()
        _, kept = self._kept.get(handle, (0.0, None))
        if kept is None or kept.owner != owner:
            return None
        self._drop(handle)
        return kept

    def _trim(self) -> None:
        oldest = self._clock() - self._lifetime
        while self._kept:
            handle, (born, _) = next(iter(self._kept.items()))
            if born >= oldest and len(self._kept) <= MAX_KEPT and self.bytes <= MAX_BYTES:
                return
            self._drop(handle)

    def _drop(self, handle: str) -> None:
        _, kept = self._kept.pop(handle, (0.0, None))
        if kept is not None:
            self.bytes -= kept.size
