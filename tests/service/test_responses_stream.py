"""The Responses API, streamed: typed events, their order and numbers, votes, failures."""

import json
import re

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from model.contract import TokenLogprob
from service.api.openai.responses.conversation import items_of
from service.api.openai.responses.events import EventWriter
from service.api.openai.responses.rendering import Answer, Turn, final_response, status_of, usage
from service.api.openai.responses.schemas import ResponseRequest
from service.errors import ApiError
from tests.scripted import Chunk, Failure, Gate, PathScript, ScriptedWorker, completion_order, say
from tests.service.support import MODEL, eventually, running
from tests.service.test_responses import LOGPROBS, client, greet
from tests.service.test_routed import DECISION, POLICY, three_of_four

EVENT = TypeAdapter(ResponseStreamEvent)
PLAIN = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def events_of(body: str) -> list[dict]:
    """The events of a stream, checked against the client's types, their names and their numbers."""
    blocks = body.split("\n\n")
    assert blocks[-1] == "", "a stream ends with a blank line"
    events = []
    for number, block in enumerate(blocks[:-1]):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        EVENT.validate_python(event)
        events.append(event)
    return events


async def streamed(url: str, **body) -> list[dict]:
    async with httpx.AsyncClient() as http:
        asked = {"model": MODEL, "input": "hello", "stream": True, **body}
        reply = await http.post(f"{url}/v1/responses", json=asked)
        assert reply.headers["content-type"].startswith("text/event-stream")
        return events_of(reply.text)


async def test_events_come_in_order_and_the_last_has_it_all() -> None:
    async with running(lambda g, p: "one two") as server:
        events = await streamed(server.url)
        assert [event["type"] for event in events] == PLAIN
        created, progress, added, part, *deltas, text, part_done, item_done, last = events
        assert created["response"] == progress["response"]
        assert (created["response"]["status"], created["response"]["output"]) == ("in_progress", [])
        assert created["response"]["usage"] is None
        item = added["item"]
        assert (item["status"], item["content"]) == ("in_progress", [])
        assert part["part"]["text"] == ""
        assert [delta["delta"] for delta in deltas] == ["one", " two"]
        assert {event["item_id"] for event in (part, *deltas, text, part_done)} == {item["id"]}
        assert text["text"] == part_done["part"]["text"] == "one two"
        assert item_done["item"] == last["response"]["output"][0]
        assert item_done["item"]["id"] == item["id"]
        assert last["response"]["id"] == created["response"]["id"]
        assert last["response"]["status"] == item_done["item"]["status"] == "completed"
        assert last["response"]["usage"]["output_tokens"] == 2
        async with httpx.AsyncClient() as http:
            kept = await http.get(f"{server.url}/v1/responses/{last['response']['id']}")
        assert kept.json() == last["response"]


async def test_a_streamed_answer_is_the_whole_one() -> None:
    async with running(lambda g, p: "one two three") as server, client(server.url) as ai:
        whole = await ai.responses.create(model=MODEL, input="hello")
        stream = await ai.responses.create(model=MODEL, input="hello", stream=True)
        *_, last = [event async for event in stream]

        def same(response) -> dict:
            changing = {"id", "created_at", "completed_at"}
            found = response.to_dict()
            found["output"][0].pop("id")
            return {name: value for name, value in found.items() if name not in changing}

        assert same(last.response) == same(whole)


async def test_the_clients_helper_puts_the_answer_together() -> None:
    async with running(lambda g, p: "one two three") as server, client(server.url) as ai:
        async with ai.responses.stream(model=MODEL, input="hello") as stream:
            snapshots = [e.snapshot async for e in stream if e.type == "response.output_text.delta"]
            final = await stream.get_final_response()
        assert snapshots == ["one", "one two", "one two three"]
        assert final.output_text == "one two three"
        assert final.status == "completed"


async def test_an_answer_that_was_cut_ends_as_incomplete() -> None:
    async with running(lambda g, p: "one two three") as server:
        *_, item, last = await streamed(server.url, max_output_tokens=2)
        assert last["type"] == "response.incomplete"
        assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
        assert item["item"]["status"] == last["response"]["status"] == "incomplete"


async def test_logprobs_come_with_their_deltas_and_whole_at_the_end() -> None:
    one, two = (
        TokenLogprob(id=i, logprob=-0.5, top=((i, -0.5), (303, float("-inf")))) for i in (65, 66)
    )
    script = PathScript((Chunk((65,), "a", (one,)), Chunk((66,), "b", (two,))))
    async with running(lambda g, p: script) as server:
        events = await streamed(server.url, include=[LOGPROBS], top_logprobs=2)
        deltas = [e["logprobs"] for e in events if e["type"] == "response.output_text.delta"]
        assert [len(entries) for entries in deltas] == [1, 1]
        whole = [*deltas[0], *deltas[1]]
        text, part, item, last = events[-4:]
        assert text["logprobs"] == part["part"]["logprobs"] == whole
        assert item["item"]["content"][0]["logprobs"] == whole
        assert last["response"]["output"][0]["content"][0]["logprobs"] == whole


async def test_votes_ride_on_in_progress_events_and_the_text_comes_in_one_piece() -> None:
    worker = ScriptedWorker(three_of_four, schedule=completion_order([1, 2, 0, 3]))
    async with running(worker) as server:
        events = await streamed(server.url, uncertainty_routing=POLICY)
        votes = ["response.in_progress"] * 6
        assert [event["type"] for event in events] == [*PLAIN[:2], *votes, *PLAIN[2:5], *PLAIN[6:]]
        steps = [event["uncertainty_routing"] for event in events[2:8]]
        assert [step["event"] for step in steps] == ["direct", *["vote"] * 4, "decision"]
        assert [step["path"] for step in steps[1:5]] == [1, 2, 0, 3]
        assert steps[5] == {"event": "decision", **DECISION}
        assert events[10]["delta"] == "Path 0 thinks. Answer: 4"
        last = events[-1]["response"]
        assert last["uncertainty_routing"] == DECISION
        assert last["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


@pytest.mark.parametrize("helper", [False, True])
async def test_the_client_reads_votes_off_the_stream(helper: bool) -> None:
    body = {"model": MODEL, "input": "2+2?", "extra_body": {"uncertainty_routing": POLICY}}
    async with running(three_of_four) as server, client(server.url) as ai:
        if helper:
            async with ai.responses.stream(**body) as stream:
                events = [event async for event in stream]
                final = await stream.get_final_response()
        else:
            events = [event async for event in await ai.responses.create(**body, stream=True)]
            final = events[-1].response
        steps = [e.uncertainty_routing for e in events if hasattr(e, "uncertainty_routing")]
        votes = [step["answer"] for step in steps if step["event"] == "vote"]
        assert sorted(votes, key=str) == ["4", "4", "4", None]
        assert final.uncertainty_routing == DECISION
        assert final.output_text == "Path 0 thinks. Answer: 4"


BROKEN = PathScript(say("a b c").chunks, Failure("internal", "the engine broke"))


async def test_a_failure_in_the_middle_is_told_with_what_came_before_it() -> None:
    async with running(lambda g, p: BROKEN) as server:
        *_, failed, error = await streamed(server.url)
        assert failed["type"] == "response.failed"
        response = failed["response"]
        assert response["status"] == "failed"
        assert response["error"] == {"code": "server_error", "message": "the engine broke"}
        assert response["output"][0]["status"] == "incomplete"
        assert response["output"][0]["content"][0]["text"] == "a b"
        assert (error["type"], error["message"]) == ("error", "the engine broke")
        assert error["error"]["type"] == "server_error"
        async with httpx.AsyncClient() as http:
            gone = await http.get(f"{server.url}/v1/responses/{response['id']}")
        assert gone.status_code == 404


async def test_the_client_sees_the_failed_response_and_raises() -> None:
    async with running(lambda g, p: BROKEN) as server, client(server.url) as ai:
        seen = []
        with pytest.raises(openai.APIError, match="the engine broke"):  # noqa: PT012
            async for event in await ai.responses.create(model=MODEL, input="hi", stream=True):
                seen.append(event.type)
        assert seen[-1] == "response.failed"
        async with ai.responses.stream(model=MODEL, input="hi") as stream:
            with pytest.raises(openai.APIError, match="the engine broke"):
                await stream.get_final_response()


async def test_a_vote_that_fails_has_no_message() -> None:
    def script(group, path):
        return BROKEN if group.open else "Answer: 5"

    async with running(script) as server:
        *_, failed, error = await streamed(server.url, uncertainty_routing=POLICY)
        assert failed["type"] == "response.failed"
        assert failed["response"]["output"] == []
        assert error["message"] == "the engine broke"


async def test_a_failure_before_the_first_event_has_its_own_status() -> None:
    body = {"model": MODEL, "input": "hello", "stream": True}
    async with running(greet, max_requests=1) as server, httpx.AsyncClient() as http:
        too_long = {**body, "max_output_tokens": 9999}
        reply = await http.post(f"{server.url}/v1/responses", json=too_long)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, "input")
        with server.gateway.admission.admit(1):
            reply = await http.post(f"{server.url}/v1/responses", json=body)
            assert reply.status_code == 429
            assert "retry-after" in reply.headers


async def test_a_time_that_runs_out_is_told() -> None:
    worker = ScriptedWorker(lambda g, p: "a b", pace=Gate())
    async with running(worker, request_timeout=0.1) as server:
        *_, failed, error = await streamed(server.url)
        assert failed["response"]["error"]["code"] == "server_error"
        assert (error["code"], error["error"]["type"]) == ("timeout", "timeout_error")
        assert worker.idle


@pytest.mark.parametrize("routed", [False, True])
async def test_a_client_that_leaves_frees_the_worker(routed: bool) -> None:
    gate = Gate()
    worker = ScriptedWorker(three_of_four if routed else lambda g, p: "a b c d", pace=gate)
    body = {"model": MODEL, "input": "hello", "stream": True}
    if routed:
        body["uncertainty_routing"] = POLICY
    async with running(worker) as server:
        gate.step(4 if routed else 2)
        url = f"{server.url}/v1/responses"
        async with httpx.AsyncClient() as http, http.stream("POST", url, json=body) as reply:
            first = await anext(reply.aiter_text())
            await eventually(lambda: len(worker.groups) == (2 if routed else 1))
        await eventually(lambda: worker.idle)
        assert worker.groups[-1].aborted
        assert server.gateway.admission.paths == 0
        [made] = set(re.findall(r"resp_\w+", first))
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{url}/{made}")).status_code == 404, "nothing of it is kept"


@given(
    texts=st.lists(st.text(max_size=8), max_size=6),
    steps=st.integers(0, 3),
    finish=st.sampled_from(["stop", "length", None]),
)
def test_any_stream_is_well_formed_and_adds_up(texts, steps, finish) -> None:
    """finish None: it fails after the last delta. Line breaks in a text break no event."""
    body = ResponseRequest.model_validate({"model": MODEL, "input": "x"})
    turn = Turn(body=body, items=items_of(body), owner=None, routed=False)
    writer = EventWriter(turn)
    sent = [writer.begin(), *(writer.step({"event": "vote"}) for _ in range(steps)), writer.open()]
    sent += [writer.say([text], []) for text in texts]
    if finish is None:
        sent.append(writer.fail(ApiError("internal", "broken")))
    else:
        sent.append(writer.close(status_of(finish)))
        answer = Answer(writer.output, finish, usage(1, len(texts)))
        sent.append(writer.end(final_response(turn, answer)))
    events = events_of(b"".join(sent).decode())
    deltas = [e["delta"] for e in events if e["type"] == "response.output_text.delta"]
    assert deltas == texts
    last = events[-2] if finish is None else events[-1]
    assert last["response"]["output"][0]["content"][0]["text"] == "".join(texts)
    ends = {"stop": "completed", "length": "incomplete", None: "failed"}
    assert last["response"]["status"] == ends[finish]
