"""Workers and gateways over one broker, in one event loop, with engines that need no model."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from model.broker import BrokerWorker
from model.contract import (
    Event,
    Group,
    GroupClosed,
    GroupFailed,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
)
from model.wire import Timing
from service.workers.redis import RedisBackend
from tests.fake_engine import MODEL, FakeEngine

QUICK = Timing(heartbeat_s=0.1, lease_s=0.6)
PATIENCE_S = 20.0


async def until(condition: Callable[[], Any]) -> None:
    """Waits for something that must happen; how long it takes is no part of the test."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.005)


def path(index: int, tokens: int, seed: int | None = None) -> PathRequest:
    sampling = SamplingParams(max_tokens=tokens, seed=100 + index if seed is None else seed)
    return PathRequest(index=index, sampling=sampling)


def group(name: str, paths: int = 1, tokens: int = 5, **more: Any) -> Group:
    return Group(
        id=name,
        prompt=Prompt.of_tokens([1, 2, 3]),
        paths=tuple(path(i, tokens) for i in range(paths)),
        **more,
    )


@dataclass
class Answer:
    events: list[Event] = field(default_factory=list)
    tokens: dict[int, tuple[int, ...]] = field(default_factory=dict)
    text: dict[int, str] = field(default_factory=dict)
    finish: dict[int, str] = field(default_factory=dict)
    failed: GroupFailed | None = None
    closed: bool = False

    def add(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, PathOutput):
            self.tokens[event.path] = self.tokens.get(event.path, ()) + event.tokens
            self.text[event.path] = self.text.get(event.path, "") + event.text
            if event.finish is not None:
                assert event.path not in self.finish, "a path ends once"
                self.finish[event.path] = event.finish.reason
        elif isinstance(event, GroupFailed):
            self.failed = event
        elif isinstance(event, GroupClosed):
            self.closed = True


async def ask(backend: Any, asked: Group) -> Answer:
    answer = Answer()
    async with backend.worker.open(asked) as stream:
        async for event in stream:
            answer.add(event)
    return answer


@dataclass
class RunningWorker:
    worker: BrokerWorker
    engine: FakeEngine
    task: asyncio.Task[int]

    def kill(self) -> None:
        """As a crash: nothing is said, nothing is tidied up."""
        self.task.cancel()


class World:
    def __init__(self, url: str, timing: Timing = QUICK) -> None:
        self.url = url
        self.timing = timing
        self.workers: list[RunningWorker] = []
        self.gateways: list[RedisBackend] = []

    def worker(self, *, drain_s: float = 10.0, **engine: Any) -> RunningWorker:
        made: list[FakeEngine] = []

        def build(emit: Any) -> FakeEngine:
            made.append(FakeEngine(emit, **engine))
            return made[0]

        worker = BrokerWorker(self.url, build, drain_s=drain_s, timing=self.timing)
        running = RunningWorker(worker, made[0], asyncio.create_task(worker.run()))
        self.workers.append(running)
        return running

    async def gateway(self, *, ready: bool = True, model: str = MODEL) -> RedisBackend:
        backend = RedisBackend(self.url, model, timing=self.timing)
        await backend.start()
        self.gateways.append(backend)
        if ready:
            await until(lambda: backend.status().state == "ready")
        return backend

    async def close(self) -> None:
        for backend in self.gateways:
            await backend.stop()
        for running in self.workers:
            running.engine.hold.clear()
            running.worker.stop()
            running.worker.stop()
        await asyncio.gather(*(w.task for w in self.workers), return_exceptions=True)


@contextlib.asynccontextmanager
async def world(url: str, timing: Timing = QUICK) -> AsyncIterator[World]:
    made = World(url, timing)
    try:
        yield made
    finally:
        await made.close()
