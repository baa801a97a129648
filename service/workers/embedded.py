"""The engine in this process, on its own thread: the default, with no broker."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from model.checkpoints.base import Checkpoint
from model.contract import (
    Command,
    Event,
    Group,
    ModelCard,
    Worker,
    WorkerStatus,
    WorkerUnavailable,
)
from model.text.language import TextModel
from service.workers.streams import GroupStreams, QueuedStream

if TYPE_CHECKING:
    from model.engine.config import EngineConfig

Emit = Callable[[Sequence[Event]], None]


class Engine(Protocol):
    """What is needed of model.worker.EngineThread. All methods may be called from any thread."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def text(self) -> TextModel: ...

    def start(self) -> None: ...

    def send(self, command: Command) -> None: ...

    def status(self) -> WorkerStatus: ...

    def stop(self, drain_s: float = 0) -> None: ...


class EmbeddedBackend:
    """Commands go straight to the engine's thread; its events come back once per step.

    build: makes the engine, given where its events go; it must return fast, since weights are
    loaded in the engine's thread. drain_s: how long `stop` lets running groups finish.
    """

    def __init__(self, build: Callable[[Emit], Engine], *, drain_s: float = 0.0) -> None:
        self._engine = build(self._emit)
        self._drain_s = drain_s
        self._streams = GroupStreams(self._engine.send)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._arrived: list[Event] = []

    @property
    def worker(self) -> Worker:
        return self

    @property
    def text(self) -> TextModel:
        return self._engine.text

    @property
    def card(self) -> ModelCard:
        return self._engine.card

    def status(self) -> WorkerStatus:
        return self._engine.status()

    def open(self, group: Group) -> QueuedStream:
        status = self._engine.status()
        if status.state != "ready":
            raise WorkerUnavailable(f"the model is not ready: {status.detail or status.state}")
        return self._streams.open(group)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine.start()

    async def stop(self) -> None:
        await asyncio.to_thread(self._engine.stop, self._drain_s)
        self._deliver()
        self._streams.fail_all("unavailable", "the server is shutting down")

    def _emit(self, events: Sequence[Event]) -> None:
        """On the engine's thread. One wake-up of the loop serves all steps until it runs."""
        with self._lock:
            idle = not self._arrived
            self._arrived.extend(events)
        if not idle or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop is closed: nobody is left to read
            return

    def _deliver(self) -> None:
        with self._lock:
            events, self._arrived = self._arrived, []
        self._streams.deliver(events)


def embedded_backend(
    checkpoint: Checkpoint, name: str, config: "EngineConfig", *, drain_s: float = 0.0
) -> EmbeddedBackend:
    """The engine over an open checkpoint. Imports jax."""
    from model.worker import EngineThread

    return EmbeddedBackend(
        lambda emit: EngineThread(checkpoint, name, config, emit), drain_s=drain_s
    )
