"""Prompt prefixes kept on a worker, so that later prompts which begin alike find them computed.

    async with await gateway.holds.hold(prompt) as hold:
        plan = await gateway.plan(Ask(..., near=hold.id))

A hold is a group of its own whose stream stays open. When its worker is lost so is what it held:
the hold lives on, and its prefix is computed again, in the background, with the next request that
names it.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

from model.contract import (
    Group,
    GroupClosed,
    GroupFailed,
    GroupStream,
    PrefixHeld,
    Prompt,
    Worker,
    WorkerUnavailable,
)
from service.errors import ApiError, as_api_error, of_failure, shutting_down
from service.settings import Settings
from service.workers.base import Backend

log = logging.getLogger("pollux.gateway")


class Hold:
    """tokens: how many of the prompt's tokens are held now, 0 while none are. id: for `Ask.near`.
    It stays the same when the prefix has to be computed again. yields: it is let go when one that
    does not yield finds no room."""

    def __init__(self, holds: "Holds", prompt: Prompt, scope: str, yields: bool) -> None:
        self.id = uuid.uuid4().hex
        self.prompt = prompt
        self.scope = scope
        self.yields = yields
        self.tokens = 0
        self.group_id = ""
        self._holds = holds
        self._task: asyncio.Task[None] | None = None
        self._released = False

    async def release(self) -> None:
        """Lets the pages go. Idempotent."""
        self._released = True
        self._holds.forget(self)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()

    def begin(self, worker: Worker, near: str = "") -> "asyncio.Future[int]":
        """Has the prefix computed. The future tells how many tokens are held, or why none are."""
        held: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # In the background nobody asks; what is not asked for is no error of the program.
        held.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._task = asyncio.create_task(self._stay(worker, near, held))
        return held

    @property
    def is_lost(self) -> bool:
        return not self._released and (self._task is None or self._task.done())

    async def _stay(self, worker: Worker, near: str, held: "asyncio.Future[int]") -> None:
        self.group_id = uuid.uuid4().hex
        group = Group(
            id=self.group_id,
            prompt=self.prompt,
            paths=(),
            open=True,
            hold=True,
            scope=self.scope,
            near=near,
        )
        try:
            async with worker.open(group) as stream:
                await self._follow(stream, held)
        except Exception as error:
            if not isinstance(error, ApiError | WorkerUnavailable):
                log.exception("a hold failed")
            if not held.done():
                held.set_exception(as_api_error(error))
        finally:
            self.tokens, self.group_id = 0, ""
            if not held.done():
                held.set_exception(shutting_down())

    async def _follow(self, stream: GroupStream, held: "asyncio.Future[int]") -> None:
        async for event in stream:
            match event:
                case PrefixHeld(tokens=tokens):
                    self.tokens = tokens
                    if not held.done():
                        held.set_result(tokens)
                case GroupFailed():
                    raise of_failure(event)
                case GroupClosed():
                    return


class Holds:
    """All holds of a gateway.

    measured: the worker, with tokens counted and charged to whoever asks now. scope_of: the cache
    scope of whoever asks now, with a salt.
    """

    def __init__(
        self,
        backend: Backend,
        measured: Callable[[], Worker],
        scope_of: Callable[[str], str],
        settings: Settings,
    ) -> None:
        self._backend = backend
        self._measured = measured
        self._scope_of = scope_of
        self._settings = settings
        self._holds: dict[str, Hold] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._holds)

    async def hold(
        self, prompt: Prompt, *, cache_salt: str = "", near: str = "", yields: bool = False
    ) -> Hold:
        """Returns once the prefix is held: the prompt's full pages, which may be none. near: a
        group that read or wrote what the prompt begins with, where it may still be cached.

        Raises ApiError: "overloaded" when there is no room or there are too many, "unavailable",
        "invalid", "deadline" when it takes longer than a request may.
        """
        while True:
            try:
                return await self._hold(
                    Hold(self, prompt, self._scope_of(cache_salt), yields), near
                )
            except ApiError as error:
                weaker = next((hold for hold in self._holds.values() if hold.yields), None)
                if yields or weaker is None or error.kind != "overloaded":
                    raise
                await weaker.release()

    async def _hold(self, hold: Hold, near: str) -> Hold:
        if self._stopped:
            raise shutting_down()
        most = self._settings.max_holds
        if len(self._holds) >= most:
            raise ApiError(
                "overloaded", f"{most} prompt prefixes are held; no more may be", retry_after=1.0
            )
        self._holds[hold.id] = hold
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                await hold.begin(self._measured(), near)
        except BaseException as error:
            await hold.release()
            if isinstance(error, TimeoutError):
                raise as_api_error(error) from error
            raise
        return hold

    def group_of(self, hold_id: str) -> str:
        """The group in which a hold is now; "" when it is released, or was lost: then it is
        computed again meanwhile."""
        hold = self._holds.get(hold_id)
        if hold is None:
            return ""
        if hold.is_lost and not self._stopped:
            hold.begin(self._backend.worker)
        return hold.group_id

    def tokens_of(self, hold_id: str) -> int:
        """How many tokens a hold has now, which were paid for; 0 of one that is not there."""
        hold = self._holds.get(hold_id)
        return 0 if hold is None else hold.tokens

    def forget(self, hold: Hold) -> None:
        self._holds.pop(hold.id, None)

    async def stop(self) -> None:
        """Releases all; none can be had any more."""
        self._stopped = True
        await asyncio.gather(*(hold.release() for hold in tuple(self._holds.values())))
