"""An asynchronous client seen as if it were its synchronous sibling, so that one test speaks to
both."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from enum import Enum
from types import TracebackType
from typing import Any

import pydantic


class Blocking:
    """Runs what the wrapped object would have awaited, on `runner`'s loop: results of calls, items
    of iterations, entering and leaving. What comes out is plain data or wrapped likewise."""

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        return self._seen(getattr(self._inner, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._seen(self._inner(*args, **kwargs))

    def __iter__(self) -> Iterator[Any]:
        items: AsyncIterator[Any] = aiter(self._inner)
        end = object()
        try:
            while (item := self._wait(anext(items, end))) is not end:
                yield item
        finally:
            if isinstance(items, AsyncGenerator):
                self._wait(items.aclose())

    def __enter__(self) -> Any:
        return self._seen(self._inner.__aenter__())

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._wait(self._inner.__aexit__(exc_type, exc, traceback))

    def _seen(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            value = self._wait(value)
        return Blocking(value, self._runner) if _needs_a_loop(value) else value

    def _wait(self, awaitable: Awaitable[Any]) -> Any:
        async def result() -> Any:
            return await awaitable

        return self._runner.run(result())


def _needs_a_loop(value: Any) -> bool:
    if isinstance(value, type):
        return False
    if callable(value) or hasattr(value, "__aiter__") or hasattr(value, "__aenter__"):
        return True
    # Namespaces such as `client.chat`, and raw responses; answers are pydantic models and enums.
    ours = type(value).__module__.startswith(("openai.", "google.genai."))
    return ours and not isinstance(value, (pydantic.BaseModel, Enum))
