"""Text files in prompts, in both protocols."""

import base64
import io
from contextlib import asynccontextmanager

import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types
from websockets.asyncio.client import connect

from tests.service.support import CONTEXT, MODEL, running, shown

KEY = "right-right-right-right"
OTHER = "other-other-other-other"
KEYS = f"alice={KEY},bob={OTHER}"


def greet(group, path):
    return "hello"


@asynccontextmanager
async def gemini(server, key: str = KEY):
    args = {"transport": httpx.AsyncHTTPTransport()}
    options = types.HttpOptions(base_url=server.url, async_client_args=args)
    async with genai.Client(api_key=key, http_options=options).aio as client:
        yield client


@asynccontextmanager
async def chatgpt(server, key: str = KEY):
    base = f"{server.url}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=key, max_retries=0) as client:
        yield client


def prompt(server, index: int = -1) -> str:
    group = server.worker.groups[index].group
    return shown(server.backend.text, group.prompt.token_ids())


async def upload(client, content: bytes, mime: str = "text/plain"):
    return await client.files.upload(file=io.BytesIO(content), config={"mime_type": mime})


async def test_gemini_reads_uploaded_and_inline_files_as_text() -> None:
    async with running(greet, api_keys=KEYS) as server, gemini(server) as client:
        file = await upload(client, b"name,size\n", "text/csv")
        contents = [
            "Sum up:",
            file,
            types.Part.from_bytes(data=b'{"a": 1}', mime_type="application/json"),
            "Thanks.",
        ]
        reply = await client.models.generate_content(model=MODEL, contents=contents)
        assert reply.text == "hello"
        whole = '<|user|>Sum up:\nname,size\n{"a": 1}\nThanks.<|end|><|assistant|>'
        assert prompt(server) == whole
        stream = await client.models.generate_content_stream(model=MODEL, contents=contents)
        assert "".join([chunk.text async for chunk in stream]) == "hello"
        assert prompt(server) == whole
        counted = await client.models.count_tokens(model=MODEL, contents=contents)
        assert counted.total_tokens == len(server.worker.groups[0].group.prompt)


async def test_a_file_may_be_named_without_its_address() -> None:
    async with running(greet, api_keys=KEYS) as server, gemini(server) as client:
        file = await upload(client, b"secret")
        part = types.Part.from_uri(file_uri=file.name, mime_type="text/plain")
        await client.models.generate_content(model=MODEL, contents=[part])
        assert prompt(server) == "<|user|>secret<|end|><|assistant|>"


async def test_a_file_that_is_not_the_callers_is_forbidden_as_google_says_it() -> None:
    async with running(greet, api_keys=KEYS) as server, gemini(server) as client:
        file = await upload(client, b"secret")
        elsewhere = file.uri.replace("127.0.0.1", "localhost")
        part = types.Part.from_uri(file_uri=file.uri, mime_type="text/plain")
        gone = types.Part.from_uri(file_uri="files/none", mime_type="text/plain")
        foreign = types.Part.from_uri(file_uri=elsewhere, mime_type="text/plain")
        async with gemini(server, OTHER) as bob:
            for caller, given in ((bob, part), (client, gone), (client, foreign)):
                with pytest.raises(errors.ClientError) as refused:
                    await caller.models.generate_content(model=MODEL, contents=[given])
                assert refused.value.code == 403
                assert refused.value.status == "PERMISSION_DENIED"
                assert "or it may not exist" in refused.value.message
        assert server.worker.groups == []


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"fileData": {"fileUri": "https://example.org/a.txt"}}, "nothing is fetched"),
        ({"fileData": {"fileUri": "gs://bucket/a"}}, "nothing is fetched"),
        ({"fileData": {"fileUri": "files/../x"}}, "nothing is fetched"),
        ({"fileData": {}}, "fileUri"),
        ({"inlineData": {"mimeType": "image/png", "data": "AA=="}}, "reads no image/png"),
        ({"inlineData": {"mimeType": "nonsense", "data": "AA=="}}, "MIME type"),
        ({"inlineData": {"mimeType": "text/plain", "data": "*"}}, "must be base64"),
        ({"inlineData": {"mimeType": "text/plain", "data": "_w=="}}, "no utf-8 text"),
        ({"inlineData": {"mimeType": "text/plain; charset=klingon", "data": ""}}, "charset"),
        ({"inlineData": {"mimeType": "text/plain", "data": "", "x": 1}}, "inlineData.x"),
        ({"text": "a", "inlineData": {"mimeType": "text/plain", "data": ""}}, "exactly one"),
    ],
)
async def test_what_cannot_be_read_is_an_invalid_argument(part, said) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/v1beta/models/{MODEL}:generateContent",
            json={"contents": [{"parts": [part]}]},
        )
        assert reply.status_code == 400
        assert said in reply.json()["error"]["message"]


async def test_files_that_cannot_fit_are_refused_before_they_are_read(monkeypatch) -> None:
    def never(self, key):
        raise AssertionError("it was read")

    async with running(greet) as server, gemini(server) as client:
        file = await upload(client, bytes(CONTEXT * 32 * 4 // 2 + 1))
        monkeypatch.setattr("service.files.shelf.Shelf.open", never)
        with pytest.raises(errors.ClientError) as refused:
            await client.models.generate_content(model=MODEL, contents=[file, file])
        assert refused.value.code == 400
        assert "too many for a context" in refused.value.message


async def test_an_instruction_has_no_files() -> None:
    blob = {"inlineData": {"mimeType": "text/plain", "data": "aGk="}}
    body = {"contents": [{"parts": [{"text": "x"}]}], "systemInstruction": {"parts": [blob]}}
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1beta/models/{MODEL}:generateContent", json=body)
        assert reply.status_code == 400
        assert "files are not read here" in reply.json()["error"]["message"]


@pytest.mark.parametrize("as_url", [True, False])
async def test_chat_reads_files_by_id_and_as_base64(as_url) -> None:
    async with running(greet, api_keys=KEYS) as server, chatgpt(server) as ai:
        file = await ai.files.create(file=("a.py", b"print(1)"), purpose="user_data")
        data = base64.b64encode(b"size").decode()
        if as_url:
            data = f"data:text/csv;base64,{data}"
        parts = [
            {"type": "file", "file": {"file_id": file.id}},
            {"type": "file", "file": {"file_data": data, "filename": "a.csv"}},
            {"type": "text", "text": "What is it?"},
        ]
        messages = [{"role": "user", "content": parts}]
        reply = await ai.chat.completions.create(model=MODEL, messages=messages)
        assert reply.choices[0].message.content == "hello"
        assert prompt(server) == "<|user|>print(1)\nsize\nWhat is it?<|end|><|assistant|>"


async def test_the_websocket_reads_files_too() -> None:
    data = base64.b64encode(b"content").decode()
    part = {"type": "file", "file": {"file_data": data, "filename": "a.txt"}}
    async with running(greet) as server, connect(server.socket_url) as socket:
        ask = {"model": MODEL, "messages": [{"role": "user", "content": [part]}]}
        await socket.send(httpx.Request("POST", "http://x", json=ask).content.decode())
        async for _ in socket:
            pass
        assert prompt(server) == "<|user|>content<|end|><|assistant|>"


async def test_responses_read_files_and_keep_what_was_read() -> None:
    async with running(greet, api_keys=KEYS) as server, chatgpt(server) as ai:
        file = await ai.files.create(file=("a.txt", b"content"), purpose="user_data")
        part = {"type": "input_file", "file_id": file.id}
        question = {"type": "input_text", "text": "What is it?"}
        first = await ai.responses.create(
            model=MODEL, input=[{"role": "user", "content": [part, question]}]
        )
        await ai.files.delete(file.id)
        await ai.responses.create(model=MODEL, input="And?", previous_response_id=first.id)
        assert prompt(server) == (
            "<|user|>content\nWhat is it?<|end|><|assistant|>hello<|end|>"
            "<|user|>And?<|end|><|assistant|>"
        )


@pytest.mark.parametrize(
    ("file", "status"),
    [
        ({"file_id": "file-none"}, 404),
        ({"file_id": "none"}, 400),
        ({}, 400),
        ({"file_id": "file-a", "file_data": "AA=="}, 400),
        ({"file_url": "http://127.0.0.1/"}, 400),
        ({"file_data": "*", "filename": "a.txt"}, 400),
        ({"file_data": "AA==", "filename": "a.pdf"}, 400),
        ({"file_data": "AA=="}, 400),
        ({"file_data": "data:image/png;base64,AA=="}, 400),
        ({"file_data": "aGk=", "filename": "a.txt", "colour": "red"}, 400),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_in_chat_and_responses(file, status) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        chat = {"model": MODEL, "messages": [
            {"role": "user", "content": [{"type": "file", "file": file}]}]}  # fmt: skip
        responses = {"model": MODEL, "input": [
            {"role": "user", "content": [{"type": "input_file", **file}]}]}  # fmt: skip
        for path, body in (("chat/completions", chat), ("responses", responses)):
            reply = await http.post(f"{server.url}/v1/{path}", json=body)
            assert reply.status_code == status, reply.text
            assert reply.json()["error"]["param"]


async def test_tokenize_reads_no_files() -> None:
    part = {"type": "file", "file": {"file_data": "aGk=", "filename": "a.txt"}}
    body = {"model": MODEL, "messages": [{"role": "user", "content": [part]}]}
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/tokenize", json=body)
        assert reply.status_code == 400
        assert "files are not read here" in reply.json()["error"]["message"]
