"""Messages on the broker: what survives other versions, and numbers that show what was lost."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.contract import (
    Abort,
    Constraint,
    Group,
    GroupClosed,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    TokenLogprob,
    encode,
)
from model.delivery import Incoming, Outgoing, Talked
from model.link import BadBrokerURL, connect, shown
from model.wire import (
    Control,
    Keys,
    Results,
    Taken,
    Timing,
    Work,
    decode_control,
    decode_results,
    decode_work,
    decode_work_head,
    identity_of,
)
from tests.broker_world import group
from tests.fake_engine import card, text_assets


def test_messages_come_back_as_they_were() -> None:
    work = Work(gateway="g", group_id="a", attempt=2, waited_s=0.5, group=group("a", paths=2))
    assert decode_work(encode(work)) == work
    control = Control(gateway="g", seq=3, command=Abort(group_id="a", paths=(1,)))
    assert decode_control(encode(control)) == control
    results = Results(
        worker="w",
        seq=1,
        taken=(Taken(group_id="a", attempt=2),),
        released=("b",),
        events=(PathOutput(group_id="a", path=0, tokens=(1, 2)), GroupClosed(group_id="a")),
    )
    assert decode_results(encode(results)) == results


def test_constraints_and_certainty_travel() -> None:
    constraint = Constraint(regex="[0-9]+", after="Answer:", closing=(5, 6), reserve=9)
    path = PathRequest(
        index=0, sampling=SamplingParams(max_tokens=4, constraint=constraint, certainty=True)
    )
    asked = Group(id="a", prompt=Prompt.of_tokens((1, 2)), paths=(path,))
    work = Work(gateway="g", group_id="a", group=asked)
    assert decode_work(encode(work)) == work
    logprobs = (
        TokenLogprob(id=3, logprob=-0.5, certainty=2.25),
        TokenLogprob(id=4, logprob=-1.0, top=((4, -1.0),)),
    )
    output = PathOutput(group_id="a", path=0, tokens=(3, 4), logprobs=logprobs)
    results = Results(worker="w", seq=1, events=(output,))
    assert decode_results(encode(results)) == results


def test_a_logprob_of_an_older_worker_has_no_certainty() -> None:
    older = {"type": "output", "group_id": "a", "path": 0, "logprobs": [[3, -0.5], [4, -1.0, []]]}
    read = decode_results(msgspec.msgpack.encode({"worker": "w", "seq": 1, "events": [older]}))
    (output,) = read.events
    assert isinstance(output, PathOutput)
    assert [entry.certainty for entry in output.logprobs] == [None, None]


def test_a_constraint_out_of_bounds_is_not_work() -> None:
    sampling = {"max_tokens": 4, "constraint": {"regex": "a", "lark": "start: A"}}
    asked = {"id": "a", "prompt": {"segments": [{"type": "tokens", "ids": [1]}]}}
    asked["paths"] = [{"index": 0, "sampling": sampling}]
    data = msgspec.msgpack.encode({"gateway": "g", "group_id": "a", "group": asked})
    with pytest.raises(msgspec.ValidationError, match="one of regex"):
        decode_work(data)


def test_events_and_fields_of_a_newer_version_are_left_out() -> None:
    newer = {
        "worker": "w",
        "seq": 1,
        "mood": "good",
        "events": [
            {"type": "dreamt", "group_id": "a"},
            {"type": "closed", "group_id": "a", "cost": 3},
        ],
    }
    read = decode_results(msgspec.msgpack.encode(newer))
    assert read == Results(worker="w", seq=1, events=(GroupClosed(group_id="a"),))


def test_the_sender_of_work_that_cannot_be_read_is_still_known() -> None:
    newer = {"gateway": "g", "group_id": "a", "group": {"id": "a", "prompt": {"poem": 1}}}
    data = msgspec.msgpack.encode(newer)
    with pytest.raises(msgspec.ValidationError):
        decode_work(data)
    head = decode_work_head(data)
    assert (head.gateway, head.group_id, head.attempt) == ("g", "a", 1)


@given(st.text(min_size=1), st.text(min_size=1))
def test_keys_of_two_models_never_meet(one: str, other: str) -> None:
    def every(keys: Keys) -> set[str]:
        shared = {keys.work, keys.identity, keys.workers, keys.gateways}
        return shared | {of("x") for of in (keys.worker, keys.gateway, keys.control, keys.results)}

    assert len(every(Keys(one))) == 8
    assert one == other or not every(Keys(one)) & every(Keys(other))


def test_keys_of_a_model_share_one_hash_slot() -> None:
    keys = Keys("owner/na}me:{x")
    names = [keys.work, keys.results("g"), keys.control("w"), keys.identity]
    tags = {name[name.index("{") + 1 : name.index("}")] for name in names}
    assert tags == {"owner%2Fna%7Dme%3A%7Bx"}


def test_identity_differs_with_whatever_changes_tokens() -> None:
    one = card(text_assets())
    for change in (
        {"fingerprint": "0"},
        {"dtype": "bfloat16"},
        {"tokenizer": "0"},
        {"context": 1},
    ):
        assert identity_of(msgspec.structs.replace(one, **change)) != identity_of(one)


@given(st.lists(st.integers(1, 30), max_size=60))
def test_numbers_are_accepted_once_and_gaps_are_seen(numbers: list[int]) -> None:
    incoming = Incoming()
    last = 0
    for number in numbers:
        verdict = incoming.accept("w", number)
        if number <= last:
            assert verdict == "repeated"
        else:
            assert verdict == ("next" if number == last + 1 else "gap")
        last = max(last, number)


def test_every_receiver_has_its_own_numbers() -> None:
    outgoing = Outgoing()
    assert [outgoing.next("a"), outgoing.next("b"), outgoing.next("a")] == [1, 1, 2]


def test_only_who_was_not_talked_to_is_silent() -> None:
    talked = Talked()
    talked.note("a")
    assert talked.silent(["a", "b"]) == ["b"]
    assert talked.silent(["a", "b"]) == ["a", "b"]


@pytest.mark.parametrize("url", ["localhost:6379", "http://x", "redis://x:port", ""])
def test_a_bad_url_is_one_line(url: str) -> None:
    with pytest.raises(BadBrokerURL) as error:
        connect(url)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
def test_both_names_of_the_broker_are_understood(scheme: str) -> None:
    assert connect(f"{scheme}://h:1") is not None


def test_credentials_are_never_shown() -> None:
    assert shown("redis://me:secret@host:1/2?password=x") == "redis://host:1/2"


def test_a_lease_outlives_a_missed_heartbeat() -> None:
    with pytest.raises(ValueError, match="twice"):
        Timing(heartbeat_s=3, lease_s=5)
