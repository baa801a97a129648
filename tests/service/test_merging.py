"""Several streams read as one."""

import asyncio
from contextlib import aclosing

import pytest

from service.api.merging import merged


class Source:
    def __init__(self, items, *, error: Exception | None = None, hang: bool = False) -> None:
        self.items, self.error, self.hang = items, error, hang
        self.closed = False

    async def __call__(self):
        try:
            for item in self.items:
                yield item
                await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
            if self.hang:
                await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_all_items_come_with_their_place_and_in_their_order() -> None:
    sources = [Source(range(100)), Source([]), Source(range(100, 150))]
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    async for place, item in merged([source() for source in sources]):
        seen[place].append(item)
    assert seen == {0: list(range(100)), 1: [], 2: list(range(100, 150))}


async def test_the_first_failure_is_raised_and_closes_the_others() -> None:
    failing, other = Source([1], error=KeyError("x")), Source([1], hang=True)
    with pytest.raises(KeyError):
        async for _ in merged([failing(), other()]):
            pass
    assert failing.closed
    assert other.closed


async def test_closing_early_closes_every_source() -> None:
    sources = [Source(range(1000)), Source([1], hang=True)]
    async with aclosing(merged([source() for source in sources])) as items:
        await anext(items)
        await anext(items)
    assert all(source.closed for source in sources)
