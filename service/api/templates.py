"""Chunks of a stream that differ in a few values: the rest of them is encoded once."""

import uuid
from typing import Any

import msgspec

_SLOT = uuid.uuid4().hex
"""No caller can know it, so nothing that a caller names is taken for one."""


def slot(number: int) -> str:
    """Stands for the value at `number` in a payload that becomes a template."""
    return f"{_SLOT}.{number}"


class Template:
    """The bytes of `before`, the payload as JSON and `after`, with its slots to be filled.

    payload: holds slot(0), slot(1)... in the order in which they are encoded.
    """

    def __init__(self, payload: Any, slots: int, before: bytes = b"", after: bytes = b"") -> None:
        rest = before + msgspec.json.encode(payload) + after
        self._parts: list[bytes] = []
        for number in range(slots):
            part, found, rest = rest.partition(f'"{slot(number)}"'.encode())
            assert found, f"slot {number} is not in the payload, or out of order"
            self._parts.append(part)
        self._last = rest
        self._encode = msgspec.json.Encoder().encode

    def fill(self, *values: Any) -> bytes:
        """values: as many as there are slots, each encoded as JSON."""
        written = [self._last]
        for part, value in zip(reversed(self._parts), reversed(values), strict=True):
            written += (self._encode(value), part)
        written.reverse()
        return b"".join(written)
