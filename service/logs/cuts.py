"""Clients that the server turned away or cut below HTTP, where no request has a line of its own."""

import asyncio
import logging

from service.guard.writing import CutReason
from service.logs.seldom import Seldom
from service.metrics import Metrics

log = logging.getLogger("pollux.connections")

TOLD: dict[CutReason, str] = {
    "slow_reader": "a client that does not read was cut",
    "slow_head": "a client that sent no whole request head in time was cut",
    "large_head": "a client whose request head is too large was cut",
    "not_http": "a client that does not speak HTTP was cut",
    "too_many_connections": "a connection was refused: there are too many",
    "no_pong": "a WebSocket whose client answers no ping was cut",
}


class Cuts:
    """Counted each, logged seldom."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._seldom = Seldom(log)

    def __call__(self, reason: CutReason, transport: asyncio.BaseTransport) -> None:
        self._metrics.count(self._metrics.cut, reason=reason)
        peer = transport.get_extra_info("peername")
        client = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) and len(peer) > 1 else "unknown"
        self._seldom.tell(TOLD[reason], reason=reason, client=client)
