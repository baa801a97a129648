"""The OpenAPI document says what the server does: schemathesis asks it, and so do we."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from service.api.document.gemini_replies import CountTokensReply, GenerateContentReply
from service.api.document.model_replies import GeminiModelListReply, ModelListReply
from service.api.document.openai_replies import (
    ChatCompletionReply,
    DetokenizeReply,
    ResponseReply,
    TextCompletionReply,
    TokenizeReply,
    TokenizerReply,
)
from tests.service.support import HERMES_TEMPLATE, MODEL, running, tiny_text

ROOT = Path(__file__).parents[2]
SAID = "two and two. Answer: 4"
CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
USER = [{"role": "user", "content": "2 + 2?"}]
CONTENTS = [{"role": "user", "parts": [{"text": "2 + 2?"}]}]
NOW = {"type": "function", "function": {"name": "now"}}
ROUTED = {"uncertainty_routing": {"k": 3, "answer": "number"}}

NO_SCHEMA_CAN_SAY = "positive_data_acceptance"
"""Fields that exclude each other, grammars that compile, prompts that fit the context."""


@pytest.mark.timeout(600)
async def test_schemathesis_finds_nothing() -> None:
    async with running(lambda group, path: SAID) as server:
        command = (
            sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json",
            "--exclude-checks", NO_SCHEMA_CAN_SAY, "--max-examples", "10", "--seed", "1",
            "--continue-on-failure", "--generation-database", "none", "--no-color",
            # Most of the names that it makes up become the served model's.
            "--suppress-health-check", "filter_too_much",
        )  # fmt: skip
        judge = await asyncio.create_subprocess_exec(
            *command,
            cwd=ROOT,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.service.schemathesis_hooks"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await judge.communicate()
    report = said.decode()
    assert judge.returncode == 0, report[-6000:]
    tested = re.search(r"(\d+) generated, (\d+) passed", report)
    assert tested is not None
    assert tested[1] == tested[2]
    assert int(tested[1]) > 1000


async def document() -> dict[str, Any]:
    async with running(lambda group, path: SAID) as server, httpx.AsyncClient() as http:
        read: dict[str, Any] = (await http.get(f"{server.url}/openapi.json")).json()
        return read


async def test_every_operation_says_what_it_takes_answers_and_refuses() -> None:
    described = await document()
    operations = {
        (method, path): found
        for path, methods in described["paths"].items()
        for method, found in methods.items()
    }
    watched = {"/healthz", "/readyz", "/health", "/ping", "/version", "/metrics"}
    for (method, path), found in operations.items():
        assert found["summary"], path
        if path in watched:
            continue
        assert found["responses"]["200"]["content"], path
        assert {"4XX", "5XX"} <= set(found["responses"]), path
        assert ("requestBody" in found) == (method in ("post", "patch")), (method, path)
    ids = [found["operationId"] for found in operations.values()]
    assert len(set(ids)) == len(ids)
    assert "HTTPValidationError" not in described["components"]["schemas"]


async def test_keys_are_in_the_document_where_the_server_asks_for_them() -> None:
    assert "security" not in await document()
    key = {"authorization": "Bearer a-key-of-some-length"}
    async with (
        running(lambda group, path: SAID, api_keys="a-key-of-some-length") as server,
        httpx.AsyncClient(headers=key) as http,
    ):
        described = (await http.get(f"{server.url}/openapi.json")).json()
    assert {name for way in described["security"] for name in way} == set(
        described["components"]["securitySchemes"]
    )


@pytest.mark.parametrize(
    ("path", "body", "reply"),
    [
        ("/v1/chat/completions", {"messages": USER}, ChatCompletionReply),
        (
            "/v1/chat/completions",
            {"messages": USER, "n": 2, "logprobs": True, "top_logprobs": 2},
            ChatCompletionReply,
        ),
        ("/v1/chat/completions", {"messages": USER, **ROUTED}, ChatCompletionReply),
        ("/v1/chat/completions", {"messages": USER, "tools": [NOW]}, ChatCompletionReply),
        ("/v1/completions", {"prompt": "2", "echo": True, "logprobs": 1}, TextCompletionReply),
        ("/v1/responses", {"input": "2 + 2?"}, ResponseReply),
        ("/v1/responses", {"input": "2 + 2?", **ROUTED}, ResponseReply),
        ("/tokenize", {"prompt": "ab", "return_token_strs": True}, TokenizeReply),
        ("/detokenize", {"tokens": [1, 2]}, DetokenizeReply),
        ("/tokenizer_info", None, TokenizerReply),
        ("/openai/v1/models", None, ModelListReply),
        ("/v1beta/models", None, GeminiModelListReply),
        (f"/v1beta/models/{MODEL}:countTokens", {"contents": CONTENTS}, CountTokensReply),
        (
            f"/v1beta/models/{MODEL}:generateContent",
            {"contents": CONTENTS, "generationConfig": {"responseLogprobs": True}},
            GenerateContentReply,
        ),
        (
            f"/v1beta/models/{MODEL}:generateContent",
            {"contents": CONTENTS, "uncertaintyRouting": ROUTED["uncertainty_routing"]},
            GenerateContentReply,
        ),
    ],
)
async def test_replies_are_as_the_document_says(
    path: str, body: dict[str, Any] | None, reply: type[BaseModel]
) -> None:
    said = CALL if body and "tools" in body else SAID
    text = tiny_text(HERMES_TEMPLATE)
    async with running(lambda group, path: said, text=text) as server, httpx.AsyncClient() as http:
        if body is None:
            answered = await http.get(server.url + path)
        else:
            model = {} if "/models/" in path else {"model": MODEL}
            answered = await http.post(server.url + path, json={**model, **body})
    assert answered.status_code == 200, answered.text
    reply.model_validate(answered.json(), extra=None if reply in OPEN else "forbid")


OPEN = (ResponseReply,)
"""It repeats most of what was asked."""
