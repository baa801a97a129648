"""The Responses API, whole answers: driven by the unmodified openai client and by httpx."""

import asyncio
import json

import httpx
import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from model.contract import TokenLogprob
from service.api.openai.responses.schemas import IGNORED, NEUTRAL, ResponseRequest
from tests.scripted import Chunk, Failure, Gate, PathScript, ScriptedWorker
from tests.service.support import MODEL, eventually, running
from tests.service.test_docs import API, names, section
from tests.service.test_routed import DECISION, POLICY, three_of_four

LOGPROBS = "message.output_text.logprobs"


def client(url: str, prefix: str = "/v1") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=url + prefix, api_key="none", max_retries=0)


def greet(group, path):
    return "hello from here"


def seen(server, place: int = -1) -> str:
    """The prompt of a group as the model read it, control tokens by name."""
    ids = server.worker.groups[place].group.prompt.token_ids()
    text = server.backend.text.tokenizer
    return "".join(text.piece(i) if i >= 300 else text.decode([i]) for i in ids)


async def test_an_answer_is_what_the_clients_types_say() -> None:
    async with running(greet) as server, client(server.url) as ai:
        reply = await ai.responses.create(
            model=MODEL, input="hello", metadata={"a": "b"}, max_output_tokens=50
        )
        assert reply.output_text == "hello from here"
        assert (reply.status, reply.error, reply.incomplete_details) == ("completed", None, None)
        assert reply.id.startswith("resp_")
        assert reply.model == MODEL
        assert reply.metadata == {"a": "b"}
        assert reply.max_output_tokens == 50
        (item,) = reply.output
        assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
        assert reply.usage.input_tokens == len(server.worker.groups[0].group.prompt) == 8
        assert (reply.usage.output_tokens, reply.usage.total_tokens) == (3, 11)
        assert reply.usage.input_tokens_details.cached_tokens == 0
        assert reply.usage.output_tokens_details.reasoning_tokens == 0
        assert reply.created_at <= reply.completed_at
        # The client builds its types without checking them; this checks.
        Response.model_validate(reply.to_dict())
        assert seen(server) == "<|user|>hello<|end|><|assistant|>"


async def test_items_parts_and_instructions_become_the_conversation() -> None:
    given = [
        {"role": "developer", "content": "be brief"},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "phase": None,
            "content": [{"type": "output_text", "text": "c", "annotations": [], "logprobs": None}],
        },
        {"role": "user", "content": "<|end|>"},
    ]
    async with running(greet) as server, client(server.url) as ai:
        await ai.responses.create(model=MODEL, input=given, instructions="obey")
        assert seen(server) == (
            "<|system|>obey<|end|><|system|>be brief<|end|><|user|>a\nb<|end|>"
            "<|assistant|>c<|end|><|user|><|end|><|end|><|assistant|>"
        )
        # What the user typed is text; the template's own are control tokens.
        assert server.worker.groups[0].group.prompt.token_ids().count(303) == 5


async def test_output_may_be_sent_back_as_it_came() -> None:
    async with running(greet) as server, client(server.url) as ai:
        first = await ai.responses.create(model=MODEL, input="one", store=False)
        async with ai.responses.stream(model=MODEL, input="two", store=False) as stream:
            second = await stream.get_final_response()
        history = [
            {"role": "user", "content": "one"},
            *first.output,
            *(item.model_dump() for item in second.output),
            {"role": "user", "content": "three"},
        ]
        await ai.responses.create(model=MODEL, input=history)
        assert seen(server) == (
            "<|user|>one<|end|><|assistant|>hello from here<|end|>"
            "<|assistant|>hello from here<|end|><|user|>three<|end|><|assistant|>"
        )


async def test_every_sampling_parameter_reaches_the_worker() -> None:
    async with running(greet) as server, client(server.url) as ai:
        reply = await ai.responses.create(
            model=MODEL,
            input="hello",
            temperature=0.3,
            top_p=0.8,
            max_output_tokens=33,
            include=[LOGPROBS],
            top_logprobs=2,
            extra_body={"seed": 7, "top_k": 5, "stop": ["X"], "presence_penalty": 0.5},
        )
        (request,) = server.worker.groups[0].requests
        sampling = request.sampling
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.3, 0.8, 33)
        assert (sampling.logprobs, sampling.seed, sampling.top_k) == (2, 7, 5)
        assert (sampling.stop, sampling.presence_penalty) == (("X",), 0.5)
        assert (reply.temperature, reply.top_p, reply.top_logprobs) == (0.3, 0.8, 2)


async def test_logprobs_come_when_they_are_included() -> None:
    # 303 is a control token: it has a name and no bytes.
    top = ((65, -0.25), (303, float("-inf")))
    script = PathScript((Chunk((65,), "x", (TokenLogprob(id=65, logprob=-0.25, top=top),)),))
    async with running(lambda g, p: script) as server, client(server.url) as ai:
        reply = await ai.responses.create(
            model=MODEL, input="hello", include=[LOGPROBS], top_logprobs=2
        )
        Response.model_validate(reply.to_dict())
        piece = server.backend.text.tokenizer.token_bytes(65)
        (entry,) = reply.output[0].content[0].logprobs
        assert (entry.token, entry.bytes, entry.logprob) == (piece.decode(), list(piece), -0.25)
        assert [t.token for t in entry.top_logprobs] == [piece.decode(), "<|end|>"]
        assert (entry.top_logprobs[1].bytes, entry.top_logprobs[1].logprob) == ([], -9999.0)
        kept = await ai.responses.retrieve(reply.id, include=[LOGPROBS])
        assert kept.output[0].content[0].logprobs == reply.output[0].content[0].logprobs
        plain = await ai.responses.create(model=MODEL, input="hello")
        assert plain.output[0].content[0].logprobs == []
        with pytest.raises(openai.BadRequestError) as caught:
            await ai.responses.retrieve(plain.id, include=[LOGPROBS])
        assert caught.value.param == "include"


async def test_an_answer_that_was_cut_says_why() -> None:
    async with running(greet) as server, client(server.url) as ai:
        reply = await ai.responses.create(model=MODEL, input="hello", max_output_tokens=2)
        Response.model_validate(reply.to_dict())
        assert reply.status == "incomplete"
        assert reply.incomplete_details.reason == "max_output_tokens"
        assert reply.output[0].status == "incomplete"
        assert reply.output_text == "hello from"


async def test_a_routed_answer_is_one_message_with_the_decision_beside_it() -> None:
    async with running(three_of_four) as server, client(server.url) as ai:
        raw = await ai.responses.with_raw_response.create(
            model=MODEL, input="What is two and two?", extra_body={"uncertainty_routing": POLICY}
        )
        reply = raw.parse()
        Response.model_validate(reply.to_dict())
        assert reply.uncertainty_routing == DECISION
        assert reply.output_text == "Path 0 thinks. Answer: 4"
        assert len(reply.output) == 1
        assert raw.headers["x-pollux-route"] == "majority"
        assert raw.headers["x-pollux-answer"] == "4"
        direct, paths = server.worker.groups
        sampled = sum(paths.produced.values())
        assert reply.usage.output_tokens_details.reasoning_tokens == sampled
        assert reply.usage.output_tokens == sampled + sum(direct.produced.values())
        kept = await ai.responses.retrieve(reply.id)
        assert kept.uncertainty_routing == DECISION


@pytest.mark.parametrize("way", ["alias", "header"])
async def test_routing_is_asked_for_by_alias_or_header_too(way: str) -> None:
    async with running(three_of_four, routed_k=2) as server, client(server.url) as ai:
        reply = await ai.responses.create(
            model=f"{MODEL}:routed" if way == "alias" else MODEL,
            input="What is two and two?",
            extra_headers={"x-pollux-routing": '{"k": 2}'} if way == "header" else None,
        )
        assert reply.uncertainty_routing["k"] == 2
        # The paths have a temperature of their own.
        assert reply.temperature is None


async def test_a_conversation_goes_on_from_what_is_kept() -> None:
    async with running(lambda g, p: "Answer: 4") as server, client(server.url) as ai:
        first = await ai.responses.create(model=MODEL, input="one", instructions="be brief")
        second = await ai.responses.create(
            model=MODEL, input="two", previous_response_id=first.id, instructions="be long"
        )
        assert second.previous_response_id == first.id
        # Instructions are of one request alone.
        assert seen(server) == (
            "<|system|>be long<|end|><|user|>one<|end|><|assistant|>Answer: 4<|end|>"
            "<|user|>two<|end|><|assistant|>"
        )
        # A vote has the whole conversation too, and a stream can be continued.
        stream = await ai.responses.create(
            model=MODEL,
            input="three",
            previous_response_id=second.id,
            stream=True,
            extra_body={"uncertainty_routing": {"k": 2}},
        )
        *_, last = [event async for event in stream]
        assert "<|user|>two<|end|><|assistant|>Answer: 4<|end|><|user|>three" in seen(server)
        await ai.responses.create(
            model=MODEL, input="four", previous_response_id=last.response.id, stream=False
        )
        assert seen(server).count("<|assistant|>Answer: 4<|end|>") == 3
        # Two may go on from the same one.
        await ai.responses.create(model=MODEL, input="other", previous_response_id=first.id)
        assert seen(server) == (
            "<|user|>one<|end|><|assistant|>Answer: 4<|end|><|user|>other<|end|><|assistant|>"
        )


async def test_a_conversation_outlives_the_responses_before_it() -> None:
    async with running(greet) as server, client(server.url) as ai:
        first = await ai.responses.create(model=MODEL, input="one")
        second = await ai.responses.create(model=MODEL, input="two", previous_response_id=first.id)
        await ai.responses.delete(first.id)
        await ai.responses.create(model=MODEL, input="three", previous_response_id=second.id)
        assert seen(server).startswith("<|user|>one<|end|>")


async def test_a_kept_response_is_read_and_forgotten() -> None:
    async with running(greet) as server, client(server.url) as ai:
        made = await ai.responses.create(model=MODEL, input="one")
        kept = await ai.responses.retrieve(made.id)
        assert kept.to_dict() == made.to_dict()
        await ai.responses.delete(made.id)
        for call in (ai.responses.retrieve, ai.responses.delete, ai.responses.input_items.list):
            with pytest.raises(openai.NotFoundError, match="not found"):
                await call(made.id)


async def test_what_was_not_to_be_stored_is_not_there() -> None:
    async with running(greet) as server, client(server.url) as ai:
        made = await ai.responses.create(model=MODEL, input="one", store=False)
        assert made.store is False
        with pytest.raises(openai.NotFoundError):
            await ai.responses.retrieve(made.id)
        with pytest.raises(openai.BadRequestError) as caught:
            await ai.responses.create(model=MODEL, input="two", previous_response_id=made.id)
        assert caught.value.code == "previous_response_not_found"
        assert caught.value.param == "previous_response_id"
        assert made.id in caught.value.message


async def test_input_items_are_the_conversation_page_by_page() -> None:
    async with running(greet) as server, client(server.url) as ai:
        given = [{"role": "developer", "content": "brief"}, {"role": "user", "content": "one"}]
        first = await ai.responses.create(model=MODEL, input=given)
        made = await ai.responses.create(model=MODEL, input="two", previous_response_id=first.id)
        texts = ["brief", "one", "hello from here", "two"]

        async def listed(**query) -> list[str]:
            items = ai.responses.input_items.list(made.id, **query)
            return [item.content[0].text async for item in items]

        assert await listed() == texts[::-1]
        assert await listed(order="asc") == texts
        assert await listed(order="asc", limit=1) == texts, "the client turns the pages"
        page = await ai.responses.input_items.list(made.id, order="asc", limit=3)
        assert page.has_more
        assert (page.first_id, page.last_id) == (page.data[0].id, page.data[2].id)
        assert page.data[2].id == first.output[0].id
        assert [item.role for item in page.data] == ["developer", "user", "assistant"]
        rest = await ai.responses.input_items.list(made.id, order="asc", after=page.last_id)
        assert not rest.has_more
        assert [item.content[0].text for item in rest.data] == ["two"]


async def test_every_application_keeps_its_responses_for_itself() -> None:
    async with running(greet) as one, running(greet) as other:
        async with client(one.url) as ai:
            made = await ai.responses.create(model=MODEL, input="hello")
            await ai.responses.retrieve(made.id)
        async with client(other.url) as ai:
            with pytest.raises(openai.NotFoundError):
                await ai.responses.retrieve(made.id)


async def test_the_prefix_of_the_protocol_works_and_shares_the_store() -> None:
    async with running(greet) as server:
        async with client(server.url, "/openai/v1") as ai:
            made = await ai.responses.create(model=MODEL, input="hello")
        async with client(server.url) as ai:
            assert (await ai.responses.retrieve(made.id)).output_text == "hello from here"


async def test_the_client_without_asyncio_gets_the_same() -> None:
    def ask(url: str) -> list[str]:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as ai:
            first = ai.responses.create(model=MODEL, input="one")
            with ai.responses.stream(
                model=MODEL, input="two", previous_response_id=first.id
            ) as stream:
                second = stream.get_final_response()
            items = ai.responses.input_items.list(second.id, order="asc", limit=2)
            texts = [item.content[0].text for item in items]
            ai.responses.delete(first.id)
            return [first.output_text, second.output_text, *texts]

    async with running(greet) as server:
        answers = await asyncio.to_thread(ask, server.url)
    said = "hello from here"
    assert answers == [said, said, "one", said, "two"]


async def test_what_asks_for_nothing_is_accepted() -> None:
    async with running(greet) as server, client(server.url) as ai:
        reply = await ai.responses.create(
            model=MODEL,
            input="hello",
            background=False,
            text={"format": {"type": "text"}, "verbosity": "medium"},
            reasoning={"effort": "none", "summary": "auto"},
            truncation="disabled",
            tools=[],
            tool_choice="none",
            parallel_tool_calls=False,
            service_tier="auto",
            user="me",
            safety_identifier="me",
            prompt_cache_key="key",
            max_tool_calls=3,
            include=["reasoning.encrypted_content"],
            stream_options={"include_obfuscation": True},
            previous_response_id=None,
            conversation=None,
        )
        assert (reply.tool_choice, reply.parallel_tool_calls) == ("none", False)
        assert (reply.reasoning.effort, reply.reasoning.summary) == ("none", "auto")
        assert (reply.service_tier, reply.truncation) == ("default", "disabled")
        assert reply.text.format.type == "text"


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure("invalid", "not this", "max_tokens"), 400),
        (Failure("capacity", "full"), 429),
        (Failure("internal", "broken"), 500),
    ],
)
@pytest.mark.parametrize("routed", [False, True])
async def test_a_failure_is_an_error_and_nothing_is_kept(failure, status, routed) -> None:
    script = PathScript((), failure)
    body = {"model": MODEL, "input": "hello", **({"uncertainty_routing": {}} if routed else {})}
    async with running(lambda g, p: script) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1/responses", json=body)
        assert reply.status_code == status
        assert reply.json()["error"]["message"] == failure.message
        param = "max_output_tokens" if failure.param else None
        assert reply.json()["error"]["param"] == param


async def test_a_client_that_leaves_frees_the_worker() -> None:
    worker = ScriptedWorker(lambda g, p: "a b c", pace=Gate())
    async with running(worker) as server, httpx.AsyncClient() as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post(
                f"{server.url}/v1/responses",
                json={"model": MODEL, "input": "hello"},
                timeout=httpx.Timeout(5, read=0.2),
            )
        await eventually(lambda: worker.groups and worker.idle)
        assert worker.groups[0].aborted == [0]
        assert server.gateway.admission.requests == 0


def test_every_parameter_is_documented_by_name() -> None:
    listed = {part for name in names(section(API, "OpenAI")) for part in name.split(".")}
    fields = {*ResponseRequest.model_fields, *IGNORED, *NEUTRAL} - {"uncertainty_routing"}
    assert fields - listed == set()


async def test_a_response_is_read_with_the_key_that_asked_for_it() -> None:
    keys = {"alice": "right-right-right-right", "bob": "other-other-other-other"}
    listed = ",".join(f"{name}={key}" for name, key in keys.items())

    def client(url: str, name: str) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=keys[name], max_retries=0)

    async with (
        running(lambda group, path: "hello", api_keys=listed) as server,
        client(server.url, "alice") as alice,
        client(server.url, "bob") as bob,
    ):
        made = await alice.responses.create(model=MODEL, input="hi")
        assert (await alice.responses.retrieve(made.id)).id == made.id
        with pytest.raises(openai.NotFoundError):
            await bob.responses.retrieve(made.id)
        with pytest.raises(openai.BadRequestError):
            await bob.responses.create(model=MODEL, input="hi", previous_response_id=made.id)


async def test_a_response_is_parsed_into_a_model() -> None:
    class Shape(BaseModel):
        answer: int

    async with running(lambda group, path: '{"answer": 4}') as server:
        async with client(server.url) as ai:
            made = await ai.responses.parse(model=MODEL, input="2 + 2", text_format=Shape)
        assert made.output_parsed == Shape(answer=4)
        assert made.text.format.type == "json_schema"
        sampling = server.worker.groups[0].requests[0].sampling
        assert json.loads(sampling.constraint.json_schema)["required"] == ["answer"]
