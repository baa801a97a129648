"""Several streams read as one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")

_WAITING = 32
"""Events that may wait for the reader; more wait in their sources, which merge them."""


async def merged(sources: Sequence[AsyncGenerator[T]]) -> AsyncGenerator[tuple[int, T]]:
    """Items of all sources with their source's place, as they come. Closing it closes all.

    The first source that raises ends the others, and its exception is raised here.
    """
    waiting: asyncio.Queue[tuple[int, T] | BaseException | None] = asyncio.Queue(_WAITING)

    async def pump(place: int, source: AsyncGenerator[T]) -> None:
        try:
            async with aclosing(source) as items:
                async for item in items:
                    await waiting.put((place, item))
        except Exception as error:
            await waiting.put(error)
        else:
            await waiting.put(None)

    tasks = [asyncio.ensure_future(pump(*pair)) for pair in enumerate(sources)]
    try:
        left = len(tasks)
        while left:
            item = await waiting.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
