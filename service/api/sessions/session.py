"""A conversation over one socket: its history, and the one turn that may run."""

import asyncio
import logging
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from service.api.errors import known
from service.api.internal import Ask
from service.api.planning import PlainPlan
from service.api.routed import RoutedPlan
from service.api.sessions.answering import Answered, TurnEvent, Used, turn_events
from service.api.sessions.history import History
from service.api.sessions.keeping import Keeper
from service.api.sessions.line import FAILED, Gone, Line, Over, stopping
from service.errors import ApiError
from service.gateway import Gateway
from service.logs.record import note_error, turn_of_session

log = logging.getLogger("pollux")
turns = logging.getLogger("pollux.access.turns")


class Voice(Protocol):
    """How one answer is told to the client. What it raises but Gone fails the turn."""

    used: Used

    async def begin(self) -> None:
        """The question can be answered; work begins."""

    async def hear(self, event: TurnEvent) -> None: ...

    async def failed(self, error: ApiError, *, begun: bool) -> None: ...


class Session:
    """On the event loop's thread only. A turn is admitted when it runs, not the session."""

    def __init__(self, gateway: Gateway, line: Line, keeper: Keeper) -> None:
        self.gateway = gateway
        self.line = line
        self.keeper = keeper
        settings = gateway.settings
        self.history = History(settings.max_messages, settings.session_max_bytes)
        self.turns = 0
        self._turn: asyncio.Task[None] | None = None
        self._ending = False
        self._draining = False

    @property
    def active(self) -> bool:
        """A turn runs that is not told to its end yet."""
        return self._turn is not None and not self._ending

    def start(self, ask: Ask, voice: Voice) -> None:
        """Answers; nothing may be running. Raises ApiError when there were too many turns, Over
        when the server is to stop."""
        assert self._turn is None, "one turn at a time"
        if self._draining:
            raise stopping()
        most = self.gateway.settings.session_max_turns
        if self.turns >= most:
            raise ApiError("invalid", f"a session may have {most} turns; begin another")
        self.turns += 1
        self.line.busy = True
        self._ending = False
        self._turn = asyncio.ensure_future(self._run(ask, voice))

    async def interrupt(self) -> bool:
        """Ends the running turn, its pages with it. Whether it was cut short: an answer that is
        whole is told to its end."""
        turn = self._turn
        if turn is None:
            return False
        if not self._ending:
            turn.cancel()
        await asyncio.wait({turn})
        self._turn = None
        self.line.rest()
        return turn.cancelled()

    def drain(self) -> None:
        """The server is to stop: the running turn may end, another may not begin."""
        self._draining = True
        if self._turn is None:
            self.line.end(stopping())

    async def close(self) -> None:
        await self.interrupt()
        await self.keeper.close()

    async def _run(self, ask: Ask, voice: Voice) -> None:
        try:
            with turn_of_session() as record:
                try:
                    await self._answer(ask, voice)
                finally:
                    if turns.isEnabledFor(logging.DEBUG):
                        turns.debug("turn %d", self.turns, extra={"facts": record.facts()})
        except Gone:
            return
        except Exception:
            log.exception("a session's turn could not be told")
            self.line.end(Over(FAILED, "the server failed to answer; its log says why"))
        self._turn = None
        self.line.rest()
        if self._draining:
            self.line.end(stopping())

    async def _answer(self, ask: Ask, voice: Voice) -> None:
        begun = False
        try:
            plan = await self.gateway.plan(replace(ask, near=self.keeper.near or ask.near))
            self.keeper.ran = plan.group_id
            async with asyncio.timeout(plan.timeout):
                begun = True
                await voice.begin()
                answered = await self._listen(plan, voice)
        except Gone:
            raise
        except Exception as error:
            shown = known(error)
            note_error(shown)
            if shown.kind == "internal":
                log.exception("a session's turn failed")
            self._ending = True
            await voice.failed(shown, begun=begun)
        else:
            await voice.hear(answered)

    async def _listen(self, plan: PlainPlan | RoutedPlan, voice: Voice) -> Answered:
        """Tells all but the end: that comes when nothing is held any more."""
        async with aclosing(turn_events(self.gateway, plan, voice.used)) as events:
            async for event in events:
                if isinstance(event, Answered):
                    self._ending = True
                    return event
                await voice.hear(event)
        raise ApiError("internal", "the turn ended without an answer")
