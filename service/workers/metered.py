"""Any worker, with what passes through it measured."""

import time
from collections.abc import AsyncIterator, Collection, Sequence
from types import TracebackType
from typing import Self

from model.contract import (
    Event,
    Group,
    GroupStarted,
    GroupStream,
    PathOutput,
    PathRequest,
    PrefixHeld,
    Worker,
    WorkerStatus,
)
from service.guard.limits import Account
from service.logs.record import Record
from service.metrics import Metrics


class MeteredWorker:
    """payer: charged for all tokens, if there is one. paid: of what each prompt finds in the cache,
    so many tokens were paid for when they were held. record: of the request that they are for; a
    prefix that is held is for later ones."""

    def __init__(
        self,
        worker: Worker,
        metrics: Metrics,
        payer: Account | None = None,
        paid: int = 0,
        record: Record | None = None,
    ) -> None:
        self._worker = worker
        self._metrics = metrics
        self._payer = payer
        self._paid = paid
        self._record = record

    def open(self, group: Group) -> GroupStream:
        stream, bill = self._worker.open(group), Bill(self._payer, group.hold, self._paid)
        record = None if group.hold else self._record
        return MeteredStream(stream, self._metrics, bill, record)

    def status(self) -> WorkerStatus:
        return self._worker.status()


class Bill:
    """What one group costs its key: each token once.

    A prompt is paid when it is begun, all but what was paid when it was held. A hold is paid when
    it is there, in full pages, all but what it found: that was paid by what went before it. One
    that is given up is paid as if it were there.
    """

    def __init__(self, payer: Account | None, hold: bool, paid: int) -> None:
        self._payer = payer
        self._hold = hold
        self._paid = paid
        self._owed = 0
        self._found = 0

    def begun(self, prompt: int, found: int) -> None:
        if self._hold:
            self._found, self._owed = found, prompt - found
        else:
            self.charge(prompt - min(self._paid, found))

    def held(self, tokens: int) -> None:
        self.charge(min(self._owed, max(0, tokens - self._found)))
        self._owed = 0

    def settle(self) -> None:
        self.charge(self._owed)
        self._owed = 0

    def charge(self, tokens: int) -> None:
        if self._payer is not None:
            self._payer.charge(tokens)


class MeteredStream:
    """Times are from this process's clock, tokens as they are read by the request."""

    def __init__(
        self, stream: GroupStream, metrics: Metrics, bill: Bill, record: Record | None
    ) -> None:
        self._stream = stream
        self._metrics = metrics
        self._bill = bill
        self._record = record
        self._submitted = 0.0
        self._first_seen = False
        self._last: dict[int, float] = {}

    async def __aenter__(self) -> Self:
        self._submitted = time.monotonic()
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bill.settle()
        await self._stream.__aexit__(exc_type, exc, traceback)

    async def extend(self, paths: Sequence[PathRequest]) -> None:
        await self._stream.extend(paths)

    async def abort(self, paths: Collection[int] | None = None) -> None:
        await self._stream.abort(paths)

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for event in self._stream:
            self._measure(event)
            yield event

    def _measure(self, event: Event) -> None:
        match event:
            case GroupStarted():
                self._bill.begun(event.prompt_tokens, event.cached_tokens)
                if self._record is not None:
                    self._record.started(event.prompt_tokens, event.cached_tokens)
                self._metrics.count(self._metrics.prompt_tokens, event.prompt_tokens)
                self._metrics.count(self._metrics.cache_queries, event.prompt_tokens)
                self._metrics.count(self._metrics.cache_hits, event.cached_tokens)
                self._metrics.observe(self._metrics.queue_time, event.queued_s)
                self._metrics.observe(self._metrics.prompt_length, event.prompt_tokens)
            case PathOutput() if event.tokens:
                self._bill.charge(len(event.tokens))
                self._measure_tokens(event.path, len(event.tokens))
            case PrefixHeld():
                self._bill.held(event.tokens)

    def _measure_tokens(self, path: int, count: int) -> None:
        metrics, now = self._metrics, time.monotonic()
        metrics.count(metrics.generation_tokens, count)
        if self._record is not None:
            self._record.sampled(count, now)
        if not self._first_seen:
            self._first_seen = True
            metrics.observe(metrics.first_token, now - self._submitted)
        before = self._last.get(path)
        if before is not None:
            metrics.observe(metrics.inter_token, (now - before) / count, count)
        self._last[path] = now
