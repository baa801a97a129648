"""The Realtime API: the official client, sync and async, and raw events for the rest."""

import asyncio
import json

import openai
import pytest
from websockets.exceptions import InvalidStatus

from tests.scripted import Failure, Gate, PathScript, ScriptedWorker, say
from tests.service.sessions.support import prompt_of, realtime, running, speaking
from tests.service.support import HERMES_TEMPLATE, MODEL, TOOL_CONTROL, tiny_text
from tests.service.test_routed import DECISION, POLICY, three_of_four

CALL = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'
TOOL = {"type": "function", "name": "now", "description": "The time", "parameters": {}}
ORDER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


def greet(group, path):
    return "hello from here"


def user(text: str) -> dict:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}


async def test_openais_async_client_converses() -> None:
    async with running(greet) as server:
        async with (
            openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as ai,
            ai.realtime.connect(model=MODEL) as connection,
        ):
            created = await connection.recv()
            assert (created.type, created.session.model) == ("session.created", MODEL)
            session = {"type": "realtime", "instructions": "be brief", "tools": []}
            session |= {"output_modalities": ["text"], "max_output_tokens": 50}
            session |= {"audio": {"input": {"turn_detection": None}}}
            await connection.session.update(session=session)
            updated = await connection.recv()
            assert (updated.type, updated.session.instructions) == (
                "session.updated",
                "be brief",
            )
            for question in ("one", "two"):
                await connection.conversation.item.create(item=user(question))
                kinds = [(await connection.recv()).type for _ in range(3)]
                assert kinds == [
                    f"conversation.item.{kind}" for kind in ("added", "created", "done")
                ]
                await connection.response.create()
                heard = []
                while not heard or heard[-1].type != "response.done":
                    heard.append(await connection.recv())
                assert [event.type for event in heard] == ORDER
                deltas = [e.delta for e in heard if e.type == "response.output_text.delta"]
                assert "".join(deltas) == "hello from here"
        response = heard[-1].response
        assert response.status == "completed"
        assert response.output[0].content[0].text == "hello from here"
        assert response.usage.output_tokens == 3
        assert response.usage.total_tokens == response.usage.input_tokens + 3
        assert prompt_of(server) == (
            "<|system|>be brief<|end|><|user|>one<|end|><|assistant|>hello from here<|end|>"
            "<|user|>two<|end|><|assistant|>"
        )


# The client's own use of its sockets.
@pytest.mark.filterwarnings("ignore:connect.. must be used as a context:DeprecationWarning")
@pytest.mark.parametrize("base", ["/v1", "/openai/v1"])
async def test_openais_sync_client_converses(base: str) -> None:
    def converse(url: str) -> str:
        with (
            openai.OpenAI(base_url=url, api_key="none") as ai,
            ai.realtime.connect(model=MODEL) as connection,
        ):
            connection.conversation.item.create(item=user("hi"))
            connection.response.create()
            text = ""
            for event in connection:
                if event.type == "response.output_text.delta":
                    text += event.delta
                if event.type == "response.done":
                    return text
        raise AssertionError("it ended without response.done")

    async with running(greet) as server:
        assert await asyncio.to_thread(converse, f"{server.url}{base}") == "hello from here"


async def test_the_client_calls_functions() -> None:
    said = iter([f"One moment. {CALL}", "It is noon."])
    text = tiny_text(HERMES_TEMPLATE, TOOL_CONTROL)
    async with running(lambda g, p: next(said), text=text) as server:
        async with (
            openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as ai,
            ai.realtime.connect(model=MODEL) as connection,
        ):
            session = {"type": "realtime", "tools": [TOOL], "tool_choice": "auto"}
            await connection.session.update(session=session)
            await connection.conversation.item.create(item=user("time?"))
            await connection.response.create()
            heard = []
            while not heard or heard[-1].type != "response.done":
                heard.append(await connection.recv())
            message, call = heard[-1].response.output
            assert message.content[0].text == "One moment."
            assert (call.type, call.name) == ("function_call", "now")
            assert json.loads(call.arguments) == {"zone": "UTC"}
            (done,) = [e for e in heard if e.type == "response.function_call_arguments.done"]
            assert (done.call_id, done.arguments) == (call.call_id, call.arguments)
            output = {"type": "function_call_output", "call_id": call.call_id, "output": "12"}
            await connection.conversation.item.create(item=output)
            await connection.response.create()
            while heard[-1].type != "response.output_text.done":
                heard.append(await connection.recv())
            assert heard[-1].text == "It is noon."
        assert "<|tool|>12<|end|>" in prompt_of(server)


async def test_a_browser_brings_its_key_as_a_subprotocol() -> None:
    key = "right-right-right-right"
    path = f"/v1/realtime?model={MODEL}"
    async with running(greet, api_keys=key) as server:
        offered = ["realtime", f"openai-insecure-api-key.{key}"]
        async with speaking(server, path, subprotocols=offered) as client:
            assert client.socket.subprotocol == "realtime"
            assert (await client.hear())["type"] == "session.created"
        for wrong in (["realtime"], ["realtime", "openai-insecure-api-key.wrong-wrong-wrong-wr"]):
            with pytest.raises(InvalidStatus, match="401"):
                async with speaking(server, path, subprotocols=wrong):
                    pass


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "missing required parameter: 'model'"),
        ("?model=other", 404, "there is no model 'other'"),
        (f"?model={MODEL}&intent=transcription", 400, "intent is not supported"),
    ],
)
async def test_what_no_session_can_be_about_is_refused_at_the_door(query, status, message) -> None:
    async with running(greet) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with speaking(server, f"/v1/realtime{query}"):
                pass
    assert refused.value.response.status_code == status
    assert message in json.loads(refused.value.response.body)["error"]["message"]


# --- responses -----------------------------------------------------------------------------------


async def test_a_second_response_is_an_error_while_one_is_active() -> None:
    gate = Gate()
    async with (
        running(ScriptedWorker(lambda g, p: "a b", pace=gate)) as server,
        realtime(server) as client,
    ):
        await client.say("hi")
        await client.send({"type": "response.create"})
        assert (await client.hear())["type"] == "response.created"
        told = await client.told({"type": "response.create", "event_id": "mine"})
        assert told["error"]["code"] == "conversation_already_has_active_response"
        assert told["error"]["event_id"] == "mine"
        gate.release()
        heard = await client.until(lambda said: said["type"] == "response.done")
        assert heard[-1]["response"]["status"] == "completed"


async def test_cancel_frees_the_pages_and_what_was_said_stays() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d", pace=gate)
    async with running(worker) as server, realtime(server) as client:
        gate.step(2)
        await client.say("one")
        await client.send({"type": "response.create"})
        await client.until(lambda said: said.get("delta") == " b")
        await client.send({"type": "response.cancel"})
        *_, done = await client.until(lambda said: said["type"] == "response.done")
        assert worker.idle
        assert worker.groups[0].aborted == [0]
        response = done["response"]
        assert (response["status"], response["status_details"]) == (
            "cancelled",
            {"type": "cancelled", "reason": "client_cancelled"},
        )
        (item,) = response["output"]
        assert (item["status"], item["content"][0]["text"]) == ("incomplete", "a b")
        got = await client.told({"type": "conversation.item.retrieve", "item_id": item["id"]})
        assert (got["type"], got["item"]) == ("conversation.item.retrieved", item)
        told = await client.told({"type": "response.cancel"})
        assert told["error"]["code"] == "response_cancel_not_active"
        gate.release()
        await client.ask("two")
        assert "<|assistant|>a b<|end|><|user|>two" in prompt_of(server)


async def test_a_response_may_have_wishes_of_its_own() -> None:
    async with running(greet) as server, realtime(server) as client:
        session = {"type": "realtime", "instructions": "default", "temperature": 0.3}
        await client.told({"type": "session.update", "session": session})
        first = await client.say("secret")
        heard = await client.respond(
            conversation="none",
            instructions="classify",
            input=[{"type": "item_reference", "id": first}, user("and this")],
            metadata={"topic": "x"},
            max_output_tokens=2,
        )
        response = heard[-1]["response"]
        assert prompt_of(server) == (
            "<|system|>classify<|end|><|user|>secret\nand this<|end|><|assistant|>"
        )
        assert (response["conversation_id"], response["metadata"]) == (None, {"topic": "x"})
        assert response["status"] == "incomplete"
        assert response["status_details"]["reason"] == "max_output_tokens"
        assert "conversation.item.added" not in [event["type"] for event in heard]
        assert server.worker.groups[0].requests[0].sampling.temperature == 0.3
        await client.respond()
        assert prompt_of(server) == "<|system|>default<|end|><|user|>secret<|end|><|assistant|>"


async def test_a_routed_response_carries_its_vote() -> None:
    async with running(three_of_four) as server, realtime(server) as client:
        heard = await client.ask("how many?", uncertainty_routing=POLICY)
        again = await client.ask("and now?", uncertainty_routing=POLICY)
    steps = [event["uncertainty_routing"] for event in heard if "uncertainty_routing" in event]
    assert [step["event"] for step in steps] == [
        "direct", "vote", "vote", "vote", "vote", "decision",
    ]  # fmt: skip
    response = heard[-1]["response"]
    assert response["uncertainty_routing"] == DECISION
    text = response["output"][0]["content"][0]["text"]
    assert "".join(e.get("delta", "") for e in heard) == text
    assert response["usage"]["output_token_details"]["reasoning_tokens"] > 0
    assert again[-1]["response"]["status"] == "completed"


async def test_a_failure_is_told_and_the_session_goes_on() -> None:
    said = iter([PathScript(say("a b").chunks, Failure("internal", "broke")), say("better")])
    async with running(lambda g, p: next(said)) as server, realtime(server) as client:
        failed = (await client.ask("one"))[-1]["response"]
        assert (failed["status"], failed["status_details"]["error"]["message"]) == (
            "failed",
            "broke",
        )
        told = (await client.ask("x" * 3000))[-1]
        assert told["error"]["code"] == "context_length_exceeded"
        heard = await client.respond(input=[user("short")], conversation="none")
        assert heard[-1]["response"]["output"][0]["content"][0]["text"] == "better"


# --- items and the session -----------------------------------------------------------------------


async def test_items_have_places_and_can_be_taken_out() -> None:
    async with running(greet) as server, realtime(server) as client:
        first = await client.say("first")
        create = {"type": "conversation.item.create"}
        for item, place in (
            ({**user("zeroth"), "id": "zero"}, {"previous_item_id": "root"}),
            (
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "hm"}],
                },
                {"previous_item_id": first},
            ),
        ):
            await client.send({**create, "item": item, **place})
            added, *_ = await client.until(lambda said: said["type"].endswith("done"))
        assert added["previous_item_id"] == first
        await client.say("last")
        told = await client.told({"type": "conversation.item.delete", "item_id": "zero"})
        assert (told["type"], told["item_id"]) == ("conversation.item.deleted", "zero")
        await client.respond()
        assert prompt_of(server) == (
            "<|user|>first<|end|><|assistant|>hm<|end|><|user|>last<|end|><|assistant|>"
        )


AUDIO_ITEM = {**user("x"), "content": [{"type": "input_audio", "audio": "AAAA"}]}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "an event is a JSON object"),
        ({"type": 3}, "an event has a type"),
        ({"type": "response.paint"}, "unknown event type: 'response.paint'"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "this model reads no audio"),
        ({"type": "input_audio_buffer.commit"}, "this model reads no audio"),
        ({"type": "conversation.item.create", "item": AUDIO_ITEM}, "this model reads no audio"),
        ({"type": "conversation.item.truncate"}, "only audio is truncated"),
        ({"type": "response.create"}, "nothing to answer"),
        ({"type": "response.create", "response": {"voices": 1}}, "'response.voices'"),
        ({"type": "response.create", "response": {"output_modalities": ["audio"]}}, "no audio"),
        ({"type": "session.update", "session": {"model": "other"}}, "keeps its model"),
        ({"type": "session.update", "session": {"tools": [TOOL]}}, "not supported by this model"),
        ({"type": "session.update", "session": {"temperature": 9}}, "temperature"),
        ({"type": "session.update", "session": {"truncation": "auto"}}, "truncation"),
        ({"type": "session.update", "session": {"max_output_tokens": 0}}, "max_output_tokens"),
        ({"type": "conversation.item.delete", "item_id": "x"}, "there is no item 'x'"),
        ({"type": "conversation.item.retrieve", "item_id": "x"}, "there is no item 'x'"),
        (
            {
                "type": "conversation.item.create",
                "item": {"type": "function_call_output", "call_id": "c", "output": ""},
            },
            "there is no call 'c' before it",
        ),
        (
            {"type": "conversation.item.create", "item": user("x"), "previous_item_id": "y"},
            "there is no item 'y'",
        ),
        ({"type": "conversation.item.create", "item": {"type": "mcp_call"}}, "'mcp_call'"),
    ],
)
async def test_a_wrong_event_is_told_and_the_session_goes_on(event, message: str) -> None:
    async with running(greet) as server, realtime(server) as client:
        told = await client.told(event)
        assert told["type"] == "error"
        assert message in told["error"]["message"]
        assert told["event_id"] != (await client.told({"type": "?"}))["event_id"]
        assert (await client.ask("hi"))[-1]["response"]["status"] == "completed"


async def test_what_a_key_may_not_do_fails_the_response_only() -> None:
    keys = {"api_keys": "right-right-right-right"}
    headers = {"authorization": "Bearer right-right-right-right"}
    async with (
        running(greet, max_requests=1, **keys) as server,
        realtime(server, additional_headers=headers) as client,
    ):
        with server.gateway.admission.admit(1):
            failed = (await client.ask("one"))[-1]["response"]
        assert failed["status_details"]["error"]["type"] == "rate_limit_error"
        assert (await client.ask("two"))[-1]["response"]["status"] == "completed"


async def test_items_come_while_an_answer_is_written() -> None:
    gate = Gate()
    async with (
        running(ScriptedWorker(lambda g, p: "a b", pace=gate)) as server,
        realtime(server) as client,
    ):
        await client.say("one")
        await client.send({"type": "response.create"})
        gate.step(1)
        await client.until(lambda said: said.get("delta") == "a")
        await client.say("two")
        gate.release()
        await client.until(lambda said: said["type"] == "response.done")
        await client.respond()
        assert prompt_of(server) == (
            "<|user|>one<|end|><|assistant|>a b<|end|><|user|>two<|end|><|assistant|>"
        )
