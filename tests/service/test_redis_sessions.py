"""A gateway's groups on the broker, message by message."""

import msgspec

from model.contract import (
    Abort,
    Event,
    Extend,
    GroupClosed,
    GroupFailed,
    GroupStarted,
    PathOutput,
    Submit,
    WorkerStatus,
)
from model.wire import Results, Taken, WorkerRecord
from service.workers.fleet import Fleet
from service.workers.sessions import Hand, Post, Sessions, Tell, Withdraw
from tests.broker_world import group, path
from tests.fake_engine import card, text_assets
from tests.model.engine.pictures import picture, prompt_of


class Gateway:
    def __init__(self) -> None:
        self.delivered: list[Event] = []
        self.sessions = Sessions(self.delivered.extend, lambda: None, lambda: None)
        self._seq: dict[str, int] = {}

    def submit(self, name: str, **more: object) -> Post:
        self.sessions.send(Submit(group=group(name, **more)))
        return self.posted()

    def posted(self) -> Post:
        post = self.sessions.actions.pop()
        assert isinstance(post, Post)
        post.session.entry = f"{post.session.attempt}-0".encode()
        return post

    def hear(self, worker: str, *, seq: int | None = None, **more: object) -> None:
        self._seq[worker] = seq if seq is not None else self._seq.get(worker, 0) + 1
        self.sessions.hear(Results(worker=worker, seq=self._seq[worker], **more))

    def taken(self, worker: str, name: str, attempt: int = 1) -> None:
        self.hear(worker, taken=(Taken(group_id=name, attempt=attempt),))

    def actions(self) -> list[object]:
        actions = list(self.sessions.actions)
        self.sessions.actions.clear()
        return actions


def output(name: str, token: int = 1) -> PathOutput:
    return PathOutput(group_id=name, path=0, tokens=(token,))


def test_a_group_near_one_that_ended_goes_where_that_ran_while_the_worker_lives() -> None:
    gateway = Gateway()
    gateway.submit("a")
    gateway.taken("w", "a")
    gateway.hear("w", events=(GroupClosed(group_id="a"),))
    gateway.actions()
    gateway.sessions.send(Submit(group=group("b", near="a")))
    (handed,) = gateway.actions()
    assert isinstance(handed, Hand)
    assert handed.worker == "w"
    gateway.sessions.lose_workers({"other"})
    gateway.actions()
    gateway.sessions.send(Submit(group=group("c", near="a")))
    assert isinstance(gateway.actions()[-1], Post)


def test_only_the_owner_is_heard() -> None:
    gateway = Gateway()
    gateway.submit("a")
    gateway.hear("stray", events=(output("a"),))
    gateway.taken("w", "a")
    gateway.hear("stray", events=(output("a"),))
    assert gateway.delivered == []
    gateway.hear("w", events=(output("a", 7),))
    assert gateway.delivered == [output("a", 7)]


def test_images_are_refused_before_they_reach_the_broker() -> None:
    gateway = Gateway()
    asked = msgspec.structs.replace(group("a"), prompt=prompt_of([1], picture(0), [2]))
    gateway.sessions.send(Submit(group=asked))
    assert len(gateway.sessions) == 0
    assert gateway.actions() == []
    (failed,) = gateway.delivered
    assert isinstance(failed, GroupFailed)
    assert (failed.code, failed.param) == ("invalid", "prompt")
    assert failed.message.startswith("images do not travel over the broker")


def test_a_second_worker_with_the_same_group_is_told_to_drop_it() -> None:
    gateway = Gateway()
    gateway.submit("a")
    gateway.taken("w", "a")
    gateway.taken("late", "a")
    gateway.taken("late", "unknown")
    assert gateway.actions() == [
        Tell("late", Abort(group_id="a")),
        Tell("late", Abort(group_id="unknown")),
    ]


def test_commands_wait_for_the_owner_and_go_to_it_in_order() -> None:
    gateway = Gateway()
    gateway.submit("a", open=True)
    extend = Extend(group_id="a", paths=(path(1, 5),))
    abort = Abort(group_id="a", paths=(0,))
    gateway.sessions.send(extend)
    gateway.sessions.send(abort)
    assert gateway.actions() == []
    gateway.taken("w", "a")
    assert gateway.actions() == [Tell("w", extend), Tell("w", abort)]


def test_a_released_group_is_posted_again_and_its_commands_are_repeated() -> None:
    gateway = Gateway()
    post = gateway.submit("a", open=True)
    gateway.taken("w", "a")
    extend = Extend(group_id="a", paths=(path(1, 5),))
    gateway.sessions.send(extend)
    assert gateway.actions() == [Tell("w", extend)]
    gateway.hear("w", released=("a",))
    assert gateway.posted() == post
    assert post.session.attempt == 2
    gateway.taken("w", "a", attempt=1)
    assert gateway.actions() == [Tell("w", Abort(group_id="a"))]
    gateway.taken("next", "a", attempt=2)
    assert gateway.actions() == [Tell("next", extend)]


def test_aborting_what_nobody_took_ends_it_and_withdraws_it() -> None:
    gateway = Gateway()
    post = gateway.submit("a", paths=2, open=True)
    gateway.sessions.send(Extend(group_id="a", paths=(path(2, 5),)))
    gateway.sessions.send(Abort(group_id="a"))
    assert gateway.actions() == [Withdraw(post.session)]
    *ends, closed = gateway.delivered
    assert [(e.path, e.finish.reason) for e in ends] == [(i, "abort") for i in range(3)]
    assert closed == GroupClosed(group_id="a")
    gateway.taken("w", "a")  # it had it in hand after all
    assert gateway.actions() == [Tell("w", Abort(group_id="a"))]


def test_an_abort_that_crosses_a_release_ends_the_group() -> None:
    gateway = Gateway()
    gateway.submit("a")
    gateway.taken("w", "a")
    gateway.sessions.send(Abort(group_id="a"))
    gateway.hear("w", released=("a",))
    assert gateway.delivered[-1] == GroupClosed(group_id="a")
    assert len(gateway.sessions) == 0


def test_a_repeated_message_counts_once() -> None:
    gateway = Gateway()
    gateway.submit("a")
    gateway.taken("w", "a")
    for _ in range(2):
        gateway.hear("w", seq=2, events=(output("a"),))
    assert gateway.delivered == [output("a")]


def test_a_lost_message_fails_what_its_sender_ran_and_nothing_else() -> None:
    gateway = Gateway()
    for name, worker in (("a", "w"), ("b", "other")):
        gateway.submit(name)
        gateway.taken(worker, name)
    gateway.hear("w", seq=3, events=(output("a"),))
    assert [(e.group_id, e.code) for e in gateway.delivered] == [("a", "unavailable")]
    gateway.hear("other", events=(output("b"),))
    assert gateway.delivered[-1] == output("b")


def test_groups_of_a_lost_worker_fail() -> None:
    gateway = Gateway()
    for name, worker in (("a", "w"), ("b", "other")):
        gateway.submit(name)
        gateway.taken(worker, name)
    gateway.sessions.lose_workers({"other"})
    failed = [e for e in gateway.delivered if isinstance(e, GroupFailed)]
    assert [e.group_id for e in failed] == ["a"]


def test_a_group_that_is_neither_queued_nor_owned_fails_in_the_end() -> None:
    gateway = Gateway()
    queued, lost = gateway.submit("queued"), gateway.submit("lost")
    lost.session.entry = b"9-0"
    for _ in range(2):
        gateway.sessions.fail_missing({queued.session.entry}, patience_s=0.0)
    assert [e.group_id for e in gateway.delivered] == ["lost"]


def test_owners_that_hear_nothing_get_a_sign_of_life() -> None:
    gateway = Gateway()
    gateway.submit("a")
    gateway.taken("w", "a")
    gateway.sessions.keep_alive()
    assert gateway.actions() == [Tell("w", None)]
    gateway.sessions.told("w")
    gateway.sessions.keep_alive()
    assert gateway.actions() == []


def test_a_started_group_is_not_released() -> None:
    gateway = Gateway()
    gateway.submit("a")
    gateway.taken("w", "a")
    gateway.hear("w", events=(GroupStarted(group_id="a", prompt_tokens=3),))
    gateway.hear("w", released=("a",))
    assert gateway.actions() == []


def record(worker: str, **status: object) -> WorkerRecord:
    return WorkerRecord(
        id=worker,
        card=card(text_assets()),
        status=WorkerStatus(**{"state": "ready", **status}),
        started=0.0,
        host=worker,
    )


def test_gauges_are_summed_and_counters_never_fall() -> None:
    fleet = Fleet()
    fleet.see([record("a", running=2, steps=10), record("b", running=3, steps=5)])
    assert fleet.status(waiting=4).running == 5
    assert fleet.status(waiting=4).waiting == 4
    assert fleet.status(waiting=0).steps == 15
    fleet.see([record("b", running=1, steps=7)])
    assert fleet.status(waiting=0).running == 1
    assert fleet.status(waiting=0).steps == 17


def test_a_pool_is_ready_when_one_worker_is_and_never_failed() -> None:
    fleet = Fleet()
    assert fleet.status(waiting=0).state == "starting"
    fleet.see([record("a", state="failed", detail="no memory")])
    assert fleet.status(waiting=0).state == "starting"
    assert fleet.status(waiting=0).detail == "a: no memory"
    fleet.see([record("a", state="draining"), record("b")])
    assert fleet.status(waiting=0).state == "ready"
    fleet.see([record("a", state="draining")])
    assert fleet.status(waiting=0).state == "draining"


def near_group(gateway: Gateway) -> None:
    """`b`, handed to the worker `w` of `a`."""
    gateway.submit("a", open=True)
    gateway.taken("w", "a")
    gateway.sessions.send(Submit(group=group("b", near="a")))
    (hand,) = gateway.actions()
    assert isinstance(hand, Hand)
    assert (hand.worker, hand.session.group.id) == ("w", "b")


def test_a_group_that_was_handed_over_is_as_any_other_once_it_is_taken() -> None:
    gateway = Gateway()
    near_group(gateway)
    assert (gateway.sessions.waiting, gateway.sessions.unposted) == (0, 0)
    gateway.taken("w", "b")
    gateway.sessions.take_back(-1.0)
    gateway.hear("w", events=(output("b", 7), GroupClosed(group_id="b")))
    assert gateway.delivered == [output("b", 7), GroupClosed(group_id="b")]
    assert gateway.actions() == []


def test_what_was_handed_over_and_handed_back_is_for_any_worker() -> None:
    gateway = Gateway()
    near_group(gateway)
    gateway.hear("w", released=("b",))
    assert gateway.posted().session.attempt == 2
    gateway.taken("x", "b", attempt=2)
    gateway.hear("x", events=(output("b", 7),))
    assert gateway.delivered == [output("b", 7)]


def test_a_worker_that_died_before_it_took_what_it_was_handed_loses_nothing() -> None:
    gateway = Gateway()
    near_group(gateway)
    gateway.sessions.lose_workers(["x"])
    (failed,) = gateway.delivered
    assert failed.group_id == "a"
    posts = [action for action in gateway.actions() if isinstance(action, Post)]
    assert [post.session.group.id for post in posts] == ["b"]


def test_a_worker_that_takes_too_late_what_it_was_handed_hears_an_abort() -> None:
    gateway = Gateway()
    near_group(gateway)
    gateway.sessions.take_back(-1.0)
    assert gateway.posted().session.attempt == 2
    gateway.taken("w", "b")
    assert gateway.actions() == [Tell("w", Abort(group_id="b"))]


def test_a_group_near_one_that_nobody_has_is_for_any_worker() -> None:
    gateway = Gateway()
    gateway.submit("a", open=True)
    assert gateway.submit("b", near="a").session.owner is None
    assert gateway.submit("c", near="unknown").session.owner is None
