"""What a conversation keeps, and what it becomes as a prompt."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.language import CalledFunction, ChatMessage
from service.api.sessions.history import Entry, History, as_prompt
from service.api.sessions.shelf import MAX_KEPT, Kept, Shelf
from service.errors import ApiError
from tests.service.guard.clock import Hands

ROLES = ("system", "user", "assistant", "tool")


def turn(role: str, text: str, *calls: str) -> ChatMessage:
    made = tuple(CalledFunction(name, {}, name) for name in calls)
    return ChatMessage(role=role, content=text, tool_calls=made)


turns = st.lists(
    st.builds(turn, st.sampled_from(ROLES), st.text(max_size=5), st.sampled_from(["f", "g"]))
    | st.builds(turn, st.sampled_from(ROLES), st.text(max_size=5)),
    max_size=12,
)


@given(turns)
def test_neighbours_of_one_role_become_one_and_nothing_is_lost(said) -> None:
    prompt = as_prompt(said)
    for before, after in pairwise(prompt):
        assert before.role != after.role or before.role == "tool"
    assert as_prompt(prompt) == prompt
    wanted = "".join(one.content for one in said)
    assert "".join(one.content for one in prompt).replace("\n", "") == wanted.replace("\n", "")
    calls = [call for one in said for call in one.tool_calls]
    assert [call for one in prompt for call in one.tool_calls] == calls


@given(st.lists(st.tuples(st.sampled_from("ard"), st.integers(0, 9), st.text(max_size=30))))
def test_bytes_are_those_of_the_turns_whatever_happens(steps) -> None:
    history = History(5, 3000)
    for number, (kind, place, text) in enumerate(steps):
        ids = [entry.id for entry in history.entries]
        try:
            if kind == "a":
                after = ids[place % len(ids)] if ids and place % 2 else None
                history.add(Entry(str(number), turn("user", text)), after=after)
            elif ids and kind == "r":
                history.replace(ids[place % len(ids)], turn("user", text))
            elif ids:
                history.remove(ids[place % len(ids)])
        except ApiError:
            pass
        assert history.bytes == sum(entry.size for entry in history.entries)
        assert len(history) <= 5


def test_a_full_conversation_takes_no_more() -> None:
    history = History(2, 10**6)
    history.add(Entry("1", turn("user", "a")))
    history.add(Entry("2", turn("user", "b")))
    with pytest.raises(ApiError, match="2 turns"):
        history.add(Entry("3", turn("user", "c")))
    with pytest.raises(ApiError, match="1000 bytes"):
        History(9, 1000).add(Entry("1", turn("user", "x" * 1000)))


def kept(owner: str | None = None, size: int = 10) -> Kept:
    return Kept(owner, (Entry("1", turn("user", "hi")),), size)


def test_a_handle_is_good_once_for_its_owner_and_for_a_while() -> None:
    hands = Hands()
    shelf = Shelf(60.0, hands)
    handle = shelf.put(kept("alice"))
    assert shelf.take(handle, "bob") is None
    assert shelf.take(handle, "alice") == kept("alice")
    assert shelf.take(handle, "alice") is None
    late = shelf.put(kept())
    hands.now += 61
    assert shelf.take(late, None) is None
    assert (len(shelf), shelf.bytes) == (0, 0)


def test_a_later_handle_takes_the_place_of_the_earlier() -> None:
    shelf = Shelf(60.0, Hands())
    first = shelf.put(kept())
    second = shelf.put(kept(size=20), instead_of=first)
    assert shelf.take(first, None) is None
    assert (len(shelf), shelf.bytes) == (1, 20)
    assert shelf.take(second, None) is not None


def test_the_shelf_is_bounded() -> None:
    shelf = Shelf(60.0, Hands())
    assert shelf.put(kept(size=2**40)) is None
    for _ in range(MAX_KEPT + 5):
        shelf.put(kept())
    assert len(shelf) == MAX_KEPT
