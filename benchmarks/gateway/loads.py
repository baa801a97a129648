"""Loads on one server, each with what it cost there."""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from benchmarks.client import Spread
from benchmarks.gateway import asks
from benchmarks.gateway.asks import Protocol
from benchmarks.gateway.client import Connection, Exchange, connect
from benchmarks.gateway.costs import Process
from benchmarks.gateway.tokens import BadStream

_tags = itertools.count(1)


@dataclass
class Target:
    """A server that runs. tagged: it repeats the tag that a request has (else all have tag 0).
    tokens: how long it answers, where it does not ask. own_text: it says what it likes, of which
    only the end can be checked. closes: its connections end with a stream. more: fields of its
    requests."""

    name: str
    port: int
    process: Process
    model: str
    tagged: bool = True
    tokens: int | None = None
    own_text: bool = False
    closes: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def tag(self) -> int:
        return next(_tags) if self.tagged else 0

    def mark(self, protocol: Protocol, tag: int) -> bytes:
        return protocol.before if self.own_text else protocol.before + str(tag).encode()

    def verify(self, protocol: Protocol, exchange: Exchange, tag: int, tokens: int) -> int:
        """How many events brought its text. Raises BadStream."""
        raw = bytes(exchange.raw)
        if self.own_text:
            asks.ended_by_length(raw)
            return tokens
        return asks.verify(protocol, raw, tag, tokens)


@dataclass(frozen=True)
class Streamed:
    """tokens: in all. server, client: CPU seconds. first: milliseconds to the first token.
    events: that brought the text. together: streams that were open at one time."""

    tokens: int
    events: int
    seconds: float
    server: float
    client: float
    first: Spread
    together: int
    memory: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def per_cpu(self) -> float:
        """Events, each with one token where the server does as it is asked, per CPU second."""
        return self.events / self.server if self.server else float("nan")


@dataclass
class Sample:
    """Memory of a process: before, its most, and after."""

    process: Process
    before: float = 0.0
    most: float = 0.0
    task: "asyncio.Task[None] | None" = field(default=None)

    async def __aenter__(self) -> "Sample":
        self.before = self.most = self.process.memory()
        self.task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.task is not None
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            self.most = max(self.most, self.process.memory())


async def streams(target: Target, protocol: Protocol, count: int, tokens: int) -> Streamed:
    """`count` streams at once, each on a connection of its own, every token checked."""
    tokens = target.tokens or tokens
    connections = [await connect(target.port) for _ in range(count)]
    tags = [target.tag() for _ in range(count)]
    opened = [await _opened(connection, protocol) for connection in connections]
    async with Sample(target.process) as sample:
        server, client, began = target.process.cpu(), time.process_time(), time.perf_counter()
        work = (
            _one(target, protocol, connection, exchange, tag, tokens)
            for connection, exchange, tag in zip(connections, opened, tags, strict=True)
        )
        done = await asyncio.gather(*work)
        seconds = time.perf_counter() - began
        server, client = target.process.cpu() - server, time.process_time() - client
    for connection in connections:
        connection.close()
    events = sum(
        target.verify(protocol, exchange, tag, tokens)
        for exchange, tag in zip(done, tags, strict=True)
    )
    return Streamed(
        tokens=count * tokens,
        events=events,
        seconds=seconds,
        server=server,
        client=client,
        first=_first(done),
        together=_together(done),
        memory=(sample.before, sample.most, target.process.memory()),
    )


async def first_tokens(target: Target, protocol: Protocol, count: int, tokens: int = 2) -> Spread:
    """One request after another over one connection."""
    tokens = target.tokens or tokens
    connection = await connect(target.port)
    done = []
    for _ in range(count):
        if target.closes:
            connection = await connect(target.port)
        tag = target.tag()
        exchange = await _one(target, protocol, connection, None, tag, tokens)
        target.verify(protocol, exchange, tag, tokens)
        done.append(exchange)
    connection.close()
    return _first(done)


async def first_tokens_beside(
    target: Target, protocol: Protocol, beside: int, count: int, tokens: int
) -> tuple[Spread, Streamed]:
    """The same while `beside` streams of `tokens` run at the server's pace, and what those took,
    the probes' cost included."""
    load = asyncio.create_task(streams(target, protocol, beside, tokens))
    await asyncio.sleep(1.5)
    try:
        spread = await first_tokens(target, protocol, count)
        if load.done() and load.exception() is None:
            raise BadStream("the streams ended before the probes did")
        return spread, await load
    finally:
        load.cancel()


@dataclass(frozen=True)
class Answered:
    """Whole replies. server: CPU seconds."""

    requests: int
    server: float
    latency: Spread

    @property
    def per_cpu(self) -> float:
        return self.requests / self.server if self.server else float("nan")


async def whole(target: Target, requests: Sequence[bytes], at_once: int) -> Answered:
    """Requests that are answered in one piece, `at_once` connections working through them."""
    waiting = iter(requests)
    done: list[Exchange] = []

    async def work() -> None:
        connection = await connect(target.port)
        for request in waiting:
            done.append(await connection.ask(request, b"{"))
        connection.close()

    server = target.process.cpu()
    await asyncio.gather(*(work() for _ in range(at_once)))
    server = target.process.cpu() - server
    for exchange in done:
        asks.body(bytes(exchange.raw))
    latency = Spread.of([exchange.ended - exchange.sent for exchange in done])
    return Answered(len(done), server, latency)


@dataclass(frozen=True)
class Idle:
    """MB before, while `sockets` were open, and after; server: CPU seconds of opening them."""

    sockets: int
    before: float
    held: float
    after: float
    server: float

    @property
    def each(self) -> float:
        """kB of one socket."""
        return 1024 * (self.held - self.before) / self.sockets


async def idle_sockets(target: Target, path: str, count: int, settle: float = 1.0) -> Idle:
    """settle: seconds that the server gets before its memory is looked at."""
    before, server = target.process.memory(), target.process.cpu()
    connections = [await connect(target.port) for _ in range(count)]
    opened = [await connection.upgrade(asks.handshake(path)) for connection in connections]
    server = target.process.cpu() - server
    for exchange in opened:
        list(asks.frames(bytes(exchange.raw)))
    await asyncio.sleep(settle)
    held = target.process.memory()
    for connection in connections:
        connection.close()
    await asyncio.sleep(settle)
    return Idle(count, before, held, target.process.memory(), server)


async def _opened(connection: Connection, protocol: Protocol) -> Exchange | None:
    if protocol is not asks.SOCKET:
        return None
    return await connection.upgrade(asks.handshake(protocol.path))


async def _one(
    target: Target,
    protocol: Protocol,
    connection: Connection,
    exchange: Exchange | None,
    tag: int,
    tokens: int,
) -> Exchange:
    if exchange is None:
        request = asks.post(protocol, target.model, tag, tokens, **target.more)
        return await connection.ask(request, target.mark(protocol, tag))
    body = asks.message(protocol, target.model, tag, tokens)
    await connection.say(exchange, asks.frame(body))
    return exchange


def _first(done: Sequence[Exchange]) -> Spread:
    return Spread.of([exchange.first - exchange.sent for exchange in done])


def _together(done: Sequence[Exchange]) -> int:
    """The most exchanges that had begun to answer and not ended, at any time."""
    moments = sorted(
        [(exchange.first, 1) for exchange in done] + [(exchange.ended, -1) for exchange in done]
    )
    return max(itertools.accumulate(change for _, change in moments), default=0)
