"""Several groups of one question, read as one stream of events, until a deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from model.contract import Event, Group, GroupStream, Worker

Sleep = Callable[[float], Awaitable[None]]


class DeadlinePassed(Exception):
    """The time is over; events that were not read yet are lost."""


class Feed:
    """A context that aborts whatever its groups still run when it is left, however it is left.

    seconds: from entering to the deadline; None is none. sleep: how to wait for it.
    """

    def __init__(self, worker: Worker, seconds: float | None, sleep: Sleep) -> None:
        self._worker = worker
        self._seconds = seconds
        self._sleep = sleep
        self._contexts = AsyncExitStack()
        self._sources: list[AsyncIterator[Event]] = []
        self._reading: dict[AsyncIterator[Event], asyncio.Task[Event | None]] = {}
        self._alarm: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        if self._seconds is not None:
            self._alarm = asyncio.ensure_future(self._ring(self._seconds))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks: list[asyncio.Future[None] | asyncio.Task[Event | None]] = [*self._reading.values()]
        if self._alarm is not None:
            tasks.append(self._alarm)
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._contexts.aclose()

    async def open(self, group: Group) -> GroupStream:
        """Submits a group and reads it from now on. Raises WorkerUnavailable."""
        stream = await self._contexts.enter_async_context(self._worker.open(group))
        self._sources.append(aiter(stream))
        return stream

    async def next(self) -> Event | None:
        """The next event of any group; None when all are closed. Raises DeadlinePassed."""
        while self._sources:
            source, event = await self._read()
            if event is not None:
                return event
            self._sources.remove(source)
        return None

    async def _read(self) -> tuple[AsyncIterator[Event], Event | None]:
        """From whichever source has something; None from one that has ended."""
        if len(self._sources) == 1 and self._alarm is None and not self._reading:
            # One group and no deadline, as most of the time: no task is needed.
            return self._sources[0], await anext(self._sources[0], None)
        for source in self._sources:
            if source not in self._reading:
                self._reading[source] = asyncio.ensure_future(_next(source))
        alarm = () if self._alarm is None else (self._alarm,)
        done, _ = await asyncio.wait(
            {*self._reading.values(), *alarm}, return_when=asyncio.FIRST_COMPLETED
        )
        if self._alarm in done:
            raise DeadlinePassed
        source = next(s for s in self._sources if self._reading[s] in done)
        # Each in turn: a group with much to say must not keep the others waiting.
        self._sources.remove(source)
        self._sources.append(source)
        return source, self._reading.pop(source).result()

    async def _ring(self, seconds: float) -> None:
        await self._sleep(seconds)


async def _next(source: AsyncIterator[Event]) -> Event | None:
    return await anext(source, None)
