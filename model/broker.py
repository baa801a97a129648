"""The worker process: an engine on one side, Redis or Valkey on the other.

    taker ── Work ──► engine.send          reads only while the ledger has room
    ear ── Control ──► engine.send         on a connection of its own, also while it decodes
    engine ── events ──► outbox ── Results ──► gateways     one message per write and gateway
    heartbeat: lease, text assets, liveness of gateways

What the messages mean, and the rules that make them safe, is in `model.wire`.
"""

import asyncio
import contextlib
import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from model.contract import Command, Event, ModelCard, WorkerStatus, encode
from model.desk import Desk
from model.intake import Intake
from model.link import Link, connect, end
from model.outbox import Batch
from model.registration import ConflictingWorker, Registration
from model.text.assets import TextAssets
from model.wire import CONSUMER_GROUP, FIELD, MAILBOX_TTL_MS, MAX_MAILBOX, Keys, Timing

if TYPE_CHECKING:
    from model.checkpoints.base import Checkpoint
    from model.engine.config import EngineConfig

log = logging.getLogger("pollux.worker")

POLL_S = 0.1
FLUSH_S = 5.0
"""How long a worker that ends waits for the broker to take its last words."""

Emit = Callable[[Sequence[Event]], None]


class HasAssets(Protocol):
    @property
    def assets(self) -> TextAssets: ...


class Engine(Protocol):
    """What is needed of model.worker.EngineThread. All methods may be called from any thread."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def text(self) -> HasAssets: ...

    def start(self) -> None: ...

    def send(self, command: Command) -> None: ...

    def status(self) -> WorkerStatus: ...

    def stop(self, drain_s: float = 0) -> None: ...


class BrokerWorker:
    """Serves one engine to every gateway on the broker, until told to stop.

    build: makes the engine, given where its events go. drain_s: how long `drain` lets groups
    finish. Raises BadBrokerURL.
    """

    def __init__(
        self,
        url: str,
        build: Callable[[Emit], Engine],
        *,
        drain_s: float = 30.0,
        timing: Timing | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self._timing = timing or Timing()
        self._drain_s = drain_s
        self._redis = connect(url)
        self._link = Link(url, self._timing)
        self._lock = threading.Lock()
        self._emitted: list[Event] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._something_to_say = asyncio.Event()
        self._changed = asyncio.Event()
        self._beat_now = asyncio.Event()
        self._registering = asyncio.Lock()
        self._left = False
        self._stop_asked = 0
        self._draining = False
        self._engine = build(self._emit)
        card = self._engine.card
        self._keys = Keys(card.name)
        self._desk = Desk(self.id, self._engine.send, self._something_to_say.set)
        self._intake = Intake(self._redis, self._keys, self.id, self._desk, self._timing.block_ms)
        self._registration = Registration(
            self._redis, self.id, card, self._engine.text.assets, self._timing
        )

    def stop(self) -> None:
        """Ends in order: no new work, running groups finish within `drain_s`. Twice: at once."""
        self._stop_asked += 1
        self._changed.set()

    async def run(self) -> int:
        """Returns the exit status: 0 after `stop`, 1 when the engine or its model's name failed."""
        self._loop = asyncio.get_running_loop()
        self._engine.start()
        life = asyncio.create_task(self._live())
        servants = [asyncio.create_task(x) for x in (self._beat(), self._write(), self._hear())]
        try:
            await asyncio.wait([life, *servants], return_when=asyncio.FIRST_COMPLETED)
            for servant in servants:
                if servant.done():
                    servant.result()
            return await life
        except ConflictingWorker as conflict:
            log.error("%s", conflict)
            return 1
        finally:
            await end([life, *servants])
            await asyncio.to_thread(self._engine.stop)
            await self._redis.aclose()

    # --- from start to end --------------------------------------------------------------------

    async def _live(self) -> int:
        ready = await self._becomes_ready()
        if ready:
            await self._serve()
        failed = self._engine_failure()
        self._draining = True
        self._beat_now.set()
        if failed is None and ready:
            await self._finish_groups()
        groups = self._desk.ledger.all()
        self._desk.fail(groups, "unavailable", failed or "the worker was stopped")
        await self._leave()
        if failed is not None:
            log.error("%s", failed)
            return 1
        log.info("stopped")
        return 0

    async def _becomes_ready(self) -> bool:
        said = ""
        while not self._stop_asked and self._engine_failure() is None:
            status = self._engine.status()
            if status.state == "ready":
                self._desk.ledger.capacity = 2 * max(1, status.max_rows)
                self._beat_now.set()
                log.info("ready: %s, worker %s", self._engine.card.name, self.id)
                return True
            if (line := _progress(status)) != said:
                said = line
                log.info("%s", said)
            await self._until(lambda: self._stop_asked > 0, POLL_S)
        return False

    async def _serve(self) -> None:
        """Reads work while there is room for it."""
        seen_all = False
        while not self._stop_asked and self._engine_failure() is None:
            if not self._desk.ledger.has_room:
                await self._until(lambda: self._desk.ledger.has_room, POLL_S)
                continue
            known, seen_all = seen_all, False
            async with self._link.attempt():
                await (self._intake.work() if known else self._intake.unseen_work())
                seen_all = True

    async def _finish_groups(self) -> None:
        """Hands back what has not started where another worker can take it, waits for the rest,
        and hands back at the end what still has not started."""
        ledger, self._desk.closing = self._desk.ledger, True
        self._desk.fail(ledger.held(), "unavailable", "the worker is stopping")
        if len(ledger):
            log.info("stopping: %d groups to finish, within %g s", len(ledger), self._drain_s)
        async with self._link.attempt():
            await self._intake.unseen_work()
        end_at = time.monotonic() + self._drain_s
        while len(ledger) and self._stop_asked < 2 and (left := end_at - time.monotonic()) > 0:
            async with self._link.attempt():
                if ledger.not_started() and await self._registration.another_is_ready():
                    self._desk.hand_back()
            await self._until(
                lambda: not len(ledger) or self._stop_asked > 1,
                min(left, self._timing.heartbeat_s),
            )
        self._desk.hand_back()

    async def _leave(self) -> None:
        await self._until(lambda: self._desk.outbox.is_settled, FLUSH_S)
        async with self._registering, self._link.attempt():
            self._left = True
            await self._registration.leave()

    async def _until(self, done: Callable[[], bool], within_s: float) -> None:
        """Waits for what only this worker's own events, writes and signals can bring about."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()

    def _engine_failure(self) -> str | None:
        status = self._engine.status()
        if status.state not in ("failed", "stopped"):
            return None
        return f"the engine has {status.state}: {status.detail or 'it gave no reason'}"

    # --- what goes on beside it ---------------------------------------------------------------

    async def _hear(self) -> None:
        while True:
            async with self._link.attempt():
                await self._intake.commands()

    def _emit(self, events: Sequence[Event]) -> None:
        """On the engine's thread. One wake-up of the loop serves all steps until it runs."""
        with self._lock:
            idle = not self._emitted
            self._emitted.extend(events)
        if idle and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._loop.call_soon_threadsafe(self._sort)

    def _sort(self) -> None:
        with self._lock:
            events, self._emitted = self._emitted, []
        self._desk.sort(events)
        self._changed.set()

    async def _write(self) -> None:
        outbox = self._desk.outbox
        while True:
            await self._something_to_say.wait()
            self._something_to_say.clear()
            if not outbox:
                continue
            batch = outbox.take()
            written = False
            while not written:
                async with self._link.attempt():
                    await self._put(batch)
                    written = True
            outbox.written(batch)
            self._changed.set()

    async def _put(self, batch: Batch) -> None:
        """Last events and acknowledgements go together: a group is over for both or for neither."""
        pipe = self._redis.pipeline(transaction=True)
        for gateway, message in batch.messages:
            key = self._keys.results(gateway)
            pipe.xadd(key, {FIELD: encode(message)}, maxlen=MAX_MAILBOX, approximate=True)
            pipe.pexpire(key, MAILBOX_TTL_MS)
        if batch.done:
            pipe.xack(self._keys.work, CONSUMER_GROUP, *batch.done)
            pipe.xdel(self._keys.work, *batch.done)
        await pipe.execute()

    async def _beat(self) -> None:
        timing = self._timing
        swept = time.monotonic()
        while not self._left:
            self._beat_now.clear()
            async with self._registering, self._link.attempt():
                if not self._left:
                    await self._register()
                if time.monotonic() - swept > timing.lease_s:
                    swept = time.monotonic()
                    await self._registration.sweep()
            desk = self._desk
            if self._link.away_s > timing.lease_s and len(desk.ledger):
                log.warning("without a broker for too long, gave up %d groups", len(desk.ledger))
                desk.fail(desk.ledger.all(), "unavailable", "the worker lost the broker")
            desk.outbox.keep_alive(desk.ledger.gateways)
            self._something_to_say.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._beat_now.wait(), timing.heartbeat_s)
        await asyncio.Event().wait()  # ends with the other tasks

    async def _register(self) -> None:
        desk = self._desk
        alive = await self._registration.beat(self._status(), desk.ledger.gateways)
        gone = desk.silent_gateways(alive, self._link.since, self._timing.absence_s)
        if gone and (ended := desk.forget(gone)):
            log.warning("%d gateways are gone, ended %d of their groups", len(gone), ended)

    def _status(self) -> WorkerStatus:
        status = self._engine.status()
        if self._draining and status.state == "ready":
            return replace(status, state="draining")
        return status


def _progress(status: WorkerStatus) -> str:
    if status.progress is None:
        return status.detail or status.state
    return f"{status.detail or status.state}: {int(status.progress * 10) * 10}%"


async def serve(worker: BrokerWorker) -> int:
    """Runs the worker until SIGTERM or SIGINT; a second one ends it at once."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    return await worker.run()


def run_worker(
    url: str,
    checkpoint: "Checkpoint",
    name: str,
    config: "EngineConfig",
    *,
    drain_s: float = 30.0,
    timing: Timing | None = None,
) -> int:
    """A whole worker process over an open checkpoint; returns its exit status. Imports jax.

    Raises BadBrokerURL, and what the engine raises for a checkpoint that it cannot run.
    """
    from model.worker import EngineThread

    def build(emit: Emit) -> Engine:
        return EngineThread(checkpoint, name, config, emit)

    async def main() -> int:
        return await serve(BrokerWorker(url, build, drain_s=drain_s, timing=timing))

    return asyncio.run(main())
