"""Numbered messages between two that know each other only through a broker.

A retry after a lost connection may write a message twice; a broker that restarts may lose some.
Numbers per sender and receiver make both visible, and delivery exactly once or known to be broken.
"""

from collections.abc import Iterable
from typing import Literal

MAX_PEERS = 4096
"""Peers remembered, the longest silent ones forgotten first."""


class Outgoing:
    """The next number for each receiver, from 1."""

    def __init__(self) -> None:
        self._sent: dict[str, int] = {}

    def next(self, receiver: str) -> int:
        seq = self._sent.pop(receiver, 0) + 1
        _remember(self._sent, receiver, seq)
        return seq


class Incoming:
    """Judges each number that arrives. A gap is reported once; delivery goes on behind it."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def accept(self, sender: str, seq: int) -> Literal["next", "repeated", "gap"]:
        last = self._seen.pop(sender, 0)
        _remember(self._seen, sender, max(last, seq))
        if seq <= last:
            return "repeated"
        return "next" if seq == last + 1 else "gap"


class Talked:
    """Who was written to since the last heartbeat; the others get an empty message."""

    def __init__(self) -> None:
        self._since: set[str] = set()

    def note(self, receiver: str) -> None:
        self._since.add(receiver)

    def silent(self, receivers: Iterable[str]) -> list[str]:
        """Those of `receivers` that heard nothing since the last call."""
        quiet = [receiver for receiver in receivers if receiver not in self._since]
        self._since.clear()
        return quiet


def _remember(numbers: dict[str, int], peer: str, seq: int) -> None:
    numbers[peer] = seq  # the caller popped it, so it is the youngest now
    if len(numbers) > MAX_PEERS:
        del numbers[next(iter(numbers))]
