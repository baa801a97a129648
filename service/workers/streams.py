"""Groups on their way: one buffer per group, whatever carries commands and events.

Everything here runs on the event loop's thread. A transport brings two things: a `send` that
takes a command without blocking, and calls of `GroupStreams.deliver` with what came back.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from types import TracebackType

from model.contract import (
    Abort,
    Command,
    Event,
    Extend,
    FailureCode,
    Finish,
    Group,
    GroupClosed,
    GroupFailed,
    PathOutput,
    PathRequest,
    Submit,
    TokenLogprob,
)

Send = Callable[[Command], None]
"""Hands a command to the transport at once, never blocking, so that an abort works even while a
task is being cancelled. Raises WorkerUnavailable when nothing can take a Submit; a transport
that learns it later delivers GroupFailed(code="unavailable")."""


class GroupStreams:
    """The open groups of one transport: gives each its events, aborts what nobody reads."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open: dict[str, QueuedStream] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, group: Group) -> "QueuedStream":
        return QueuedStream(group, self)

    def deliver(self, events: Iterable[Event]) -> None:
        """Puts each event into its group's buffer. Events of groups that were left are dropped."""
        for event in events:
            stream = self._open.get(event.group_id)
            if stream is not None:
                stream.put(event)

    def fail(self, group_ids: Iterable[str], code: FailureCode, message: str) -> None:
        """Ends groups whose worker is gone."""
        self.deliver([GroupFailed(group_id=g, code=code, message=message) for g in group_ids])

    def fail_all(self, code: FailureCode, message: str) -> None:
        self.fail(list(self._open), code, message)

    def _submit(self, stream: "QueuedStream") -> None:
        group = stream.group
        if group.id in self._open:
            raise ValueError(f"group {group.id} is open already")
        self._open[group.id] = stream
        try:
            self._send(Submit(group=group))
        except BaseException:
            del self._open[group.id]
            raise

    def _command(self, command: Command) -> None:
        self._send(command)

    def _forget(self, stream: "QueuedStream") -> None:
        self._open.pop(stream.group.id, None)


class QueuedStream:
    """One group (model.contract.GroupStream). Outputs that wait for a slow reader are merged,
    path by path, so the buffer holds at most one of each path."""

    def __init__(self, group: Group, streams: GroupStreams) -> None:
        self.group = group
        self._streams = streams
        self._buffer: deque[Event | _PendingOutput] = deque()
        self._pending: dict[int, _PendingOutput] = {}
        self._arrived = asyncio.Event()
        self._ended = False

    async def __aenter__(self) -> "QueuedStream":
        self._streams._submit(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._streams._forget(self)
        if not self._ended:
            self._streams._command(Abort(group_id=self.group.id))

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events()

    async def _events(self) -> AsyncIterator[Event]:
        while True:
            while self._buffer:
                event = self._take()
                yield event
                if isinstance(event, GroupClosed | GroupFailed):
                    return
            if self._ended:
                return
            self._arrived.clear()
            await self._arrived.wait()

    async def extend(self, paths: Sequence[PathRequest]) -> None:
        self._streams._command(Extend(group_id=self.group.id, paths=tuple(paths)))

    async def abort(self, paths: Collection[int] | None = None) -> None:
        if self._ended:
            return
        self._streams._command(
            Abort(group_id=self.group.id, paths=None if paths is None else tuple(paths))
        )

    def put(self, event: Event) -> None:
        if self._ended:
            return
        if isinstance(event, PathOutput):
            self._put_output(event)
        else:
            self._buffer.append(event)
            self._ended = isinstance(event, GroupClosed | GroupFailed)
        self._arrived.set()

    def _put_output(self, event: PathOutput) -> None:
        waiting = self._pending.get(event.path)
        if waiting is not None:
            waiting.merge(event)
            return
        pending = _PendingOutput(event)
        self._pending[event.path] = pending
        self._buffer.append(pending)

    def _take(self) -> Event:
        item = self._buffer.popleft()
        if not isinstance(item, _PendingOutput):
            return item
        del self._pending[item.first.path]
        return item.output()

    @property
    def buffered(self) -> int:
        return len(self._buffer)


class _PendingOutput:
    """Outputs of one path that nobody has read yet, merged in linear time."""

    def __init__(self, first: PathOutput) -> None:
        self.first = first
        self._merged = False
        self._tokens: list[int] = []
        self._texts: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._finish: Finish | None = None

    def merge(self, event: PathOutput) -> None:
        if not self._merged:
            self._merged = True
            self._append(self.first)
        self._append(event)

    def _append(self, event: PathOutput) -> None:
        self._tokens.extend(event.tokens)
        self._texts.append(event.text)
        self._logprobs.extend(event.logprobs)
        self._finish = event.finish or self._finish

    def output(self) -> PathOutput:
        if not self._merged:
            return self.first
        return PathOutput(
            group_id=self.first.group_id,
            path=self.first.path,
            tokens=tuple(self._tokens),
            text="".join(self._texts),
            logprobs=tuple(self._logprobs),
            finish=self._finish,
        )
