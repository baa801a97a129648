"""What a conversation has said so far, bounded in turns and bytes.

A turn is a `ChatMessage`, as everywhere: where those learn to carry media, sessions do.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from model.text.language import ChatMessage
from service.errors import ApiError

_OVERHEAD = 256
"""Bytes of a turn beside what it says, roughly."""


@dataclass(slots=True)
class Entry:
    """A turn that has a name."""

    id: str
    message: ChatMessage

    @property
    def size(self) -> int:
        said = sys.getsizeof(self.message.content)
        return _OVERHEAD + said + self.message.written_length


class History:
    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: list[Entry] = []
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._entries)

    def find(self, entry_id: str) -> Entry | None:
        return next((entry for entry in self._entries if entry.id == entry_id), None)

    def before(self, entry_id: str) -> str | None:
        """The id of the turn before this one."""
        place = self._place(entry_id)
        return self._entries[place - 1].id if place > 0 else None

    def add(self, entry: Entry, *, after: str | None = None, at_start: bool = False) -> None:
        """At the end unless told otherwise. Raises ApiError when the conversation is full.

        What the model says is added by `keep`: it is bounded by the answer's tokens."""
        if len(self._entries) >= self._max_entries:
            raise _full(f"{self._max_entries} turns")
        if self.bytes + entry.size > self._max_bytes:
            raise _full(f"{self._max_bytes} bytes")
        self.keep(entry, after=after, at_start=at_start)

    def keep(self, entry: Entry, *, after: str | None = None, at_start: bool = False) -> None:
        place = len(self._entries)
        if at_start:
            place = 0
        elif after is not None:
            place = self._place(after) + 1
        self._entries.insert(place, entry)
        self.bytes += entry.size

    def replace(self, entry_id: str, message: ChatMessage) -> None:
        """Nothing happens where the turn is gone."""
        entry = self.find(entry_id)
        if entry is not None:
            self.bytes -= entry.size
            entry.message = message
            self.bytes += entry.size

    def remove(self, entry_id: str) -> None:
        place = self._place(entry_id)
        self.bytes -= self._entries.pop(place).size

    def _place(self, entry_id: str) -> int:
        return next(i for i, entry in enumerate(self._entries) if entry.id == entry_id)


def _full(of: str) -> ApiError:
    return ApiError("invalid", f"the conversation is full: it may have {of}", param="messages")


def as_prompt(turns: Iterable[ChatMessage]) -> tuple[ChatMessage, ...]:
    """Neighbours of one role become one turn: what was interrupted before it said a word leaves
    two of the user's, and many templates want the roles to take turns. Of those that said nothing
    in the end nothing is left."""
    joined: list[ChatMessage] = []
    for turn in turns:
        if turn.role == "assistant" and not (turn.content or turn.tool_calls):
            continue
        last = joined[-1] if joined else None
        if last is None or last.role != turn.role or turn.role == "tool":
            joined.append(turn)
            continue
        both = [text for text in (last.content, turn.content) if text]
        joined[-1] = msgspec.structs.replace(
            last, content="\n".join(both), tool_calls=(*last.tool_calls, *turn.tool_calls)
        )
    return tuple(joined)
