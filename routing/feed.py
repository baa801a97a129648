"""Several groups of one question, read as one stream of events, until a deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

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
        self._alarm: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        if self._seconds is not None:
            self._alarm = asyncio.create_task(self._ring(self._seconds))
            self._alarm.add_done_callback(self._wake)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks: list[asyncio.Task[Any]] = [*self._reading.values()]
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
        while (source := self._ready()) is None:
            self._changed.clear()
            await self._changed.wait()
        return source, self._reading.pop(source).result()

    def _ready(self) -> AsyncIterator[Event] | None:
        """A source that has been read; all others are being read. Raises DeadlinePassed.

        One that was just read has to be read again first, so a group with much to say does not
        keep the others waiting.
        """
        if self._alarm is not None and self._alarm.done():
            raise DeadlinePassed
        for source in self._sources:
            if source not in self._reading:
                self._reading[source] = asyncio.create_task(_next(source))
                self._reading[source].add_done_callback(self._wake)
        return next((s for s in self._sources if self._reading[s].done()), None)

    def _wake(self, _: asyncio.Task[Any]) -> None:
        self._changed.set()

    async def _ring(self, seconds: float) -> None:
        await self._sleep(seconds)


async def _next(source: AsyncIterator[Event]) -> Event | None:
    return await anext(source, None)
