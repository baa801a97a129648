"""Each limit of a request at its edge and one above it, in the words of each protocol."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest

from model.contract import (
    MAX_GRAMMAR_BYTES,
    MAX_LOGIT_BIAS,
    MAX_LOGPROBS,
    MAX_STOP_IDS,
    MAX_STOP_STRING_CHARS,
    MAX_STOP_STRINGS,
)
from model.text.tools.calls import MAX_DEPTH
from service.api.attachments import MAX_ATTACHMENTS
from service.api.openai.responses.schemas import MAX_METADATA
from service.api.parts import MAX_MESSAGE_PARTS, MAX_REQUEST_PARTS
from service.api.structured import MAX_CHOICES
from service.api.tools.offer import MAX_FUNCTION_CHARS, MAX_FUNCTIONS
from service.placement import MAX_SALT_CHARS
from tests.scripted import ScriptedWorker
from tests.service.support import (
    HERMES_TEMPLATE,
    MODEL,
    TOOL_CONTROL,
    ScriptedBackend,
    card,
    running,
    tiny_text,
)

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
GENERATE = f"/v1beta/models/{MODEL}:generateContent"
COUNT = f"/v1beta/models/{MODEL}:countTokens"
BATCH = f"/v1beta/models/{MODEL}:batchEmbedContents"
CACHES = "/v1beta/cachedContents"

SETTINGS = {
    "max_messages": 8, "max_choices": 4, "max_prompts": 3, "max_inputs": 3, "max_samples": 4,
}  # fmt: skip
"""Small, so that their edges are cheap. The rest are the code's own."""

USER = {"role": "user", "content": ""}
TURN = {"role": "user", "parts": [{"text": "a"}]}
CONTEXT = 65536
"""So that a model may be shown as many functions as may be offered."""
Fill = Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class Limit:
    """at: the largest size that is taken. of: a request's fields of a size. param: what is named
    one above it. code: OpenAI's."""

    path: str
    at: int
    of: Fill
    param: str | None
    code: str | None = None

    @property
    def gemini(self) -> bool:
        return self.path.startswith("/v1beta")


def asked(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    least: dict[str, dict[str, Any]] = {
        CHAT: {"model": MODEL, "messages": [{"role": "user", "content": "a"}]},
        RESPONSES: {"model": MODEL, "input": "a"},
        COMPLETIONS: {"model": MODEL, "prompt": "a"},
        EMBEDDINGS: {"model": MODEL, "input": "a"},
        GENERATE: {"contents": [TURN]},
        COUNT: {"contents": [TURN]},
        BATCH: {},
        CACHES: {"model": MODEL, "ttl": "60s"},
        "/tokenize": {},
    }
    return {**least[path], **fields}


def config(name: str, value: Callable[[int], Any], **more: Any) -> Fill:
    return lambda size: {"generationConfig": {name: value(size), **more}}


def parts(count: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": ""}] * (count - 1) + [{"type": "text", "text": "a"}]


def spread(count: int, message: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """So many parts in as few messages as may be."""
    full, rest = divmod(count, MAX_MESSAGE_PARTS)
    return [message(MAX_MESSAGE_PARTS)] * full + ([message(rest)] if rest else [])


def said(count: int) -> dict[str, Any]:
    return {"role": "user", "content": parts(count)}


def item(count: int) -> dict[str, Any]:
    texts = [{"type": "input_text", "text": ""}] * (count - 1)
    return {"role": "user", "content": [*texts, {"type": "input_text", "text": "a"}]}


def turn(count: int) -> dict[str, Any]:
    return {"role": "user", "parts": [{"text": ""}] * (count - 1) + [{"text": "a"}]}


def deep(levels: int) -> dict[str, Any]:
    """A schema of so many objects in each other."""
    schema: dict[str, Any] = {}
    for _ in range(levels - 1):
        schema = {"items": schema}
    return schema


def of_bytes(size: int) -> dict[str, Any]:
    """A schema whose JSON has so many bytes."""
    return {"title": "x" * (size - len('{"title": ""}'))}


def answer_form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def functions(count: int) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": f"f{i}"}} for i in range(count)]


def flat(count: int) -> list[dict[str, Any]]:
    return [{"type": "function", "name": f"f{i}"} for i in range(count)]


def declared(count: int) -> list[dict[str, Any]]:
    """In two tools: they count together."""
    names = [{"name": f"f{i}"} for i in range(count)]
    return [{"functionDeclarations": names[:64]}, {"functionDeclarations": names[64:]}]


def described(size: int) -> dict[str, Any]:
    """A function of so many characters."""
    shown = {"name": "f", "description": "", "parameters": {"type": "object"}}
    frame = len(json.dumps({"type": "function", "function": shown}))
    return {**shown, "description": "x" * (size - frame)}


def attached(count: int) -> list[dict[str, Any]]:
    return [{"type": "file", "file": {"file_data": "YQ==", "filename": "a.txt"}}] * count


FILES = MAX_ATTACHMENTS // 2
"""In each of two messages, since a message may have no more parts than a request files."""

SHARED: list[Limit] = [
    Limit(path, at, of, param)
    for path in (CHAT, COMPLETIONS, RESPONSES)
    for at, of, param in (
        (MAX_STOP_STRINGS, lambda n: {"stop": ["~"] * n}, "stop"),
        (MAX_STOP_STRING_CHARS, lambda n: {"stop": "~" * n}, "stop"),
        (MAX_STOP_IDS, lambda n: {"stop_token_ids": [7] * n}, "stop_token_ids"),
        (MAX_LOGIT_BIAS, lambda n: {"logit_bias": {str(i): 0 for i in range(n)}}, "logit_bias"),
        (100, lambda n: {"logit_bias": {"1": n}}, "logit_bias"),
        (MAX_SALT_CHARS, lambda n: {"cache_salt": "x" * n}, "cache_salt"),
        (2**64 - 1, lambda n: {"seed": n}, "seed"),
        (2, lambda n: {"temperature": n}, "temperature"),
        (2, lambda n: {"presence_penalty": n}, "presence_penalty"),
        (10, lambda n: {"repetition_penalty": n}, "repetition_penalty"),
    )
    if not (path == RESPONSES and param == "presence_penalty" and at != 2)
]

OPENAI: list[Limit] = [
    Limit(CHAT, 4, lambda n: {"n": n}, "n"),
    Limit(CHAT, 8, lambda n: {"messages": [{**USER, "content": "a"}] * n}, "messages"),
    Limit("/tokenize", 8, lambda n: {"messages": [{**USER, "content": "a"}] * n}, "messages"),
    Limit(CHAT, MAX_MESSAGE_PARTS, lambda n: {"messages": [said(n)]}, "messages[0].content"),
    Limit(CHAT, MAX_LOGPROBS, lambda n: {"logprobs": True, "top_logprobs": n}, "top_logprobs"),
    Limit(CHAT, 4, lambda n: {"uncertainty_routing": {"k": n}}, "uncertainty_routing.k"),
    Limit(CHAT, MAX_FUNCTIONS, lambda n: {"tools": functions(n)}, "tools"),
    Limit(
        CHAT, MAX_FUNCTION_CHARS,
        lambda n: {"tools": [{"type": "function", "function": described(n)}]}, "tools",
    ),
    Limit(
        CHAT, MAX_DEPTH,
        lambda n: {"tools": [{"type": "function",
                              "function": {"name": "f", "parameters": deep(n)}}]}, "tools",
    ),
    Limit(CHAT, MAX_DEPTH, lambda n: {"response_format": answer_form(deep(n))}, "response_format"),
    Limit(CHAT, MAX_DEPTH, lambda n: {"guided_json": json.dumps(deep(n))}, "response_format"),
    Limit(
        CHAT, MAX_GRAMMAR_BYTES, lambda n: {"response_format": answer_form(of_bytes(n))},
        "response_format",
    ),
    Limit(CHAT, MAX_GRAMMAR_BYTES, lambda n: {"guided_regex": "a" * n}, "response_format"),
    Limit(CHAT, MAX_GRAMMAR_BYTES, lambda n: {"guided_grammar": "a" * n}, "response_format"),
    Limit(CHAT, MAX_CHOICES, lambda n: {"guided_choice": ["a"] * n}, "response_format"),
    Limit(
        CHAT, MAX_ATTACHMENTS,
        lambda n: {"messages": [{**USER, "content": attached(FILES)},
                                {**USER, "content": attached(n - FILES)}]}, "messages",
    ),
    Limit(COMPLETIONS, 4, lambda n: {"n": n}, "n"),
    Limit(COMPLETIONS, 3, lambda n: {"prompt": ["a"] * n}, "prompt"),
    Limit(COMPLETIONS, MAX_LOGPROBS, lambda n: {"logprobs": n}, "logprobs"),
    Limit(
        COMPLETIONS, CONTEXT - 16, lambda n: {"prompt": [5] * n}, "prompt",
        "context_length_exceeded",
    ),
    Limit(EMBEDDINGS, 3, lambda n: {"input": ["a"] * n}, "input"),
    Limit(EMBEDDINGS, CONTEXT, lambda n: {"input": [5] * n}, "input", "context_length_exceeded"),
    Limit(RESPONSES, 8, lambda n: {"input": [item(1)] * n}, "input"),
    Limit(RESPONSES, MAX_MESSAGE_PARTS, lambda n: {"input": [item(n)]}, "input[0].content"),
    Limit(RESPONSES, MAX_FUNCTIONS, lambda n: {"tools": flat(n)}, "tools"),
    Limit(
        RESPONSES, MAX_METADATA, lambda n: {"metadata": {str(i): "" for i in range(n)}}, "metadata"
    ),
    Limit(RESPONSES, 512, lambda n: {"metadata": {"a": "x" * n}}, "metadata.a"),
    Limit(
        RESPONSES, MAX_DEPTH,
        lambda n: {"text": {"format": {"type": "json_schema", "name": "x", "schema": deep(n)}}},
        "text.format",
    ),
]  # fmt: skip

JSON = {"responseMimeType": "application/json"}
ENUM = {"responseMimeType": "text/x.enum"}
GEMINI: list[Limit] = [
    Limit(GENERATE, 8, lambda n: {"contents": [TURN] * n}, "contents"),
    Limit(COUNT, 8, lambda n: {"contents": [TURN] * n}, "contents"),
    Limit(CACHES, 8, lambda n: {"contents": [TURN] * n}, "contents"),
    Limit(GENERATE, MAX_MESSAGE_PARTS, lambda n: {"contents": [turn(n)]}, "contents[0].parts"),
    Limit(COUNT, MAX_MESSAGE_PARTS, lambda n: {"contents": [turn(n)]}, "contents[0].parts"),
    Limit(GENERATE, 4, config("candidateCount", int), "generationConfig.candidateCount"),
    Limit(
        GENERATE, MAX_STOP_STRINGS, config("stopSequences", lambda n: ["~"] * n),
        "generationConfig.stopSequences",
    ),
    Limit(
        GENERATE, MAX_STOP_STRING_CHARS, config("stopSequences", lambda n: ["~" * n]),
        "generationConfig.stopSequences",
    ),
    Limit(
        GENERATE, MAX_LOGPROBS, config("logprobs", int, responseLogprobs=True),
        "generationConfig.logprobs",
    ),
    Limit(GENERATE, 2, config("temperature", int), "generationConfig.temperature"),
    Limit(GENERATE, 2**31 - 1, config("topK", int), "generationConfig.topK"),
    Limit(GENERATE, 2**64 - 1, config("seed", int), "generationConfig.seed"),
    Limit(GENERATE, MAX_DEPTH, config("responseJsonSchema", deep, **JSON), None),
    Limit(GENERATE, MAX_DEPTH, config("responseSchema", deep, **JSON), None),
    Limit(GENERATE, MAX_GRAMMAR_BYTES, config("responseJsonSchema", of_bytes, **JSON), None),
    Limit(
        GENERATE, MAX_CHOICES, config("responseSchema", lambda n: {"enum": ["a"] * n}, **ENUM), None
    ),
    Limit(GENERATE, MAX_FUNCTIONS, lambda n: {"tools": declared(n)}, "tools"),
    Limit(GENERATE, 4, lambda n: {"uncertaintyRouting": {"k": n}}, "uncertaintyRouting.k"),
    Limit(BATCH, 3, lambda n: {"requests": [{"content": TURN}] * n}, "requests"),
    Limit(CACHES, 128, lambda n: {"contents": [TURN], "displayName": "x" * n}, "displayName"),
]  # fmt: skip

NOT_APPLICABLE = {
    "metadata of chat and completions": "ignored whatever it is; the body's size bounds it",
    "logit_bias, stop ids and cache_salt in Gemini's words": "the protocol has no such fields",
    "prompts, inputs and n of responses and sessions": "one conversation, one answer",
    "candidateCount and logprobs in sessions": "refused whatever they are",
    "pathological grammars": "tests/model/engine/test_constraints.py: a process under limits",
    "files, uploads, cached contents, keys": "tests/service/files, caches and guard",
    "heads, trailers, pipelining, frames": "tests/service/guard/test_connections.py",
    "time, rates and bytes of sessions": "tests/service/sessions/test_lifetimes.py",
    "readers that stop": "tests/service/guard/test_slow_clients.py",
}
"""What is not in the tables, and why."""


def told(reply: httpx.Response) -> tuple[str | None, str | None]:
    """The field at fault and the code, of an error in its protocol's shape and in one line."""
    error = reply.json()["error"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 600
    if "status" not in error:
        assert error["type"] == "invalid_request_error"
        return error["param"], error["code"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    details = error.get("details")
    return details[0]["fieldViolations"][0]["field"] if details else None, None


async def try_limit(http: httpx.AsyncClient, limit: Limit) -> None:
    taken = await http.post(limit.path, json=asked(limit.path, limit.of(limit.at)))
    assert taken.status_code == 200, (limit, taken.text)
    over = await http.post(limit.path, json=asked(limit.path, limit.of(limit.at + 1)))
    assert over.status_code == 400, (limit, over.text)
    param, code = told(over)
    if limit.param is not None:
        assert param == limit.param, (limit, over.text)
    if not limit.gemini:
        assert code == limit.code, (limit, over.text)


@asynccontextmanager
async def served(**settings: int) -> AsyncIterator[httpx.AsyncClient]:
    text = tiny_text(HERMES_TEMPLATE, TOOL_CONTROL)
    wide = msgspec.structs.replace(card(text), context=CONTEXT)
    backend = ScriptedBackend(ScriptedWorker(lambda g, p: "a"), text, wide)
    async with (
        running(lambda g, p: "a", backend=backend, default_max_tokens=16, **settings) as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as http,
    ):
        yield http


@pytest.mark.parametrize("table", [SHARED, OPENAI, GEMINI], ids=["shared", "openai", "gemini"])
async def test_each_limit_is_taken_at_its_edge_and_refused_above_it(table: list[Limit]) -> None:
    async with served(**SETTINGS) as http:
        wrong = []
        for limit in table:
            try:
                await try_limit(http, limit)
            except AssertionError as error:
                wrong.append(str(error)[:400])
        assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("path", "of"),
    [
        (CHAT, lambda n: {"messages": spread(n, said)}),
        ("/tokenize", lambda n: {"messages": spread(n, said)}),
        (RESPONSES, lambda n: {"input": spread(n, item)}),
        (GENERATE, lambda n: {"contents": spread(n, turn)}),
        (COUNT, lambda n: {"contents": spread(n, turn)}),
        (CACHES, lambda n: {"contents": spread(n, turn)}),
    ],
)
async def test_a_request_has_so_many_parts_over_all_its_messages(path: str, of: Fill) -> None:
    async with served(max_messages=20) as http:
        taken = await http.post(path, json=asked(path, of(MAX_REQUEST_PARTS)))
        assert taken.status_code == 200
        over = await http.post(path, json=asked(path, of(MAX_REQUEST_PARTS + 1)))
        assert over.status_code == 400
        told(over)
        assert f"{MAX_REQUEST_PARTS} parts" in over.json()["error"]["message"]
