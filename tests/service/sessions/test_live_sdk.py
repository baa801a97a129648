"""The Live API driven by the unmodified google-genai client, which insists on TLS."""

import json
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from google.genai.live import AsyncSession
from websockets.exceptions import InvalidStatus

from service.tls import self_signed
from tests.scripted import Gate, ScriptedWorker
from tests.service.sessions.support import prompt_of, running
from tests.service.support import (
    HERMES_TEMPLATE,
    MODEL,
    TOOL_CONTROL,
    Running,
    eventually,
    tiny_text,
)
from tests.service.test_routed import DECISION, POLICY, three_of_four

KEY = "right-right-right-right"
CALL = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    cert, key = self_signed(tmp_path_factory.mktemp("tls"))
    return {"tls_cert": cert, "tls_key": key}


@asynccontextmanager
async def connected(
    server: Running,
    *,
    model: str = MODEL,
    key: str = KEY,
    headers: dict[str, str] | None = None,
    version: str | None = None,
    slash: str = "",
    **config: Any,
) -> AsyncIterator[AsyncSession]:
    context = ssl.create_default_context(cafile=str(server.settings.tls_cert))
    options = types.HttpOptions(
        base_url=f"{server.url}{slash}",
        api_version=version,
        headers=headers,
        async_client_args={"ssl": context},
    )
    async with (
        genai.Client(api_key=key, http_options=options).aio as client,
        client.live.connect(model=model, config=config) as session,
    ):
        yield session


async def turn(session: AsyncSession) -> list[types.LiveServerMessage]:
    return [message async for message in session.receive()]


def text_of(messages: list[types.LiveServerMessage]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return "".join(message.text or "" for message in messages)


async def ask(session: AsyncSession, text: str) -> list[types.LiveServerMessage]:
    content = types.Content(role="user", parts=[types.Part(text=text)])
    await session.send_client_content(turns=content)
    return await turn(session)


@pytest.mark.parametrize(("version", "slash"), [(None, ""), ("v1beta", "/"), ("v1alpha", "")])
async def test_a_conversation_with_memory(files, version, slash) -> None:
    def script(group, path):
        return "hello from here"

    config = {"response_modalities": ["TEXT"], "temperature": 0.5, "seed": 7, "top_k": 40}
    config |= {"max_output_tokens": 50, "system_instruction": "be brief"}
    async with running(script, api_keys=KEY, **files) as server:
        async with connected(server, version=version, slash=slash, **config) as session:
            assert session.session_id
            heard = await ask(session, "one")
            assert text_of(heard) == "hello from here"
            usage = heard[-1].usage_metadata
            assert (usage.response_token_count, usage.total_token_count) == (
                3,
                usage.prompt_token_count + 3,
            )
            await session.send_realtime_input(text="two")
            assert text_of(await turn(session)) == "hello from here"
            assert prompt_of(server).startswith("<|system|>be brief<|end|><|user|>one<|end|>")
            sampling = server.worker.groups[0].requests[0].sampling
            assert (sampling.temperature, sampling.seed, sampling.top_k) == (0.5, 7, 40)
        await eventually(lambda: server.gateway.admission.requests == 0)


async def test_barge_in_cuts_the_answer(files) -> None:
    gate = Gate()
    worker = ScriptedWorker(lambda g, p: "a b c d", pace=gate)
    async with running(worker, **files) as server, connected(server) as session:
        gate.step(1)
        await session.send_client_content(turns={"role": "user", "parts": [{"text": "one"}]})
        messages = session.receive()
        first = await anext(messages)
        assert text_of([first]) == "a"
        await session.send_realtime_input(text="two")
        cut = [message async for message in messages]
        assert cut[0].server_content.interrupted
        assert cut[-1].server_content.turn_complete
        gate.release()
        assert text_of(await turn(session)) == "a b c d"
        assert worker.groups[0].aborted == [0]
        assert "<|assistant|>a<|end|><|user|>two" in prompt_of(server)


async def test_functions_are_called_and_answered(files) -> None:
    said = iter([f"One moment. {CALL}", "It is noon."])
    text = tiny_text(HERMES_TEMPLATE, TOOL_CONTROL)
    now = types.FunctionDeclaration(name="now", description="The time")
    async with running(lambda g, p: next(said), text=text, **files) as server:
        tools = [types.Tool(function_declarations=[now])]
        async with connected(server, tools=tools) as session:
            await session.send_client_content(turns={"role": "user", "parts": [{"text": "time?"}]})
            heard = []
            async for message in session.receive():
                heard.append(message)
                if message.tool_call:
                    (call,) = message.tool_call.function_calls
                    assert (call.name, call.args) == ("now", {"zone": "UTC"})
                    result = types.FunctionResponse(
                        id=call.id, name=call.name, response={"now": "12:00"}
                    )
                    await session.send_tool_response(function_responses=result)
            assert text_of(heard) == "One moment.It is noon."


@pytest.mark.parametrize("how", ["alias", "header"])
async def test_a_routed_model_shows_its_vote_on_parts(files, how: str) -> None:
    policy = {**POLICY, "part_metadata": True}
    settings = {"routed_k": 4, "routed_tau": 0.5, "routed_answer": "number"}
    model = f"{MODEL}:routed" if how == "alias" else MODEL
    asked = {"part_metadata": True} if how == "alias" else policy
    headers = {"x-pollux-routing": json.dumps(asked)}
    async with (
        running(three_of_four, **settings, **files) as server,
        connected(server, model=model, headers=headers) as session,
    ):
        heard = await ask(session, "how many?")
    turns = [m.server_content.model_turn for m in heard if m.server_content.model_turn]
    metadata = [part.part_metadata for content in turns for part in content.parts]
    steps = [given["uncertaintyRouting"] for given in metadata if given]
    assert [step.get("event") for step in steps][:2] == ["direct", "vote"]
    assert steps[-1]["route"] == DECISION["route"]
    assert text_of(heard)
    assert heard[-1].usage_metadata.thoughts_token_count > 0


async def test_audio_is_refused_with_the_reason(files) -> None:
    async with running(lambda g, p: "x", **files) as server:
        async with connected(server) as session:
            audio = types.Blob(data=b"\0\0", mime_type="audio/pcm;rate=16000")
            await session.send_realtime_input(audio=audio)
            with pytest.raises(errors.APIError, match="this model reads no audio") as refused:
                await turn(session)
            assert refused.value.code == 1007
        with pytest.raises(errors.APIError, match="speaks no audio"):
            async with connected(server, response_modalities=["AUDIO"]):
                pass


async def test_a_wrong_model_and_a_wrong_key_are_told(files) -> None:
    async with running(lambda g, p: "x", api_keys=KEY, **files) as server:
        with pytest.raises(errors.APIError, match="there is no model 'other'") as refused:
            async with connected(server, model="other"):
                pass
        assert refused.value.code == 1008
        with pytest.raises(InvalidStatus, match="401"):
            async with connected(server, key="wrong-wrong-wrong-wrong"):
                pass


async def test_a_session_is_taken_up_again(files) -> None:
    resume = types.SessionResumptionConfig
    async with running(lambda g, p: "hello", **files) as server:
        async with connected(server, session_resumption=resume()) as session:
            await ask(session, "my name is Ada")
            update = await anext(session.receive())
            handle = update.session_resumption_update.new_handle
            assert update.session_resumption_update.resumable
        async with connected(server, session_resumption=resume(handle=handle)) as session:
            messages = session.receive()
            assert (await anext(messages)).session_resumption_update.new_handle != handle
            await ask(session, "who am I?")
            assert prompt_of(server).startswith("<|user|>my name is Ada<|end|><|assistant|>hello")
        with pytest.raises(errors.APIError, match="handle is unknown"):
            async with connected(server, session_resumption=resume(handle=handle)):
                pass


async def test_the_context_is_updated_on_the_way(files) -> None:
    async with running(lambda g, p: "hello", **files) as server, connected(server) as session:
        await session.send_context_update(system_instruction="be brief")
        await ask(session, "hi")
        assert prompt_of(server).startswith("<|system|>be brief<|end|><|user|>hi")
