"""Kept beginnings of conversations, with their owners and lifetimes."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from model.contract import Prompt
from model.text.language import ChatMessage
from service.api.internal import Chat
from service.errors import ApiError
from service.files.records import new_id
from service.settings import Settings

log = logging.getLogger("pollux")

MAX_KEY_CACHES = 16
SWEEP_S = 5.0


class Held(Protocol):
    """service.holds.Hold."""

    id: str

    @property
    def tokens(self) -> int:
        """Of the prompt, those whose pages stay."""

    async def release(self) -> None: ...


class Holder(Protocol):
    async def hold(self, prompt: Prompt) -> Held:
        """Raises ApiError("overloaded") when there is no room for its pages."""


@dataclass(frozen=True, slots=True)
class Cached:
    """model: its served name, without alias. tokens: of the beginning. created, updated, expires:
    microseconds since 1970."""

    id: str
    owner: str | None
    model: str
    display_name: str | None
    chat: Chat
    tokens: int
    held: Held
    created: int
    updated: int
    expires: int

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        return self.chat.messages


class Caches:
    """On the event loop's thread. clock: seconds since 1970."""

    def __init__(
        self, settings: Settings, holder: Holder, clock: Callable[[], float] = time.time
    ) -> None:
        self._most = settings.max_caches
        self._longest = settings.max_cache_lifetime
        self._holder = holder
        self._clock = clock
        self._entries: dict[str, Cached] = {}
        self._coming: list[str | None] = []
        """Owners of those that are being made."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held_tokens(self) -> int:
        return sum(cached.held.tokens for cached in self._entries.values())

    def now(self) -> int:
        return round(self._clock() * 1_000_000)

    def expiry(self, seconds: float) -> int:
        """When something that lives so long from now expires. Raises ApiError."""
        if not 1 <= seconds <= self._longest:
            raise ApiError(
                "invalid",
                f"cached content may live between 1 and {self._longest:g} seconds",
                param="ttl",
            )
        return self.now() + round(seconds * 1_000_000)

    async def create(
        self,
        owner: str | None,
        model: str,
        chat: Chat,
        prefix: tuple[int, ...],
        expires: int,
        display_name: str | None,
    ) -> Cached:
        """Reads the prefix on a worker, which keeps its pages. Raises ApiError."""
        await self.sweep()
        self._require_room(owner)
        self._coming.append(owner)
        try:
            held = await self._holder.hold(Prompt.of_tokens(prefix))
        finally:
            self._coming.remove(owner)
        now = self.now()
        cached = Cached(
            new_id(), owner, model, display_name, chat, len(prefix), held, now, now, expires
        )
        self._entries[cached.id] = cached
        return cached

    def find(self, owner: str | None, cache_id: str) -> Cached | None:
        """None for one that is unknown, expired or another owner's."""
        cached = self._entries.get(cache_id)
        if cached is None or cached.owner != owner or cached.expires <= self.now():
            return None
        return cached

    def newest(self, owner: str | None) -> list[Cached]:
        now = self.now()
        mine = [one for one in self._entries.values() if one.owner == owner and one.expires > now]
        return sorted(mine, key=lambda one: (one.created, one.id), reverse=True)

    def keep_until(self, cached: Cached, expires: int) -> Cached:
        changed = replace(cached, expires=expires, updated=self.now())
        self._entries[cached.id] = changed
        return changed

    async def delete(self, cached: Cached) -> None:
        if self._entries.pop(cached.id, None) is not None:
            await cached.held.release()

    async def sweep(self) -> None:
        now = self.now()
        for cached in [one for one in self._entries.values() if one.expires <= now]:
            await self.delete(cached)

    @asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """While the server runs; at the end all are released."""
        task = asyncio.create_task(self._keep_sweeping())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for cached in tuple(self._entries.values()):
                with contextlib.suppress(Exception):  # the worker may be gone, and its pages too
                    await self.delete(cached)

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self.sweep()
            except Exception:
                log.exception("cached content could not be released")

    def _require_room(self, owner: str | None) -> None:
        mine = sum(one.owner == owner for one in self._entries.values())
        mine += self._coming.count(owner)
        if len(self._entries) + len(self._coming) >= self._most:
            raise _full(f"the server keeps {self._most} cached contents, as many as it may")
        if owner is not None and mine >= MAX_KEY_CACHES:
            raise _full(f"this key keeps {MAX_KEY_CACHES} cached contents, as many as it may")


def _full(message: str) -> ApiError:
    return ApiError(
        "overloaded",
        f"{message}; delete some or wait until some expire",
        code="cache_quota_exceeded",
        retry_after=600.0,
    )
