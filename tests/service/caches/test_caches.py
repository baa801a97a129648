"""Kept beginnings: bounds, owners and lifetimes; which tokens of a prompt they fix."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.contract import Prompt
from model.text.language import ChatMessage, TemplateError
from service.api.internal import Chat
from service.api.planning import encode
from service.caches.prefix import continued, held_prefix
from service.caches.store import MAX_KEY_CACHES, Caches
from service.errors import ApiError
from tests.service.files.support import HOUR, Now
from tests.service.support import settings_of, shown, tiny_text

CHAT = Chat((ChatMessage("system", "be brief"), ChatMessage("user", "a long text")))
PREFIX = (1, 2, 3)


@dataclass
class Pages:
    """What a worker would hold."""

    held: list[tuple[int, ...]] = field(default_factory=list)
    full: bool = False

    async def hold(self, prompt: Prompt) -> "Pin":
        await asyncio.sleep(0)
        if self.full:
            raise ApiError("overloaded", "no pages are left")
        self.held.append(prompt.token_ids())
        return Pin(self, prompt.token_ids())


@dataclass
class Pin:
    pages: Pages
    ids: tuple[int, ...]
    id: str = "hold"

    @property
    def tokens(self) -> int:
        return len(self.ids)

    async def release(self) -> None:
        self.pages.held.remove(self.ids)


def caches(clock: Now | None = None, **changes: object) -> tuple[Caches, Pages]:
    pages = Pages()
    return Caches(settings_of(**changes), pages, clock or Now()), pages


async def put(store: Caches, owner: str | None = None, seconds: float = HOUR):
    return await store.create(owner, "tiny", CHAT, PREFIX, store.expiry(seconds), None)


async def test_pages_are_held_until_the_content_is_deleted() -> None:
    store, pages = caches()
    cached = await put(store)
    assert pages.held == [PREFIX]
    assert store.held_tokens == 3
    await store.delete(cached)
    await store.delete(cached)
    assert pages.held == []
    assert store.find(None, cached.id) is None


async def test_time_gives_pages_back() -> None:
    clock = Now()
    store, pages = caches(clock)
    cached = await put(store, seconds=10)
    later = await put(store, seconds=10)
    store.keep_until(later, store.expiry(20))
    clock.now += 10
    assert store.find(None, cached.id) is None
    assert [one.id for one in store.newest(None)] == [later.id]
    await store.sweep()
    assert len(pages.held) == 1


async def test_a_lifetime_has_bounds() -> None:
    store, _ = caches(max_cache_lifetime=100)
    for seconds in (0, -5, 0.5, 101, float("inf")):
        with pytest.raises(ApiError, match="between 1 and 100 seconds"):
            store.expiry(seconds)


async def test_one_key_sees_nothing_of_another() -> None:
    store, _ = caches()
    cached = await put(store, "ann")
    for other in ("bob", None):
        assert store.find(other, cached.id) is None
        assert store.newest(other) == []
    assert store.find("ann", cached.id) == cached


async def test_there_are_only_so_many_also_of_those_being_made() -> None:
    store, pages = caches(max_caches=20)
    made = await asyncio.gather(
        *(put(store, "ann") for _ in range(MAX_KEY_CACHES + 5)), return_exceptions=True
    )
    refused = [one for one in made if isinstance(one, ApiError)]
    assert len(refused) == 5
    assert {one.code for one in refused} == {"cache_quota_exceeded"}
    made = await asyncio.gather(*(put(store) for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(one, ApiError) for one in made) == 10 - (20 - MAX_KEY_CACHES)
    assert len(pages.held) == len(store) == 20


async def test_a_worker_that_is_full_is_told_and_nothing_is_kept() -> None:
    store, pages = caches()
    pages.full = True
    with pytest.raises(ApiError, match="no pages are left"):
        await put(store)
    assert len(store) == 0
    pages.full = False
    await put(store)


async def test_all_pages_are_given_back_when_the_server_stops() -> None:
    store, pages = caches()
    async with store.swept():
        await put(store)
        await put(store)
    assert pages.held == []


# --- the prefix ----------------------------------------------------------------------------------

TEXT = tiny_text()
turn = st.builds(
    ChatMessage, role=st.sampled_from(["user", "assistant"]), content=st.text(max_size=12)
)


@given(st.lists(turn, min_size=1, max_size=4), st.lists(turn, min_size=1, max_size=3))
def test_the_prefix_begins_every_prompt_that_goes_on(beginning, rest) -> None:
    """One id per byte: what is the same in text is the same in tokens."""
    prefix = held_prefix(Chat(tuple(beginning)), TEXT)
    prompt, _ = encode(Chat(continued(beginning, rest)), TEXT)
    assert prompt[: len(prefix)] == prefix
    assert len(prefix) >= sum(len(message.content.encode()) for message in beginning)


def test_the_prefix_ends_where_the_next_turn_may_begin() -> None:
    assert shown(TEXT, held_prefix(CHAT, TEXT)) == "<|system|>be brief<|end|><|user|>a long text"
    alone = Chat((ChatMessage("system", "be brief"),))
    assert shown(TEXT, held_prefix(alone, TEXT)) == "<|system|>be brief<|end|>"


def test_two_turns_of_the_user_in_a_row_are_one() -> None:
    told = continued([ChatMessage("user", "a")], [ChatMessage("user", "b")])
    assert told == (ChatMessage("user", "a\n\nb"),)
    told = continued([ChatMessage("user", "a")], [ChatMessage("assistant", "b")])
    assert len(told) == 2


ALTERNATING = (
    "{% for message in messages %}{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_template_that_takes_only_alternating_turns_is_served() -> None:
    text = tiny_text(ALTERNATING)
    one = Chat((ChatMessage("user", "a long text"),))
    assert shown(text, held_prefix(one, text)) == "<|user|>a long text"
    two = Chat((*one.messages, ChatMessage("assistant", "yes?")))
    assert shown(text, held_prefix(two, text)).endswith("yes?<|end|><|user|>")
    with pytest.raises(TemplateError, match="alternate"):
        held_prefix(Chat((ChatMessage("assistant", "a"),)), text)
