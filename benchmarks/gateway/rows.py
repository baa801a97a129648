"""What is measured of each system, row by row of the table."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from benchmarks.gateway import asks
from benchmarks.gateway.asks import Protocol
from benchmarks.gateway.loads import (
    Streamed,
    Target,
    first_tokens,
    first_tokens_beside,
    idle_sockets,
    streams,
    whole,
)
from benchmarks.gateway.systems import PACE, System

BESIDE = 100
ROUTED_K = 16
ROUTED_TOKENS = 20
_PACED_S = 8.0


@dataclass(frozen=True)
class Sizes:
    """probes: requests one after another. rows, tokens: of the streams at once. many: streams
    and sockets of the large rows."""

    probes: int = 500
    rows: int = 64
    tokens: int = 600
    many: int = 1000
    many_tokens: int = 60
    whole: int = 2000
    routed: int = 200


QUICK = Sizes(probes=100, rows=64, tokens=200, many=200, many_tokens=30, whole=300, routed=30)


@dataclass(frozen=True)
class Figure:
    """less: whether less is better, so that ratios can say how many times as good."""

    row: str
    value: float
    less: bool = False
    note: str = ""


async def common(system: System, sizes: Sizes) -> AsyncIterator[Figure]:
    """What every system can do. Raises SystemFailed, BadStream."""
    with system.running() as target:
        await first_tokens(target, asks.CHAT, 20)
        first = await first_tokens(target, asks.CHAT, sizes.probes)
        yield Figure("first token, p50 ms", first.p50, less=True)
        yield Figure("first token, p99 ms", first.p99, less=True)
        rows = min(sizes.rows, system.most)
        yield _rate(f"chat, {rows} streams", await _streamed(target, asks.CHAT, rows, sizes))
        if system.whole:
            yield await _whole(target, sizes)
    if system.most >= sizes.many:
        with system.running() as target:
            done = await streams(target, asks.CHAT, sizes.many, sizes.many_tokens)
            for figure in _many(sizes, done):
                yield figure
    if system.paced is not None:
        with system.running(system.paced) as target:
            await first_tokens(target, asks.CHAT, 20)
            row = f"{BESIDE} streams of 50 tokens/s"
            if system.tokens is None:
                tokens = round(_PACED_S / PACE)
                first, load = await first_tokens_beside(target, asks.CHAT, BESIDE, 100, tokens)
                yield Figure(f"first token beside {row}, p50 ms", first.p50, less=True)
                yield Figure(f"first token beside {row}, p99 ms", first.p99, less=True)
            else:  # every probe would last as long as the streams
                load = await streams(target, asks.CHAT, BESIDE, system.tokens)
            yield _rate(row, load)
    if system.sockets is not None:
        with system.running() as target:
            idle = await idle_sockets(target, system.sockets, sizes.many)
            yield Figure(f"{sizes.many} idle WebSockets, kB each", idle.each, less=True)


async def ours(target: Target, sizes: Sizes) -> AsyncIterator[Figure]:
    """Of the gateway only: its other protocols."""
    for protocol in (asks.COMPLETIONS, asks.GEMINI, asks.SOCKET):
        name = f"{protocol.name}, {sizes.rows} streams"
        yield _rate(name, await _streamed(target, protocol, sizes.rows, sizes))


async def routed(target: Target, sizes: Sizes) -> AsyncIterator[Figure]:
    """A routed question beside the same paths asked for as one request with n."""
    routing = {"k": ROUTED_K, "answer": "number", "plan": "full"}
    question = {"stream": False, "uncertainty_routing": routing}
    plain = {"stream": False, "n": ROUTED_K + 1}
    for name, more in (("routed, k 16", question), ("n = 17, not routed", plain)):
        request = asks.post(asks.CHAT, target.model, 1, ROUTED_TOKENS, **more)
        await whole(target, [request] * 10, 1)
        done = await whole(target, [request] * sizes.routed, 1)
        yield Figure(f"{name}, CPU ms", 1000 * done.server / done.requests, less=True)
        yield Figure(f"{name}, p50 ms", done.latency.p50, less=True)


async def _streamed(target: Target, protocol: Protocol, rows: int, sizes: Sizes) -> Streamed:
    await streams(target, protocol, min(16, rows), 20)
    return await streams(target, protocol, rows, sizes.tokens)


async def _whole(target: Target, sizes: Sizes) -> Figure:
    requests = [asks.post(asks.CHAT, target.model, 0, 16, stream=False, **target.more)]
    await whole(target, requests * 20, 16)
    done = await whole(target, requests * sizes.whole, 16)
    return Figure("whole replies of 16 tokens, requests/s per core", done.per_cpu)


def _rate(name: str, done: Streamed) -> Figure:
    note = f"{done.events} events, {done.together} at once, client {done.client:.2f} s CPU"
    note += f" of {done.seconds:.2f}"
    return Figure(f"{name}, tokens/s per core", done.per_cpu, note=note)


def _many(sizes: Sizes, done: Streamed) -> list[Figure]:
    row = f"{sizes.many} streams at once"
    before, most, after = done.memory
    note = f"{done.together} at once, all tokens there; RSS {before:.0f}, then {most:.0f} at most, "
    note += f"{after:.0f} MB after"
    return [
        Figure(f"{row}, tokens/s per core", done.per_cpu, note=note),
        Figure(f"{row}, kB of memory each", 1024 * (most - before) / sizes.many, less=True),
    ]
