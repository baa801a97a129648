"""A worker without a model: replays scripted paths as the events a real worker sends.

    def script(group: Group, path: PathRequest) -> PathScript | str:
        return say("two and two. Answer: 4")

    worker = ScriptedWorker(script)
    async with worker.open(group) as stream:
        async for event in stream: ...
    assert worker.idle

It keeps the contract strictly and fails a test that breaks it: extending a group that is not
open, or using a path index twice, is an AssertionError. An embedding gets what `vectors` makes of
its group. `max_tokens`, stop strings, aborts (of
paths and groups), open groups and `prompt_logprobs` are honoured; `deadline_s`, `min_tokens`,
`generated` and logit biases are recorded in the request and otherwise ignored.

Order is under control: `schedule` chooses the running path that produces next, `pace` is awaited
before every step (see `Gate`), and `abort_lag` lets paths go on for some steps after an abort.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from model.contract import (
    Event,
    Finish,
    Group,
    GroupClosed,
    GroupFailed,
    GroupStarted,
    PathOutput,
    PathRequest,
    PrefixHeld,
    PromptEmbedded,
    PromptScored,
    WorkerStatus,
    WorkerUnavailable,
)
from tests.scripts import (
    Chunk,
    Failure,
    PathScript,
    cut_to_request,
    made_up_logprob,
    made_up_vector,
    say,
)

__all__ = [
    "Chunk",
    "Failure",
    "Gate",
    "PathScript",
    "RoundRobin",
    "ScriptedStream",
    "ScriptedWorker",
    "completion_order",
    "no_wait",
    "say",
]

Script = Callable[[Group, PathRequest], PathScript | str]
Schedule = Callable[[Group, Sequence[int]], int]
Pace = Callable[[], Awaitable[None]]
Vectors = Callable[[Group], bytes | Failure | None]
"""Of the model's hidden state, or why there is none; None closes the group without a word."""


def completion_order(order: Sequence[int]) -> Schedule:
    """Paths finish in this order as far as they run; those not named follow by index."""
    rank = {path: place for place, path in enumerate(order)}

    def choose(_: Group, running: Sequence[int]) -> int:
        return min(running, key=lambda path: (rank.get(path, len(rank)), path))

    return choose


class RoundRobin:
    """Every running path in turn: what a batched engine does. The default."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def __call__(self, group: Group, running: Sequence[int]) -> int:
        last = self._last.get(group.id, -1)
        chosen = min((path for path in running if path > last), default=min(running))
        self._last[group.id] = chosen
        return chosen


class Gate:
    """A pace that lets a test release steps one by one: `gate.step(3)`, `gate.release()`."""

    def __init__(self) -> None:
        self._steps = asyncio.Semaphore(0)
        self._released = False

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self._steps.release()

    def release(self) -> None:
        self._released = True
        self._steps.release()

    async def __call__(self) -> None:
        await self._steps.acquire()
        if self._released:
            self._steps.release()


async def no_wait() -> None:
    """Yields to the event loop once, so that other tasks (a client that leaves) get a turn."""
    await asyncio.sleep(0)


class ScriptedWorker:
    """Implements `model.contract.Worker`. `groups` holds a record of every group submitted."""

    def __init__(
        self,
        script: Script,
        *,
        schedule: Schedule | None = None,
        pace: Pace = no_wait,
        abort_lag: int = 0,
        refuse: WorkerUnavailable | None = None,
        status: WorkerStatus | None = None,
        cached: int = 0,
        vectors: Vectors = made_up_vector,
    ) -> None:
        self.script = script
        self.cached = cached
        self.vectors = vectors
        self.schedule = schedule if schedule is not None else RoundRobin()
        self.pace = pace
        self.abort_lag = abort_lag
        self.refuse = refuse
        self.fixed_status = status
        self.groups: list[ScriptedStream] = []

    def open(self, group: Group) -> "ScriptedStream":
        return ScriptedStream(self, group)

    def status(self) -> WorkerStatus:
        if self.fixed_status is not None:
            return self.fixed_status
        live = [stream for stream in self.groups if not stream.ended]
        running = sum(len(stream.running) for stream in live)
        return WorkerStatus(state="ready", running=running, groups=len(live), max_rows=32)

    @property
    def idle(self) -> bool:
        """Nothing runs and every group was closed, failed or left."""
        return all(stream.ended and not stream.running for stream in self.groups)


@dataclass
class _RunningPath:
    chunks: deque[Chunk]
    finish: Finish | Failure
    steps_after_abort: int | None = None


@dataclass(eq=False)
class ScriptedStream:
    """Implements `model.contract.GroupStream`, and remembers what was done to it.

    requests: all paths submitted, extensions included, in order. finished: paths that ended by
    themselves, in order. aborted: paths that an abort cut short, in order. extensions: how many
    paths each `extend` brought. produced: tokens delivered per path.
    """

    worker: ScriptedWorker
    group: Group
    requests: list[PathRequest] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    aborted: list[int] = field(default_factory=list)
    extensions: list[int] = field(default_factory=list)
    produced: dict[int, int] = field(default_factory=dict)
    running: dict[int, _RunningPath] = field(default_factory=dict)
    ended: bool = False
    embedded: bool = False
    _open: bool = False
    _entered: bool = False
    _pending: deque[Event] = field(default_factory=deque)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        assert not self._entered, "a group stream is entered once"
        if self.worker.refuse is not None:
            raise self.worker.refuse
        assert not (self.group.embed and (self.group.paths or self.group.open))
        self._entered = True
        self._open = self.group.open
        self.worker.groups.append(self)
        self._pending.append(
            GroupStarted(
                group_id=self.group.id,
                prompt_tokens=len(self.group.prompt),
                cached_tokens=self.worker.cached,
            )
        )
        if self.group.hold:
            self._pending.append(PrefixHeld(self.group.id, len(self.group.prompt)))
        if self.group.prompt_logprobs is not None:
            ids = self.group.prompt.token_ids()[1:]
            scored = tuple(made_up_logprob(token, self.group.prompt_logprobs) for token in ids)
            self._pending.append(PromptScored(group_id=self.group.id, logprobs=scored))
        self._start(self.group.paths)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.ended:
            self._cut(tuple(self.running))
            self.ended = True

    async def extend(self, paths: Sequence[PathRequest]) -> None:
        assert self._open, f"group {self.group.id} is not open: it cannot be extended"
        assert not self.ended, f"group {self.group.id} has ended: it cannot be extended"
        self.extensions.append(len(paths))
        self._start(paths)
        self._changed.set()

    async def abort(self, paths: Collection[int] | None = None) -> None:
        if paths is None:
            self._open = False
        wanted = set(self.running) if paths is None else set(paths) & set(self.running)
        for path in sorted(wanted):
            if self.running[path].steps_after_abort is None:
                self.running[path].steps_after_abort = self.worker.abort_lag
        due = [path for path in sorted(wanted) if self.running[path].steps_after_abort == 0]
        self._cut(due)
        self._changed.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        assert self._entered, "enter the stream's context before iterating"
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            if self.ended:
                raise StopAsyncIteration
            if self.running:
                await self.worker.pace()
                # An abort may have come while this waited.
                if self.running and not self._pending:
                    self._step()
            elif self.group.embed and not self.embedded:
                await self.worker.pace()
                self.embedded = True
                self._embed()
            elif self._open:
                self._changed.clear()
                await self._changed.wait()
            else:
                self._pending.append(GroupClosed(group_id=self.group.id))
        event = self._pending.popleft()
        if isinstance(event, GroupClosed | GroupFailed):
            self.ended = True
        return event

    def _embed(self) -> None:
        made = self.worker.vectors(self.group)
        if isinstance(made, Failure):
            self._pending.append(
                GroupFailed(group_id=self.group.id, code=made.code, message=made.message)
            )
        elif made is not None:
            self._pending.append(PromptEmbedded(group_id=self.group.id, values=made))

    def _start(self, paths: Sequence[PathRequest]) -> None:
        for path in paths:
            known = {request.index for request in self.requests}
            assert path.index not in known, f"path {path.index} exists already"
            self.requests.append(path)
            self.produced[path.index] = 0
            script = self.worker.script(self.group, path)
            chunks, finish = cut_to_request(script, path.sampling)
            self.running[path.index] = _RunningPath(deque(chunks), finish)

    def _step(self) -> None:
        chosen = self.worker.schedule(self.group, tuple(sorted(self.running)))
        path = self.running[chosen]
        chunk = path.chunks.popleft() if path.chunks else Chunk((), "")
        over = not path.chunks
        if over and isinstance(path.finish, Failure):
            self.running.clear()
            self._pending.append(
                GroupFailed(
                    group_id=self.group.id,
                    code=path.finish.code,
                    message=path.finish.message,
                    param=path.finish.param,
                )
            )
            return
        self.produced[chosen] += len(chunk.tokens)
        self._pending.append(
            PathOutput(
                group_id=self.group.id,
                path=chosen,
                tokens=chunk.tokens,
                text=chunk.text,
                logprobs=chunk.logprobs,
                finish=path.finish if over and isinstance(path.finish, Finish) else None,
            )
        )
        if over:
            del self.running[chosen]
            self.finished.append(chosen)
        elif path.steps_after_abort is not None:
            path.steps_after_abort -= 1
            if path.steps_after_abort == 0:
                self._cut([chosen])

    def _cut(self, paths: Iterable[int]) -> None:
        for path in paths:
            del self.running[path]
            self.aborted.append(path)
            self._pending.append(
                PathOutput(group_id=self.group.id, path=path, finish=Finish(reason="abort"))
            )
