"""Holds and cache scopes through a gateway, over a real engine of a tiny model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model.checkpoints import open_checkpoint
from model.contract import Prompt
from model.text.language import ChatMessage
from routing.policy import RoutingPolicy
from service.api.generation import collect
from service.api.internal import Ask, Chat, Sampling, TokenIds
from service.api.planning import PlainPlan
from service.api.routed import RoutedPlan, decide
from service.errors import ApiError
from service.gateway import Gateway
from service.guard.keys import Key
from service.guard.limits import Account, Limits
from service.guard.visits import Visit, current_visit
from service.placement import scope_of
from service.workers.embedded import EmbeddedBackend, embedded_backend
from service.workers.metered import Bill
from tests.broker_world import until
from tests.model.host import TINY
from tests.service.support import MODEL, running, settings_of

IDS = tuple(range(5, 45))
PAGE = TINY.page_size


def tiny_backend(fixtures: Path) -> EmbeddedBackend:
    return embedded_backend(open_checkpoint(fixtures / "llama"), "tiny", TINY)


@pytest.fixture
async def backend(parity_fixtures: Path) -> AsyncIterator[EmbeddedBackend]:
    made = tiny_backend(parity_fixtures)
    await made.start()
    await until(lambda: made.status().state == "ready")
    yield made
    await made.stop()


@asynccontextmanager
async def gateway_of(backend: EmbeddedBackend, **settings: object) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings_of(**settings), backend)
    try:
        yield gateway
    finally:
        await gateway.stop()


def unused(group: object, path: object) -> str:
    raise AssertionError("the scripted worker is not asked")


def visit_of(key: bytes, name: str = "name") -> Visit:
    identity = Key(name, key).identity
    return Visit(Account(name, Limits(), lambda: 0.0, identity))


async def cached(gateway: Gateway, ids: tuple[int, ...], visit: Visit | None = None, **ask) -> int:
    """How many tokens of the prompt were found."""
    token = current_visit.set(visit)
    try:
        asked = Ask("tiny", TokenIds(ids), Sampling(max_tokens=2), **ask)
        plan = await gateway.plan(asked)
        assert isinstance(plan, PlainPlan)
        return (await collect(gateway.generate(plan), plan.group)).counts.cached
    finally:
        current_visit.reset(token)


async def test_prompts_of_different_salts_share_no_pages_and_those_of_one_do(
    backend: EmbeddedBackend,
) -> None:
    async with gateway_of(backend) as gateway:
        assert await cached(gateway, IDS, cache_salt="a") == 0
        assert await cached(gateway, IDS, cache_salt="b") == 0
        assert await cached(gateway, IDS) == 0
        assert await cached(gateway, IDS, cache_salt="a") == 4 * PAGE


@pytest.mark.parametrize(("scope", "found"), [("server", 4 * PAGE), ("key", 0)])
async def test_keys_share_pages_only_where_the_server_says_so(
    backend: EmbeddedBackend, scope: str, found: int
) -> None:
    alice, bob = visit_of(b"a" * 32), visit_of(b"b" * 32)
    async with gateway_of(backend, cache_scope=scope) as gateway:
        assert await cached(gateway, IDS, alice) == 0
        assert await cached(gateway, IDS, bob) == found
        assert await cached(gateway, IDS, alice) == 4 * PAGE
        assert await cached(gateway, IDS, alice, cache_salt="x") == 0


def test_a_scope_stands_for_the_key_and_the_salt_together() -> None:
    one, other = Key("name", b"a" * 32).identity, Key("name", b"b" * 32).identity
    pairs = [(None, "s"), (one, ""), (one, "s"), (one, "t"), (other, ""), (other, "s")]
    assert len({scope_of(*pair) for pair in pairs}) == len(pairs)
    assert scope_of(None, "") == ""
    assert scope_of(one, "s") == scope_of(Key("name", b"a" * 32).identity, "s")


async def test_a_hold_keeps_full_pages_until_it_is_released(backend: EmbeddedBackend) -> None:
    async with gateway_of(backend) as gateway:
        hold = await gateway.holds.hold(Prompt.of_tokens(IDS))
        assert hold.tokens == len(IDS)
        await until(lambda: backend.status().holds == 1)
        assert backend.status().pages_used == backend.status().held_pages == len(IDS) // PAGE
        assert await cached(gateway, (*IDS, 60, 61), near=hold.id) == len(IDS)
        await hold.release()
        await hold.release()
        await until(lambda: backend.status().pages_used == 0)
        assert (hold.tokens, len(gateway.holds)) == (0, 0)


async def test_a_key_pays_for_what_is_held_once(backend: EmbeddedBackend) -> None:
    alice = visit_of(b"a" * 32)
    account, answer = alice.account, 2
    async with gateway_of(backend) as gateway:
        token = current_visit.set(alice)
        hold = await gateway.holds.hold(Prompt.of_tokens((*IDS, 60)))
        current_visit.reset(token)
        assert account.tokens == len(IDS)  # its full pages
        await cached(gateway, (*IDS, 60, 61), alice, near=hold.id)
        assert account.tokens == len(IDS) + 2 + answer
        await cached(gateway, (*IDS, 60, 61), alice)  # of no hold: prompts are paid whole
        assert account.tokens == 2 * (len(IDS) + 2 + answer)
        await hold.release()
        await cached(gateway, (*IDS, 60, 61), alice, near=hold.id)
        assert account.tokens == 3 * (len(IDS) + 2 + answer)


async def test_holding_what_a_turn_has_read_costs_nothing_more(backend: EmbeddedBackend) -> None:
    alice = visit_of(b"a" * 32)
    async with gateway_of(backend) as gateway:
        await cached(gateway, (*IDS, 60), alice)
        before = alice.account.tokens
        token = current_visit.set(alice)
        async with await gateway.holds.hold(Prompt.of_tokens((*IDS, 60))) as hold:
            assert hold.tokens == len(IDS)
        current_visit.reset(token)
        assert alice.account.tokens == before


async def test_a_hold_that_is_given_up_is_paid() -> None:
    account = visit_of(b"a" * 32).account
    bill = Bill(account, hold=True, paid=0)
    bill.begun(prompt=50, found=16)
    bill.settle()
    bill.settle()
    assert account.tokens == 34


async def test_a_hold_serves_its_own_scope(backend: EmbeddedBackend) -> None:
    async with (
        gateway_of(backend) as gateway,
        await gateway.holds.hold(Prompt.of_tokens(IDS), cache_salt="a") as hold,
    ):
        assert await cached(gateway, (*IDS, 60), near=hold.id) == 0
        assert await cached(gateway, (*IDS, 60), near=hold.id, cache_salt="a") == len(IDS)


async def test_holds_end_with_their_gateway(backend: EmbeddedBackend) -> None:
    async with gateway_of(backend) as gateway:
        await gateway.holds.hold(Prompt.of_tokens(IDS))
    await until(lambda: backend.status().holds == 0)
    with pytest.raises(ApiError, match="shutting down"):
        await gateway.holds.hold(Prompt.of_tokens(IDS))


async def test_too_many_holds_and_bad_prompts_are_refused_and_leave_nothing(
    backend: EmbeddedBackend,
) -> None:
    async with gateway_of(backend, max_holds=1) as gateway:
        with pytest.raises(ApiError, match="no tokens") as invalid:
            await gateway.holds.hold(Prompt.of_tokens(()))
        assert invalid.value.kind == "invalid"
        await gateway.holds.hold(Prompt.of_tokens(IDS))
        with pytest.raises(ApiError) as overloaded:
            await gateway.holds.hold(Prompt.of_tokens(IDS))
        assert overloaded.value.kind == "overloaded"


async def test_holds_that_yield_make_room_for_one_that_does_not() -> None:
    async with running(unused, max_holds=2) as served:
        holds = served.gateway.holds
        weak = [await holds.hold(Prompt.of_tokens((i, *IDS)), yields=True) for i in range(2)]
        with pytest.raises(ApiError, match="no more may be"):
            await holds.hold(Prompt.of_tokens(IDS), yields=True)
        strong = await holds.hold(Prompt.of_tokens(IDS))
        assert [holds.group_of(one.id) != "" for one in weak] == [False, True]
        await holds.hold(Prompt.of_tokens((9, *IDS)))
        with pytest.raises(ApiError, match="no more may be"):
            await holds.hold(Prompt.of_tokens((8, *IDS)))
        assert strong.tokens > 0


async def test_who_stops_waiting_for_a_hold_leaves_none(backend: EmbeddedBackend) -> None:
    async with gateway_of(backend) as gateway:
        waiting = asyncio.create_task(gateway.holds.hold(Prompt.of_tokens(IDS)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert len(gateway.holds) == 0
        await until(lambda: backend.status().groups == 0)


async def test_over_http_a_salt_keeps_prompts_apart_and_metrics_tell_of_holds(
    parity_fixtures: Path,
) -> None:
    backend = tiny_backend(parity_fixtures)
    async with running(unused, backend=backend) as served, httpx.AsyncClient() as client:
        await until(lambda: backend.status().state == "ready")

        async def ask(salt: object) -> httpx.Response:
            body = {"model": "tiny", "prompt": list(IDS), "max_tokens": 1, "cache_salt": salt}
            return await client.post(f"{served.url}/v1/completions", json=body)

        found = []
        for salt in ("a", "b", "a", None):
            usage = (await ask(salt)).json()["usage"]
            found.append(usage["prompt_tokens_details"]["cached_tokens"])
        assert found == [0, 0, 4 * PAGE, 0]
        for bad in ("", "x" * 257, 5):
            assert (await ask(bad)).status_code == 400
        await served.gateway.holds.hold(Prompt.of_tokens(IDS))
        await until(lambda: backend.status().holds == 1)
        text = (await client.get(f"{served.url}/metrics")).text
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert (values["pollux:holds"], values["pollux:held_pages"]) == (1, len(IDS) // PAGE)


async def test_all_groups_of_a_routed_question_carry_its_scope_and_are_near_its_hold() -> None:
    async with running(lambda group, path: "Answer: 4") as served:
        gateway = served.gateway
        gateway.holds.group_of = {"hold": "its group"}.get  # type: ignore[method-assign]
        question = Chat((ChatMessage(role="user", content="What is two and two?"),))
        policy = RoutingPolicy(k=4, answer="number")
        ask = Ask(MODEL, question, routing=policy, cache_salt="a", near="hold")
        plan = await gateway.plan(ask)
        assert isinstance(plan, RoutedPlan)
        await decide(gateway.route(plan), plan)
        groups = [stream.group for stream in served.worker.groups]
        assert len(groups) > 1
        assert {(group.scope, group.near) for group in groups} == {
            (scope_of(None, "a"), "its group")
        }
