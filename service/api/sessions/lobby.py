"""All open sessions of an application: how many there may be, and how each one is run."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.websockets import WebSocket

from service.api.errors import known
from service.api.sessions.keeping import Keeper
from service.api.sessions.line import FAILED, Gone, Line, Over, stopping
from service.api.sessions.session import Session
from service.api.sessions.shelf import Shelf
from service.errors import ApiError
from service.gateway import Gateway
from service.logs.record import begin_session, note_error
from service.protocols import FAREWELLS

log = logging.getLogger("pollux")

PROTOCOLS = ("gemini_live", "openai_realtime")

Talk = Callable[[Session], Awaitable[None]]
"""Reads the session's line until it raises Over or Gone."""


class Lobby:
    """shelf: sessions that may be taken up again."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.shelf = Shelf(gateway.settings.session_resume_seconds)
        self._open: Counter[str] = Counter(dict.fromkeys(PROTOCOLS, 0))
        metrics = gateway.metrics
        metrics.registry.register(_OpenSessions(metrics.labels, self._open))

    @contextmanager
    def admit(self, protocol: str) -> Iterator[None]:
        """Raises ApiError("overloaded")."""
        most = self.gateway.settings.max_sessions
        if self._open.total() >= most:
            metrics = self.gateway.metrics
            metrics.count(metrics.refused, reason="overloaded")
            error = ApiError(
                "overloaded",
                f"the server already has {most} sessions open; try again shortly",
                code="rate_limit_exceeded",
                retry_after=1.0,
            )
            note_error(error)
            raise error
        self._open[protocol] += 1
        try:
            yield
        finally:
            self._open[protocol] -= 1

    async def run(self, socket: WebSocket, talk: Talk) -> None:
        """A whole session, of an accepted socket: whatever ends it, nothing of it goes on."""
        line = Line(socket, self.gateway.settings)
        keeper = Keeper(self.gateway, self.gateway.settings.session_hold_seconds)
        session = Session(self.gateway, line, keeper)
        farewells = socket.scope.get("extensions", {}).get(FAREWELLS)
        if farewells is not None:
            farewells.append(session.drain)
        over: Over | None = None
        begin_session()
        try:
            await talk(session)
        except Gone:
            pass
        except Over as end:
            over = end
            if isinstance(end.__cause__, Exception):
                note_error(known(end.__cause__))
        except asyncio.CancelledError:
            over = stopping()  # the server's, at the end of its grace
        except Exception as error:
            log.exception("a session failed")
            note_error(known(error))
            over = Over(FAILED, "the server failed; its log says why")
        finally:
            await session.close()
        if over is not None:
            await line.close(over)


class _OpenSessions(Collector):
    def __init__(self, labels: Callable[[], tuple[str, str]], counts: Counter[str]) -> None:
        self._labels = labels
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        names = ("model_name", "engine", "protocol")
        gauge = GaugeMetricFamily(
            "pollux:open_sessions", "Conversations that are open", labels=names
        )
        for protocol, count in self._counts.items():
            gauge.add_metric((*self._labels(), protocol), count)
        yield gauge
