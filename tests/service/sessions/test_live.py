"""The Gemini Live API on raw sockets: its messages, its casing, its ways to end."""

import asyncio
import json

import pytest

from tests.scripted import Chunk, Failure, Gate, PathScript, ScriptedWorker, say
from tests.service.sessions.support import LIVE, Live, live, prompt_of, running, text_of
from tests.service.support import HERMES_TEMPLATE, MODEL, TOOL_CONTROL, eventually, tiny_text
from tests.service.test_routed import DECISION, POLICY, three_of_four

CALL = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'
TOOLS = [{"functionDeclarations": [{"name": "now"}]}]


def greet(group, path):
    return "hello from here"


@pytest.mark.parametrize(
    "path",
    [LIVE, f"/{LIVE}", f"/gemini{LIVE}", f"/gemini/{LIVE}", LIVE.replace("v1beta", "v1main")],
)
async def test_a_turn_is_deltas_then_complete_with_its_usage(path: str) -> None:
    async with running(greet) as server, live(server, path) as client:
        assert "sessionId" in (await client.set_up())["setupComplete"]
        heard = await client.ask("hi")
    assert text_of(heard) == "hello from here"
    assert len(heard) > 3
    *_, generated, complete = heard
    assert generated == {"serverContent": {"generationComplete": True}}
    assert complete["serverContent"] == {"turnComplete": True}
    usage = complete["usageMetadata"]
    assert usage["responseTokenCount"] == 3
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + 3


async def test_the_session_remembers_and_says_how_much_was_cached() -> None:
    worker = ScriptedWorker(greet, cached=4)
    async with running(worker) as server, live(server) as client:
        await client.set_up(systemInstruction={"parts": [{"text": "be brief"}]})
        await client.ask("one")
        heard = await client.ask("two")
        prompt = prompt_of(server)
    assert prompt == (
        "<|system|>be brief<|end|><|user|>one<|end|><|assistant|>hello from here<|end|>"
        "<|user|>two<|end|><|assistant|>"
    )
    assert heard[-1]["usageMetadata"]["cachedContentTokenCount"] == 4


async def test_either_casing_is_read_at_every_level() -> None:
    async with running(greet) as server, live(server) as client:
        await client.set_up(
            generation_config={
                "max_output_tokens": 9,
                "topK": 40.0,
                "response_modalities": ["TEXT"],
            },
            system_instruction={"parts": [{"text": "s"}]},
            realtime_input_config={"automatic_activity_detection": {"disabled": True}},
            inputAudioTranscription={},
        )
        turn = {"role": "user", "parts": [{"text": "a", "part_metadata": {}}]}
        await client.send({"clientContent": {"turns": [turn], "turn_complete": True}})
        await client.turn()
        await client.send({"realtimeInput": {"text": "b"}})
        await client.turn()
        sampling = server.worker.groups[0].requests[0].sampling
        assert (sampling.max_tokens, sampling.top_k) == (9, 40)
        assert "<|user|>b<|end|>" in prompt_of(server)


async def test_turns_gather_until_they_are_complete() -> None:
    async with running(greet) as server, live(server) as client:
        await client.set_up()
        await client.say("one", complete=False)
        await client.say("two", complete=False)
        await client.send({"client_content": {"turnComplete": True}})
        await client.turn()
        assert prompt_of(server) == "<|user|>one\ntwo<|end|><|assistant|>"


async def test_marked_activity_is_one_utterance() -> None:
    async with running(greet) as server, live(server) as client:
        await client.set_up()
        for given in ({"activityStart": {}}, {"text": "one"}, {"text": "two"}, {"activityEnd": {}}):
            await client.send({"realtime_input": given})
        await client.turn()
        assert [prompt_of(server)] == ["<|user|>one\ntwo<|end|><|assistant|>"]
        assert len(server.worker.groups) == 1


async def test_what_the_user_says_interrupts_and_what_was_said_stays() -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d", pace=gate)
    async with running(worker) as server, live(server) as client:
        await client.set_up()
        gate.step(2)
        await client.say("one")
        said = [await client.hear(), await client.hear()]
        await client.say("stop", complete=False)
        cut = await client.turn()
        assert worker.idle
        assert worker.groups[0].aborted == [0]
        assert server.gateway.admission.requests == 0
        gate.release()
        heard = await client.ask("two")
        prompt = prompt_of(server)
    assert text_of(said) == "a b"
    assert [m["serverContent"] for m in cut] == [{"interrupted": True}, {"turnComplete": True}]
    assert cut[-1]["usageMetadata"]["responseTokenCount"] == 2
    assert text_of(heard) == "a b c d"
    assert prompt == (
        "<|user|>one<|end|><|assistant|>a b<|end|><|user|>stop\ntwo<|end|><|assistant|>"
    )


async def test_a_session_may_begin_with_a_history() -> None:
    async with running(greet) as server, live(server) as client:
        await client.set_up(historyConfig={"initialHistoryInClientContent": True})
        turns = [
            {"role": "user", "parts": [{"text": "my name is Ada"}]},
            {"role": "model", "parts": [{"text": "noted"}]},
        ]
        await client.send({"client_content": {"turns": turns, "turnComplete": True}})
        await client.send({"realtime_input": {"text": "who am I?"}})
        await client.turn()
        assert len(server.worker.groups) == 1
        assert prompt_of(server).startswith("<|user|>my name is Ada<|end|><|assistant|>noted")


async def test_instruction_and_tools_may_change_on_the_way() -> None:
    async with running(greet, text=tiny_text(HERMES_TEMPLATE)) as server, live(server) as client:
        await client.set_up(tools=TOOLS)
        update = {"systemInstruction": {"parts": [{"text": "new"}]}, "tools": {"tools": []}}
        await client.send({"context_update": update})
        await client.ask("hi")
        assert prompt_of(server).startswith("<|system|>new<|end|><|user|>hi")


# --- tools ---------------------------------------------------------------------------------------


async def called(client: Live) -> tuple[list[dict], dict]:
    *before, call = await client.until(lambda said: "toolCall" in said)
    (made,) = call["toolCall"]["functionCalls"]
    assert call["usageMetadata"]["responseTokenCount"] > 0
    return before, made


@pytest.fixture(scope="module")
def hermes():
    return tiny_text(HERMES_TEMPLATE, TOOL_CONTROL)


async def test_a_call_is_answered_and_the_turn_goes_on(hermes) -> None:
    said = iter([f"One moment. {CALL}", "It is noon."])
    async with running(lambda g, p: next(said), text=hermes) as server, live(server) as client:
        await client.set_up(tools=TOOLS)
        await client.say("time?")
        before, call = await called(client)
        assert text_of(before) == "One moment. "[:-1]
        assert (call["name"], call["args"]) == ("now", {"zone": "UTC"})
        assert call["id"]
        result = {"id": call["id"], "response": {"now": "12:00"}}
        await client.send({"tool_response": {"functionResponses": [result]}})
        heard = await client.turn()
        prompt = prompt_of(server)
    assert text_of(heard) == "It is noon."
    assert '<|tool|>{"now": "12:00"}<|end|>' in prompt
    assert '"name": "now", "arguments": {"zone": "UTC"}' in prompt


async def test_calls_are_cancelled_when_the_user_goes_on(hermes) -> None:
    said = iter([CALL, "Never mind."])
    async with running(lambda g, p: next(said), text=hermes) as server, live(server) as client:
        await client.set_up(tools=TOOLS)
        await client.say("time?")
        _, call = await called(client)
        await client.say("forget it")
        cancelled, *interrupted = await client.turn()
        assert cancelled == {"toolCallCancellation": {"ids": [call["id"]]}}
        assert interrupted[0]["serverContent"] == {"interrupted": True}
        late = {"id": call["id"], "name": "now", "response": {}}
        await client.send({"tool_response": {"functionResponses": [late]}})
        assert text_of(await client.turn()) == "Never mind."
        assert "tool_call>" not in prompt_of(server).split("<|user|>")[1]
        await client.send({"tool_response": {"functionResponses": [{**late, "id": "other"}]}})
        assert (await client.end())[1:] == (1007, "the response answers no call")


# --- routed turns --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["field", "header"])
async def test_a_routed_turn_shows_its_vote(how: str) -> None:
    headers = {} if how == "field" else {"x-pollux-routing": json.dumps(POLICY)}
    setup = {"uncertaintyRouting": POLICY} if how == "field" else {}
    async with (
        running(three_of_four) as server,
        live(server, additional_headers=headers) as client,
    ):
        await client.set_up(**setup)
        heard = await client.ask("how many?")
        again = await client.ask("and now?")
    steps = [m["uncertaintyRouting"] for m in heard if "uncertaintyRouting" in m]
    kinds = [step.get("event") for step in steps]
    assert kinds == ["direct", "vote", "vote", "vote", "vote", "decision", None]
    assert steps[-1] == DECISION
    assert text_of(heard)
    assert heard[-1]["usageMetadata"]["thoughtsTokenCount"] > 0
    assert again[-1]["serverContent"] == {"turnComplete": True}


# --- ends ----------------------------------------------------------------------------------------

AUDIO = {"data": "AAAA", "mime_type": "audio/pcm;rate=16000"}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"realtime_input": {"audio": AUDIO}}, "this model reads no audio"),
        ({"realtime_input": {"mediaChunks": [AUDIO]}}, "this model reads no audio"),
        ({"realtimeInput": {"video": AUDIO}}, "this model reads no images and no video"),
        ("{", "the request is not valid JSON"),
        ("[]", "Input should be"),
        ({}, "exactly one of"),
        ({"setup": {"model": "models/tiny"}}, "a session is set up once"),
        ({"client_content": {"turnComplete": True}}, "there is nothing to answer"),
        ({"client_content": {"turns": [{"parts": [{"inlineData": {}}]}]}}, "inlineData"),
        ({"client_content": {"rounds": []}}, "unknown parameter: 'clientContent.rounds'"),
        ({"tool_response": {"functionResponses": [{"id": "x"}]}}, "answers no call"),
    ],
)
async def test_a_wrong_message_ends_the_session_with_the_reason(message, reason: str) -> None:
    async with running(greet) as server, live(server) as client:
        await client.set_up()
        await client.send(message)
        heard, code, said = await client.end()
    assert (heard, code) == ([], 1007)
    assert reason in said


@pytest.mark.parametrize(
    ("setup", "code", "reason"),
    [
        ({"model": "models/other"}, 1008, "there is no model 'other'"),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, 1007, "speaks no audio"),
        ({"generationConfig": {"temperature": 9}}, 1007, "temperature"),
        ({"generationConfig": {"candidateCount": 2}}, 1007, "candidateCount"),
        ({"tools": TOOLS}, 1007, "tools are not supported by this model"),
        ({"tools": [{"googleSearch": {}}]}, 1007, "googleSearch"),
        ({"contextWindowCompression": {"slidingWindow": {}}}, 1007, "contextWindowCompression"),
        (
            {"realtimeInputConfig": {"activityHandling": "NO_INTERRUPTION"}},
            1007,
            "activityHandling",
        ),
        ({"sessionResumption": {"handle": "made-up"}}, 1008, "handle is unknown"),
        ({"uncertaintyRouting": {"k": 2}, "generationConfig": {"temperature": 0}}, 1007, "differ"),
        ({"contents": [{"parts": [{"text": "x"}]}]}, 1007, "contents"),
    ],
)
async def test_what_could_never_be_answered_is_refused_at_setup(setup, code, reason: str) -> None:
    async with running(greet) as server, live(server) as client:
        await client.send({"setup": {"model": f"models/{MODEL}", **setup}})
        heard, closed, said = await client.end()
        assert server.worker.groups == []
    assert (heard, closed) == ([], code)
    assert reason in said


async def test_a_failure_in_the_middle_ends_the_session() -> None:
    script = PathScript(say("a b").chunks, Failure("internal", "broke"))
    async with running(lambda g, p: script) as server, live(server) as client:
        await client.set_up()
        await client.say("hi")
        heard, code, reason = await client.end()
    assert (text_of(heard), code, reason) == ("a", 1011, "broke")


async def test_a_prompt_beyond_the_context_ends_the_session() -> None:
    async with running(greet) as server, live(server) as client:
        await client.set_up()
        await client.say("x" * 3000)
        assert (await client.end())[1] == 1007


async def test_a_long_text_comes_in_frames_that_every_client_takes() -> None:
    long = "é" * 300_000
    async with (
        running(lambda g, p: PathScript((say(long).chunks[0],))) as server,
        live(server, max_size=1_000_000) as client,
    ):
        await client.set_up()
        heard = await client.ask("hi")
    assert text_of(heard) == long


async def test_large_calls_come_in_several_frames(hermes) -> None:
    argument = "x" * 60_000
    call = f'<tool_call>{{"name": "now", "arguments": {{"a": "{argument}"}}}}</tool_call>\n'
    script = PathScript(say("\n").chunks + tuple(Chunk((65,), call) for _ in range(40)))
    async with (
        running(lambda g, p: script, text=hermes) as server,
        live(server, max_size=1_000_000) as client,
    ):
        await client.set_up(tools=TOOLS)
        await client.say("time?")
        heard = await client.until(lambda said: "usageMetadata" in said)
    made = [call for said in heard for call in said.get("toolCall", {}).get("functionCalls", [])]
    assert len([said for said in heard if "toolCall" in said]) > 1
    assert [call["args"] for call in made] == [{"a": argument}] * 40
    assert len({call["id"] for call in made}) == 40


async def test_many_sessions_do_not_mix() -> None:
    async with running(lambda g, p: f"length {len(g.prompt)}") as server:

        async def one(count: int) -> str:
            async with live(server) as client:
                await client.set_up()
                await client.ask("x" * count)
                return text_of(await client.ask("y"))

        answers = await asyncio.gather(*(one(count) for count in range(1, 20)))
        assert len(set(answers)) == len(answers)
        await eventually(lambda: server.worker.idle)
