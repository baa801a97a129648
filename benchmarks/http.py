"""Workloads over HTTP, against any server of OpenAI's API.

python -m benchmarks.http http://127.0.0.1:8000 gemma-3-270m --api completions
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import measurement as m
from benchmarks import workloads as w
from benchmarks.client import Client, Exchange, RequestFailed, Spread
from benchmarks.measurement import Measurement
from benchmarks.prompts import Prompts

_LOAD_LIMIT_S = 120.0
_STREAM_TOKENS = 2048
_POLL_S = 0.002


async def run(client: Client, prompts: Prompts, workload: w.Workload) -> Measurement:
    """One run. Raises RequestFailed."""
    match workload:
        case w.Prefill():
            return await _prefill(client, prompts, workload)
        case w.Generate():
            return await _generate(client, prompts, workload)
        case w.FirstTokenUnderLoad():
            return await _first_token_under_load(client, prompts, workload)
        case w.GapUnderPrefill():
            return await _gap_under_prefill(client, prompts, workload)


async def _prefill(client: Client, prompts: Prompts, workload: w.Prefill) -> Measurement:
    done = await client.ask(prompts.fresh(workload.prompt), new=1)
    seconds = done.first - done.sent
    return Measurement(
        {m.PREFILL_RATE: workload.prompt / seconds, m.SECONDS: seconds},
        notes=_length_notes([done], workload.prompt),
    )


async def _generate(client: Client, prompts: Prompts, workload: w.Generate) -> Measurement:
    count = 1 if workload.one_prompt else workload.requests
    texts = [prompts.fresh(workload.prompt) for _ in range(count)]
    if workload.prompt_seen:
        await client.ask_all(texts, new=1)
    if workload.one_prompt:
        texts *= workload.requests
    done = await client.ask_all(texts, new=workload.new, n=workload.paths)
    began = min(exchange.sent for exchange in done)
    seconds = max(exchange.ended for exchange in done) - began
    firsts = [times[0] for exchange in done for times in exchange.arrivals.values()]
    first = Spread.of([at - began for at in firsts])
    gap = Spread.of([gap for exchange in done for gap in exchange.gaps()])
    tokens = workload.rows * workload.new
    return Measurement(
        {
            m.TOTAL_RATE: tokens / seconds,
            m.DECODE_RATE: _decode_rate(done, tokens, max(firsts)),
            m.SECONDS: seconds,
            m.FIRST_P50: first.p50,
            m.FIRST_P99: first.p99,
            m.GAP_P50: gap.p50,
            m.GAP_P99: gap.p99,
        },
        notes=_length_notes(done, workload.prompt) + _early_notes(done, workload.rows),
    )


def _decode_rate(done: list[Exchange], tokens: int, all_began: float) -> float:
    """Tokens/s from when every answer has begun; a piece of text may hold several tokens."""
    arrivals = [at for exchange in done for times in exchange.arrivals.values() for at in times]
    after = [at for at in arrivals if at > all_began]
    if not after:
        return 0.0
    return tokens * len(after) / len(arrivals) / (max(after) - all_began)


async def _first_token_under_load(
    client: Client, prompts: Prompts, workload: w.FirstTokenUnderLoad
) -> Measurement:
    loads: list[Exchange] = []

    async def load() -> None:
        while True:
            loads.append(Exchange(sent=0.0))
            prompt = prompts.fresh(workload.prompt)
            await client.ask(prompt, new=workload.new, n=workload.paths, watch=loads[-1])

    pauses = random.Random(0)
    firsts: list[float] = []
    task = asyncio.create_task(load())
    try:
        await _until(lambda: bool(loads and loads[0].arrivals), task)
        end = time.perf_counter() + _LOAD_LIMIT_S
        while len(firsts) < workload.probes and time.perf_counter() < end:
            await asyncio.sleep(pauses.uniform(0.05, 0.5))
            probe = await client.ask(prompts.fresh(w.SHORT_PROMPT), new=1)
            firsts.append(probe.first - probe.sent)
    finally:
        await _cancel(task)
    spread = Spread.of(firsts)
    return Measurement(
        {m.FIRST_P50: spread.p50, m.FIRST_P99: spread.p99},
        notes=() if len(firsts) == workload.probes else (f"{len(firsts)} probes only",),
    )


async def _gap_under_prefill(
    client: Client, prompts: Prompts, workload: w.GapUnderPrefill
) -> Measurement:
    stream = Exchange(sent=0.0)
    prompt, long_prompt = prompts.fresh(workload.prompt), prompts.fresh(workload.long_prompt)
    task = asyncio.create_task(client.ask(prompt, new=_STREAM_TOKENS, watch=stream))
    try:
        await _until(lambda: len(stream.arrivals.get(0, ())) > workload.quiet_tokens, task)
        done = await client.ask(long_prompt, new=1)
        arrived = len(stream.arrivals[0])
        with suppress(TimeoutError, RequestFailed):
            async with asyncio.timeout(10):
                await _until(lambda: len(stream.arrivals[0]) > arrived + 1, task)
    finally:
        await _cancel(task)
    times = stream.arrivals[0]
    pairs = list(itertools.pairwise(times))
    quiet = Spread.of([later - earlier for earlier, later in pairs if later <= done.sent])
    busy = Spread.of(
        [later - earlier for earlier, later in pairs if later > done.sent and earlier < done.first]
    )
    return Measurement(
        {
            m.SLOWDOWN: busy.p50 / quiet.p50,
            m.GAP_P50: quiet.p50,
            m.BUSY_GAP_P50: busy.p50,
            m.BUSY_GAP_MAX: busy.most,
            m.SECONDS: done.first - done.sent,
        },
        notes=_length_notes([done], workload.long_prompt),
    )


async def _until(holds: Callable[[], bool], task: "asyncio.Task[Any]") -> None:
    """Waits for a condition that the task brings about; raises what the task raises."""
    while not holds():
        if task.done():
            task.result()
            raise RequestFailed("the stream ended too early")
        await asyncio.sleep(_POLL_S)


async def _cancel(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, RequestFailed):
        await task


def _length_notes(done: list[Exchange], wanted: int) -> tuple[str, ...]:
    odd = {e.usage.prompt_tokens for e in done} - {wanted}
    return tuple(f"a prompt had {count} tokens, not {wanted}" for count in sorted(odd))


def _early_notes(done: list[Exchange], rows: int) -> tuple[str, ...]:
    full = sum(reason == "length" for e in done for reason in e.finished.values())
    return () if full == rows else (f"{rows - full} of {rows} answers ended early",)


async def _measure_all(
    url: str, model: str, api: str, names: list[str], repeats: int | None
) -> None:
    console = Console()
    async with Client(url, model, api) as client:  # type: ignore[arg-type]
        prompts = await Prompts.calibrated(client)
        for workload in w.ALL:
            if names and not any(name in workload.name for name in names):
                continue
            runs = [
                await run(client, prompts, workload) for _ in range(repeats or workload.repeats)
            ]
            shown = m.best(runs, workload.headline)
            figures = ", ".join(f"{name} {value:.4g}" for name, value in shown.figures.items())
            console.print(f"[bold]{workload.name}[/]: {figures} {' '.join(shown.notes)}")


def main(
    url: Annotated[str, typer.Argument(help="Base URL, without /v1.")],
    model: Annotated[str, typer.Argument(help="What the server calls the model.")],
    api: Annotated[str, typer.Option(help="chat or completions.")] = "chat",
    only: Annotated[list[str] | None, typer.Option(help="Part of a workload's name.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Runs of each; the best is shown.")] = None,
) -> None:
    """Time a server that is already running."""
    try:
        asyncio.run(_measure_all(url, model, api, only or [], repeats))
    except RequestFailed as error:
        raise SystemExit(f"the server refused: {error}") from None


if __name__ == "__main__":
    typer.run(main)
