"""What a worker owns and has to say, for any sequence of work, commands and events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.contract import (
    Abort,
    Extend,
    Finish,
    GroupClosed,
    GroupFailed,
    GroupStarted,
    PathOutput,
    Submit,
)
from model.desk import Desk
from model.ledger import Ledger
from model.wire import Control, Work
from tests.broker_world import group, path


def work(name: str, gateway: str = "gw", **more: object) -> Work:
    asked = group(name, **more)
    return Work(gateway=gateway, group_id=name, group=asked)


class Engine:
    """Records what a desk sends it."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.desk = Desk("w", self.sent.append, lambda: None)
        self.desk.ledger.capacity = 10

    def events(self, gateway: str = "gw") -> list[object]:
        batch = self.desk.outbox.take()
        self.desk.outbox.written(batch)
        return [e for name, m in batch.messages if name == gateway for e in m.events]


def test_room_is_counted_in_sequences_and_ends_with_the_group_that_fills_it() -> None:
    ledger = Ledger(capacity=4)
    ledger.take(b"1-0", work("a", paths=3))
    assert ledger.has_room
    ledger.take(b"2-0", work("b", paths=3))
    assert ledger.sequences == 6
    assert not ledger.has_room


def test_an_open_group_counts_while_none_of_its_paths_runs() -> None:
    ledger = Ledger(capacity=4)
    ledger.take(b"1-0", work("a", paths=2, open=True))
    for index in range(2):
        finish = Finish(reason="stop")
        ledger.observe([PathOutput(group_id="a", path=index, finish=finish)])
    assert ledger.sequences == 1
    assert ledger.permits("gw", Extend(group_id="a", paths=(path(2, 5), path(3, 5))))
    assert ledger.sequences == 2


def test_events_go_to_the_gateway_of_their_group_in_order() -> None:
    ledger = Ledger(capacity=4)
    ledger.take(b"1-0", work("a", "one"), waited_s=1.5)
    ledger.take(b"2-0", work("b", "two"))
    out = [PathOutput(group_id=name, path=0, tokens=(n,)) for n, name in enumerate("abab")]
    started = GroupStarted(group_id="a", prompt_tokens=3, queued_s=0.5)
    shares = ledger.observe([started, *out, GroupClosed(group_id="a")])
    assert shares["one"].events[0].queued_s == 2.0
    assert shares["one"].events[1:] == [out[0], out[2], GroupClosed(group_id="a")]
    assert shares["one"].done == [b"1-0"]
    assert shares["two"].events == [out[1], out[3]]
    assert shares["two"].done == []
    assert ledger.observe([out[0]]) == {}, "a closed group says nothing more"


def test_only_the_groups_own_gateway_commands_it() -> None:
    engine = Engine()
    engine.desk.own(b"1-0", work("a"), 0.0)
    engine.desk.obey(Control(gateway="other", seq=1, command=Abort(group_id="a")))
    assert [type(sent) for sent in engine.sent] == [Submit]
    engine.desk.obey(Control(gateway="gw", seq=1, command=Abort(group_id="a")))
    assert engine.sent[1] == Abort(group_id="a")


def test_a_repeated_command_is_obeyed_once_and_a_lost_one_ends_its_gateways_groups() -> None:
    engine = Engine()
    engine.desk.own(b"1-0", work("a"), 0.0)
    engine.desk.own(b"2-0", work("b", "other"), 0.0)
    extend = Extend(group_id="a", paths=(path(1, 5),))
    for _ in range(2):
        engine.desk.obey(Control(gateway="gw", seq=1, command=extend))
    assert engine.sent.count(extend) == 1
    engine.desk.obey(Control(gateway="gw", seq=3))
    assert [e.code for e in engine.events()] == ["unavailable"]
    assert Abort(group_id="a") in engine.sent
    assert engine.desk.ledger.get("b") is not None


def test_the_same_work_twice_runs_once() -> None:
    engine = Engine()
    engine.desk.own(b"1-0", work("a"), 0.0)
    engine.desk.own(b"2-0", work("a"), 0.0)
    assert len(engine.sent) == 1
    assert engine.desk.outbox.take().done == (b"2-0",)


def test_a_group_id_of_another_gateway_is_refused_without_harm_to_the_first() -> None:
    engine = Engine()
    engine.desk.own(b"1-0", work("a"), 0.0)
    engine.desk.own(b"2-0", work("a", "other"), 0.0)
    assert [e.code for e in engine.events("other")] == ["invalid"]
    engine.desk.sort([PathOutput(group_id="a", path=0, tokens=(1,))])
    assert len(engine.events("gw")) == 1


def test_the_deadline_left_is_what_the_engine_gets() -> None:
    engine = Engine()
    engine.desk.own(b"1-0", work("a", deadline_s=5.0), 2.0)
    assert engine.sent[0].group.deadline_s == pytest.approx(3.0)


def test_what_has_started_is_not_handed_back() -> None:
    engine = Engine()
    engine.desk.own(b"1-0", work("a"), 0.0)
    engine.desk.own(b"2-0", work("b"), 0.0)
    engine.desk.sort([GroupStarted(group_id="a", prompt_tokens=3)])
    engine.desk.outbox.take()
    engine.desk.hand_back()
    batch = engine.desk.outbox.take()
    assert batch.messages[0][1].released == ("b",)
    assert batch.done == (b"2-0",)
    assert engine.desk.ledger.get("a") is not None


def test_an_entry_is_held_until_its_acknowledgement_is_written() -> None:
    engine = Engine()
    engine.desk.own(b"1-0", work("a"), 0.0)
    engine.desk.sort([GroupClosed(group_id="a")])
    batch = engine.desk.outbox.take()
    assert engine.desk.holds(b"1-0")
    engine.desk.outbox.written(batch)
    assert not engine.desk.holds(b"1-0")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from(["take", "output", "finish", "close", "fail"])
        ),
        max_size=60,
    )
)
def test_every_entry_taken_is_owned_or_done_exactly_once(steps: list[tuple[int, str]]) -> None:
    desk = Engine().desk
    taken: list[bytes] = []
    done: list[bytes] = []
    for number, (which, what) in enumerate(steps):
        name = f"g{which}"
        if what == "take":
            entry = f"{number + 1}-0".encode()
            taken.append(entry)
            desk.own(entry, work(name, f"gw{which % 2}", paths=2), 0.0)
        elif what == "output":
            desk.sort([PathOutput(group_id=name, path=0, tokens=(1,))])
        elif what == "finish":
            desk.sort([PathOutput(group_id=name, path=1, finish=Finish(reason="stop"))])
        elif what == "close":
            desk.sort([GroupClosed(group_id=name)])
        else:
            desk.sort([GroupFailed(group_id=name, code="internal", message="x")])
        if number % 3 == 0:
            batch = desk.outbox.take()
            done.extend(batch.done)
            desk.outbox.written(batch)
    done.extend(desk.outbox.take().done)
    assert len(done) == len(set(done))
    assert set(done) | desk.ledger.entries == set(taken)
    assert not set(done) & desk.ledger.entries
