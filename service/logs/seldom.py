"""Warnings that clients can cause as often as they like: told at once, then counted."""

import asyncio
import logging
from typing import Any

EVERY_S = 10.0


class Seldom:
    """On the event loop's thread only. The first of a kind is told; of those that follow only how
    many there were, every so many seconds. Kinds are few, and never a client's words."""

    def __init__(self, log: logging.Logger, every_s: float = EVERY_S) -> None:
        self._log = log
        self._every_s = every_s
        self._more: dict[str, int] = {}

    def tell(self, kind: str, **facts: Any) -> None:
        if kind in self._more:
            self._more[kind] += 1
            return
        self._log.warning("%s", kind, extra={"facts": facts})
        self._begin(kind)

    def _begin(self, kind: str) -> None:
        self._more[kind] = 0
        asyncio.get_running_loop().call_later(self._every_s, self._sum_up, kind)

    def _sum_up(self, kind: str) -> None:
        more = self._more.pop(kind)
        if more:
            facts = {"count": more}
            self._log.warning("%s: %d more", kind, more, extra={"facts": facts})
            self._begin(kind)
