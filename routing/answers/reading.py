"""Extraction from an event loop: the slow kinds wait on a thread of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from routing.answers.base import Extraction, Extractor
from routing.answers.registry import canonical_gold

T = TypeVar("T")

# One: what is slow takes one text at a time anyway, and must not fill the pool that others use.
_slow = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers")


async def extraction(extractor: Extractor, text: str, *, truncated: bool) -> Extraction:
    return await _apart(extractor, partial(extractor.extract, text, truncated=truncated))


async def gold(extractor: Extractor, answer: str) -> str | None:
    """`canonical_gold`."""
    return await _apart(extractor, partial(canonical_gold, extractor, answer))


async def _apart(extractor: Extractor, work: Callable[[], T]) -> T:
    if not extractor.blocking:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_slow, work)
