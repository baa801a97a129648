"""Holds over a real broker: near groups reach the worker that has them, and losses are noticed."""

import asyncio

from model.contract import Prompt
from service.gateway import Gateway
from service.holds import Holds
from service.workers.redis import RedisBackend
from tests.broker_world import RunningWorker, World, ask, group, until, world
from tests.service.support import settings_of
from tests.valkey import ValkeyServer

PROMPT = Prompt.of_tokens((1, 2, 3))


def holds_of(backend: RedisBackend) -> Holds:
    return Gateway(settings_of(), backend).holds


def holder_of(w: World) -> RunningWorker:
    (holder,) = [r for r in w.workers if any(x.group.hold for x in submitted(r))]
    return holder


def submitted(running: RunningWorker) -> list:
    return [command for command in running.engine.seen if hasattr(command, "group")]


async def two_workers(w: World) -> RedisBackend:
    w.worker()
    w.worker()
    backend = await w.gateway()
    await until(lambda: backend.status().max_rows == 8)
    return backend


async def test_near_groups_run_where_the_prefix_is_held(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        backend = await two_workers(w)
        holds = holds_of(backend)
        hold = await holds.hold(PROMPT)
        assert hold.tokens == 3
        for i in range(8):
            answer = await ask(backend, group(f"g{i}", near=holds.group_of(hold.id)))
            assert answer.closed
        assert len(submitted(holder_of(w))) == 1 + 8
        await holds.stop()
        await until(lambda: all(running.engine.idle for running in w.workers))


async def test_a_full_worker_hands_near_groups_on_to_another(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        backend = await two_workers(w)
        holds = holds_of(backend)
        near = holds.group_of((await holds.hold(PROMPT)).id)
        holder = holder_of(w)
        holder.engine.hold.set()
        stuck = [
            asyncio.create_task(ask(backend, group(f"s{i}", paths=4, near=near))) for i in range(2)
        ]
        await until(lambda: len(submitted(holder)) == 3)
        answer = await ask(backend, group("g", near=near))
        assert answer.closed
        assert len(submitted(holder)) == 3
        holder.engine.hold.clear()
        assert all(each.closed for each in await asyncio.gather(*stuck))
        await holds.stop()


async def test_a_hold_takes_no_room_of_the_worker_once_it_is_there(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(max_rows=1)
        backend = await w.gateway()
        holds = holds_of(backend)
        for _ in range(4):
            await holds.hold(PROMPT)
        assert running.worker._desk.ledger.has_room
        assert (await ask(backend, group("g"))).closed
        await holds.stop()


async def test_a_hold_of_a_worker_that_died_is_made_again_on_another(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        backend = await two_workers(w)
        holds = holds_of(backend)
        hold = await holds.hold(PROMPT)
        lost = holder_of(w)
        lost.kill()
        await until(lambda: hold.is_lost)
        assert hold.tokens == 0
        assert (await ask(backend, group("g", near=holds.group_of(hold.id)))).closed
        await until(lambda: hold.tokens == 3)
        survivor = next(running for running in w.workers if running is not lost)
        assert any(command.group.hold for command in submitted(survivor))
        await hold.release()


async def test_a_worker_that_stops_does_not_wait_for_holds(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker(drain_s=1e6)
        backend = await w.gateway()
        holds = holds_of(backend)
        hold = await holds.hold(PROMPT)
        running.worker.stop()
        assert await running.task == 0
        await until(lambda: hold.is_lost)
        await holds.stop()


async def test_holds_of_a_gateway_that_vanished_are_let_go(valkey: ValkeyServer) -> None:
    async with world(valkey.url) as w:
        running = w.worker()
        backend = await w.gateway()
        hold = await holds_of(backend).hold(PROMPT)
        for task in backend._tasks:
            task.cancel()
        await until(lambda: running.engine.idle)
        await hold.release()
