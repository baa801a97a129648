"""What a gateway reads from the broker and writes to it, in order and never twice to any effect."""

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import redis.asyncio as aioredis

from model.contract import encode
from model.delivery import Outgoing
from model.link import Link, entries_of
from model.wire import (
    CONSUMER_GROUP,
    FIELD,
    MAILBOX_TTL_MS,
    MAX_MAILBOX,
    WORK_TTL_MS,
    Control,
    GatewayRecord,
    Keys,
    Timing,
    Work,
    decode_results,
)
from service.workers.sessions import Action, Hand, Post, Session, Sessions, Tell, Withdraw

log = logging.getLogger("pollux.gateway")

MAX_RESULTS = 256
MAX_ACTIONS = 256


class Mailroom:
    """record: what this gateway says of itself now (`model.wire.GatewayRecord`)."""

    def __init__(
        self,
        redis: aioredis.Redis,
        link: Link,
        keys: Keys,
        timing: Timing,
        gateway_id: str,
        record: Callable[[], GatewayRecord],
    ) -> None:
        self._redis = redis
        self._timing = timing
        self._record = record
        self._link = link
        self._keys = keys
        self._id = gateway_id
        self._numbers = Outgoing()
        self._to_do = asyncio.Event()
        self._written = asyncio.Event()
        self._writing = False

    def wake(self) -> None:
        self._to_do.set()

    async def idle(self, sessions: Sessions) -> None:
        """Returns when everything decided so far is on the broker."""
        while sessions.actions or self._writing:
            self._written.clear()
            await self._written.wait()

    async def read(self, sessions: Sessions) -> None:
        """Passes results on as they come, for ever."""
        key = self._keys.results(self._id)
        read: list[bytes] = []
        while True:
            async with self._link.attempt():
                pipe = self._redis.pipeline(transaction=False)
                if read:
                    pipe.xdel(key, *read)
                pipe.xread({key: b"0"}, MAX_RESULTS, self._timing.block_ms)
                reply = (await pipe.execute())[-1]
                read = []
                for entry, fields in entries_of(reply):
                    read.append(entry)
                    try:
                        sessions.hear(decode_results(fields[FIELD]))
                    except (msgspec.DecodeError, KeyError) as error:
                        log.error("dropped results that are no message of this version: %s", error)

    async def write(self, sessions: Sessions) -> None:
        """Carries out actions as they are decided, for ever."""
        while True:
            await self._to_do.wait()
            self._to_do.clear()
            while sessions.actions:
                self._writing = True
                take = min(len(sessions.actions), MAX_ACTIONS)
                batch = [self._number(sessions.actions.popleft()) for _ in range(take)]
                written = False
                while not written:
                    async with self._link.attempt():
                        await self._put(batch, sessions)
                        written = True
                self._writing = False
                self._written.set()

    async def queued(self, sessions: Collection[Session]) -> set[bytes]:
        """Entries of these groups that are on the broker and were given to no worker."""
        entries = [s.entry for s in sessions if s.entry is not None]
        if not entries:
            return set()
        pipe = self._redis.pipeline(transaction=False)
        for entry in entries:
            pipe.xrange(self._keys.work, entry, entry)
            pipe.xpending_range(self._keys.work, CONSUMER_GROUP, entry, entry, 1)
        replies = await pipe.execute()
        found = zip(entries, replies[::2], replies[1::2], strict=True)
        return {entry for entry, there, pending in found if there and not pending}

    def _number(self, action: Action) -> tuple[Action, bytes]:
        """Numbers go on once per command, however often it has to be written."""
        if not isinstance(action, Tell | Hand):
            return action, b""
        seq = self._numbers.next(action.worker)
        if isinstance(action, Hand):
            return action, encode(
                Control(gateway=self._id, seq=seq, work=self._work(action.session))
            )
        return action, encode(Control(gateway=self._id, seq=seq, command=action.command))

    async def _put(self, batch: list[tuple[Action, bytes]], sessions: Sessions) -> None:
        keys = self._keys
        pipe = self._redis.pipeline(transaction=False)
        # Workers drop work of gateways without a lease, and a broker may have lost ours just now.
        pipe.set(keys.gateway(self._id), encode(self._record()), px=self._timing.lease_ms)
        answers: list[Session | None] = [None]
        for action, data in batch:
            if isinstance(action, Post):
                if not action.session.over:
                    pipe.xadd(keys.work, {FIELD: encode(self._work(action.session))})
                    answers.append(action.session)
            elif isinstance(action, Tell | Hand):
                key = keys.control(action.worker)
                pipe.xadd(key, {FIELD: data}, maxlen=MAX_MAILBOX, approximate=True)
                pipe.pexpire(key, MAILBOX_TTL_MS)
                sessions.told(action.worker)
                answers.extend((None, None))
            elif isinstance(action, Withdraw) and action.session.entry is not None:
                pipe.xack(keys.work, CONSUMER_GROUP, action.session.entry)
                pipe.xdel(keys.work, action.session.entry)
                answers.extend((None, None))
        pipe.pexpire(keys.work, WORK_TTL_MS)
        replies: list[Any] = await pipe.execute()
        for session, reply in zip(answers, replies, strict=False):
            if session is not None:
                session.entry = reply

    def _work(self, session: Session) -> Work:
        return Work(
            gateway=self._id,
            group_id=session.group.id,
            attempt=session.attempt,
            waited_s=session.age_s,
            group=session.group,
        )
