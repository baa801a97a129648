"""The embedded backend over a small engine that really has a thread of its own."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence

import httpx
import pytest

from model.contract import (
    Abort,
    Command,
    Event,
    Finish,
    Group,
    GroupClosed,
    GroupFailed,
    GroupStarted,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
    WorkerStatus,
    WorkerUnavailable,
)
from service.workers.embedded import EmbeddedBackend
from tests.service.support import MODEL, card, eventually, running, tiny_text


class CountingEngine:
    """Counts upward on every path until its max_tokens, one token per step, on its own thread."""

    def __init__(self, emit: Callable[[Sequence[Event]], None]) -> None:
        self.text = tiny_text()
        self.card = card(self.text)
        self.state = "starting"
        self.aborted: list[str] = []
        self.paused = threading.Event()
        self.paused.set()
        self._emit = emit
        self._inbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._groups: dict[str, tuple[Group, int]] = {}

    def start(self) -> None:
        self.state = "ready"
        self._thread.start()

    def send(self, command: Command) -> None:
        self._inbox.put(command)

    def status(self) -> WorkerStatus:
        return WorkerStatus(state=self.state, detail="so far")

    def stop(self, drain_s: float = 0) -> None:
        self.state = "stopped"
        self._inbox.put(None)
        self.paused.set()
        self._thread.join()

    def _main(self) -> None:
        while True:
            while not self._groups or not self._inbox.empty():
                command = self._inbox.get()
                if command is None:
                    return
                self._take(command)
            self.paused.wait()
            self._emit([event for group_id in list(self._groups) for event in self._step(group_id)])

    def _take(self, command: Command) -> None:
        if isinstance(command, Submit):
            group = command.group
            self._groups[group.id] = (group, 0)
            self._emit([GroupStarted(group_id=group.id, prompt_tokens=len(group.prompt))])
        elif isinstance(command, Abort):
            self.aborted.append(command.group_id)
            self._groups.pop(command.group_id, None)

    def _step(self, group_id: str) -> list[Event]:
        group, step = self._groups[group_id]
        last = step + 1 == group.paths[0].sampling.max_tokens
        self._groups[group_id] = (group, step + 1)
        events: list[Event] = [
            PathOutput(
                group_id=group_id,
                path=path.index,
                tokens=(step,),
                text=f"{step} ",
                finish=Finish(reason="length") if last else None,
            )
            for path in group.paths
        ]
        if last:
            del self._groups[group_id]
            events.append(GroupClosed(group_id=group_id))
        return events


def counting() -> tuple[EmbeddedBackend, CountingEngine]:
    made: list[CountingEngine] = []

    def build(emit: Callable[[Sequence[Event]], None]) -> CountingEngine:
        made.append(CountingEngine(emit))
        return made[0]

    return EmbeddedBackend(build), made[0]


def group(name: str, tokens: int, paths: int = 1) -> Group:
    sampling = SamplingParams(max_tokens=tokens)
    requests = tuple(PathRequest(index=i, sampling=sampling) for i in range(paths))
    return Group(id=name, prompt=Prompt.of_tokens([1]), paths=requests)


async def read(backend: EmbeddedBackend, asked: Group) -> dict[int, list[int]]:
    tokens: dict[int, list[int]] = {path.index: [] for path in asked.paths}
    async with backend.worker.open(asked) as stream:
        async for event in stream:
            if isinstance(event, PathOutput):
                tokens[event.path].extend(event.tokens)
    return tokens


async def test_no_token_is_lost_or_reordered_on_its_way_between_threads() -> None:
    backend, _ = counting()
    await backend.start()
    asked = [group(f"g{i}", 200 + i, paths=3) for i in range(20)]
    answers = await asyncio.gather(*(read(backend, each) for each in asked))
    for i, tokens in enumerate(answers):
        assert tokens == {path: list(range(200 + i)) for path in range(3)}
    await backend.stop()


async def test_leaving_a_group_reaches_the_engine() -> None:
    backend, engine = counting()
    await backend.start()
    async with backend.worker.open(group("left", 10**9)) as stream:
        await anext(aiter(stream))
    await eventually(lambda: engine.aborted == ["left"])
    await backend.stop()


async def test_before_it_is_ready_nothing_is_taken() -> None:
    backend, engine = counting()
    with pytest.raises(WorkerUnavailable, match="so far"):
        backend.worker.open(group("g", 1))
    assert backend.card is engine.card
    assert backend.text is engine.text
    assert backend.status().state == "starting"


async def test_stopping_tells_those_who_still_read() -> None:
    backend, engine = counting()
    await backend.start()
    engine.paused.clear()
    async with backend.worker.open(group("g", 10**9)) as stream:
        await backend.stop()
        events = [event async for event in stream]
    assert isinstance(events[-1], GroupFailed)
    assert events[-1].code == "unavailable"


async def test_the_whole_way_from_http_to_the_thread_and_back() -> None:
    backend, _ = counting()
    async with running(lambda g, p: "", backend=backend) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1/completions",
            json={"model": MODEL, "prompt": "x", "max_tokens": 5, "n": 2},
        )
        texts = [choice["text"] for choice in reply.json()["choices"]]
        assert texts == ["0 1 2 3 4 "] * 2
