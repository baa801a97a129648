"""The pages of a conversation, kept on the worker between its turns."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from model.contract import Prompt
from model.text.language import ChatMessage
from service.api.internal import Ask, Chat, Sampling
from service.api.planning import PlainPlan, split_alias
from service.api.sessions.history import as_prompt
from service.errors import as_api_error
from service.gateway import Gateway
from service.holds import Hold

log = logging.getLogger("pollux")


class Keeper:
    """Holds one prompt: the conversation so far or, while that is not held yet, what of it was held
    before. No turn waits for it: one that comes before its hold reads its prompt itself. What is
    held is let go after `seconds`, and when the session ends."""

    def __init__(self, gateway: Gateway, seconds: float) -> None:
        self._gateway = gateway
        self._seconds = seconds
        self.ran = ""
        """The group of the last turn: its worker has the conversation in its cache."""
        self._held: list[Hold] = []
        self._wanted: tuple[Ask, tuple[ChatMessage, ...]] | None = None
        self._stale = False
        self._work: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def near(self) -> str:
        """What a turn is to run near to, for `Ask.near`."""
        return self._held[-1].id if self._held else ""

    def keep(self, ask: Ask, turns: Sequence[ChatMessage]) -> None:
        """Holds the prompt with which the next turn of this ask will begin; of several that are
        asked for at once the last."""
        if self._seconds <= 0:
            return
        self._wanted = (ask, tuple(turns))
        self._stop_timer()
        self._begin_work()

    async def close(self) -> None:
        self._stop_timer()
        self._wanted = None
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})
        await self._let_go(0)

    def _begin_work(self) -> None:
        if self._work is None:
            self._work = asyncio.ensure_future(self._do())

    async def _do(self) -> None:
        try:
            while self._wanted is not None or self._stale:
                await self._next()
        finally:
            self._work = None

    async def _next(self) -> None:
        wanted, self._wanted, self._stale = self._wanted, None, False
        try:
            if wanted is not None:
                await self._replace(*wanted)
            else:
                await self._let_go(0)
        except Exception as error:
            # Pages are a convenience: the conversation goes on without.
            if as_api_error(error).kind == "internal":
                log.exception("a conversation could not be held")

    async def _replace(self, ask: Ask, turns: Sequence[ChatMessage]) -> None:
        prompt = await self._prompt(ask, turns)
        self._held.append(await self._gateway.holds.hold(prompt, near=self.ran, yields=True))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._seconds, self._expire)
        await self._let_go(1)

    async def _let_go(self, but: int) -> None:
        """All but the newest so many."""
        while len(self._held) > but:
            await self._held[0].release()
            self._held.pop(0)

    def _expire(self) -> None:
        self._timer = None
        self._stale = True
        self._begin_work()

    async def _prompt(self, ask: Ask, turns: Sequence[ChatMessage]) -> Prompt:
        """Of a plain answer, whoever votes: the turns before a question are the same there."""
        offer = ask.input.tools if isinstance(ask.input, Chat) else None
        model, _ = split_alias(ask.model)
        plain = replace(
            ask,
            model=model,
            input=Chat(as_prompt(turns), tools=offer),
            sampling=Sampling(max_tokens=1),
            routing=None,
        )
        plan = await self._gateway.plan(plain)
        assert isinstance(plan, PlainPlan)
        return plan.group.prompt

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
