"""Why content cannot be read. The decoders' own words never leave this package."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Reason = Literal[
    "unknown",
    "mismatch",
    "wrong_kind",
    "unreadable",
    "pixels",
    "seconds",
    "frames",
    "result",
    "memory",
    "rate",
]
"""unknown: no format that is read here. mismatch: the bytes are something else than was said.
wrong_kind: readable, but no image (sound, video). unreadable: damaged, or a codec that is not read.
pixels, seconds, frames, result, memory: a limit. rate: a sample rate that is not read."""


class BadMedia(Exception):
    """Raised by everything that decodes. It carries a word, so no text of a decoder can pass."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@contextmanager
def decoding() -> Iterator[None]:
    """Whatever a decoder raises over damaged bytes, its own, Python's and NumPy's errors, leaves
    as BadMedia."""
    try:
        yield
    except BadMedia:
        raise
    except MemoryError:
        raise BadMedia("memory") from None
    except Exception:
        raise BadMedia("unreadable") from None
