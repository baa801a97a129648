"""A pool of workers behind Redis or Valkey: any number of them, on any machine. No jax."""

import asyncio
import contextlib
import hashlib
import logging
import socket
import time
import uuid
from typing import Any

import msgspec
import redis.asyncio as aioredis

from model.contract import Group, ModelCard, Worker, WorkerStatus, WorkerUnavailable, encode
from model.link import Link, connect, end
from model.members import create_consumer_group, live_records, live_workers
from model.text.assets import TextAssets
from model.text.language import TextModel
from model.wire import (
    MAILBOX_TTL_MS,
    MAX_BACKLOG,
    MAX_TEXT_BYTES,
    MODELS,
    GatewayRecord,
    Keys,
    Timing,
    decode_gateway,
    text_key,
)
from service.workers.fleet import Fleet
from service.workers.mailroom import Mailroom
from service.workers.sessions import Sessions
from service.workers.streams import GroupStreams, QueuedStream

log = logging.getLogger("pollux.gateway")

FLUSH_S = 2.0


class RedisBackend:
    """Speaks for the workers that serve `model` on the broker. Raises BadBrokerURL."""

    def __init__(self, url: str, model: str, *, timing: Timing | None = None) -> None:
        self.id = uuid.uuid4().hex
        self._timing = timing or Timing()
        self._redis: aioredis.Redis = connect(url)
        self._link = Link(url, self._timing)
        self._keys = Keys(model)
        self._started = time.time()
        self._host = socket.gethostname()
        self._fleet = Fleet()
        self._backlog = 0
        self._waiting_elsewhere = 0
        self._other_models: list[str] = []
        self._card: ModelCard | None = None
        self._text: TextModel | None = None
        self._unreadable = ""
        self._streams = GroupStreams(lambda command: self._sessions.send(command))
        self._mailroom = Mailroom(
            self._redis, self._link, self._keys, self._timing, self.id, self._record
        )
        self._sessions = Sessions(self._streams.deliver, self._mailroom.wake, self._admit)
        self._tasks: list[asyncio.Task[None]] = []

    # --- what the API sees --------------------------------------------------------------------

    @property
    def worker(self) -> Worker:
        return self

    @property
    def text(self) -> TextModel | None:
        return self._text

    @property
    def card(self) -> ModelCard | None:
        return self._card

    def status(self) -> WorkerStatus:
        status = self._fleet.status(self._sessions.waiting + self._waiting_elsewhere)
        problem = self._problem()
        if problem is None:
            return status
        state = "starting" if status.state == "ready" else status.state
        return msgspec.structs.replace(status, state=state, detail=problem)

    def open(self, group: Group) -> QueuedStream:
        self._admit()
        return self._streams.open(group)

    async def start(self) -> None:
        mailroom, sessions = self._mailroom, self._sessions
        work = (self._watch(), mailroom.read(sessions), mailroom.write(sessions))
        self._tasks = [asyncio.create_task(each) for each in work]

    async def stop(self) -> None:
        """Ends what runs, here and on the workers, and takes the gateway off the broker."""
        self._sessions.fail_all("the server is shutting down")
        if self._tasks and self._link.connected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._mailroom.idle(self._sessions), FLUSH_S)
        await end(self._tasks)
        if self._link.connected:
            async with self._link.attempt():
                await self._redis.delete(self._keys.gateway(self.id), self._keys.results(self.id))
                await self._redis.srem(self._keys.gateways, self.id)
        await self._redis.aclose()

    def _admit(self) -> None:
        problem = self._problem()
        if problem is not None:
            raise WorkerUnavailable(problem, retry_after=self._timing.heartbeat_s)
        if self._backlog + self._sessions.unposted >= MAX_BACKLOG:
            raise WorkerUnavailable("the workers' queue is full", retry_after=5.0)

    def _problem(self) -> str | None:
        if not self._link.connected:
            return self._link.problem
        if not self._fleet.is_ready:
            hint = (
                f" (on the broker: {', '.join(self._other_models)})" if self._other_models else ""
            )
            return self._fleet.problem + hint
        if self._text is None or self._card is None:
            return self._unreadable or "the model's tokenizer is on its way"
        return None

    # --- the heartbeat ------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            async with self._link.attempt():
                await self._beat()
                await self._look_after_groups()
            if self._link.away_s > self._timing.lease_s:
                self._sessions.fail_all("the broker cannot be reached")
            self._sessions.keep_alive()
            await asyncio.sleep(self._timing.heartbeat_s)

    async def _beat(self) -> None:
        """Says that this gateway lives, and learns who else does."""
        keys = self._keys
        await create_consumer_group(self._redis, keys)
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(keys.gateway(self.id), encode(self._record()), px=self._timing.lease_ms)
        pipe.sadd(keys.gateways, self.id)
        pipe.pexpire(keys.gateways, MAILBOX_TTL_MS)
        pipe.pexpire(keys.results(self.id), MAILBOX_TTL_MS)
        pipe.xlen(keys.work)
        pipe.smembers(MODELS)
        *_, self._backlog, models = await pipe.execute()
        self._other_models = sorted(m.decode() for m in models if m.decode() != keys.model)
        self._fleet.see(await live_workers(self._redis, keys))
        gateways = map(decode_gateway, await live_records(self._redis, keys.gateways, keys.gateway))
        self._waiting_elsewhere = sum(each.waiting for each in gateways if each.id != self.id)
        await self._adopt()

    def _record(self) -> GatewayRecord:
        return GatewayRecord(
            id=self.id, started=self._started, host=self._host, waiting=self._sessions.waiting
        )

    async def _adopt(self) -> None:
        """Takes the card of the workers, and their tokenizer if it is a new one."""
        card = self._fleet.card
        if card is None or card == self._card:
            return
        if self._card is None or self._card.tokenizer != card.tokenizer:
            text = await self._fetch_text(card.tokenizer)
            if text is None:
                return
            self._text = text
        self._card = card

    async def _fetch_text(self, digest: str) -> TextModel | None:
        key = text_key(digest)
        if await self._redis.strlen(key) > MAX_TEXT_BYTES:
            self._refuse_text("is too large")
            return None
        data: Any = await self._redis.get(key)
        if data is None:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            self._refuse_text("is not what its workers announce")
            return None
        try:
            return await asyncio.to_thread(lambda: TextModel(TextAssets.decode(data)))
        except ValueError as error:
            self._refuse_text(f"cannot be read: {error}")
            return None

    def _refuse_text(self, reason: str) -> None:
        message = f"the tokenizer on the broker {reason}"
        if message != self._unreadable:
            log.error("%s", message)
        self._unreadable = message

    async def _look_after_groups(self) -> None:
        sessions, timing = self._sessions, self._timing
        sessions.lose_workers(self._fleet.alive(self._link.since, timing.absence_s))
        sessions.take_back(timing.lease_s)
        if self._fleet.no_taker_s > timing.lease_s:
            sessions.fail_unowned("no worker is left to run this group")
        queued = await self._mailroom.queued(sessions.unowned())
        sessions.fail_missing(queued, timing.lease_s)
