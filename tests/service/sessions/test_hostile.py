"""Whatever a client sends is read, or refused in one line; nothing else comes of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.gemini.live.schemas import ClientMessage
from service.api.openai.realtime.schemas import EVENTS, REFUSED
from service.api.openai.realtime.talk import _event_of, _read
from service.api.parsing import parse_json
from service.errors import ApiError
from service.guard.keys import digest_of
from tests.service.guard.clock import Hands
from tests.service.sessions.support import live, realtime, running

LIVE_WORDS = [
    "setup", "model", "generationConfig", "generation_config", "responseModalities", "turns",
    "clientContent", "client_content", "turnComplete", "realtimeInput", "audio", "text", "parts",
    "role", "user", "toolResponse", "functionResponses", "id", "response", "sessionResumption",
    "handle", "mediaChunks", "mimeType", "contextUpdate", "tools", "functionDeclarations",
]  # fmt: skip
REALTIME_WORDS = [
    *EVENTS, *REFUSED, "type", "event_id", "item", "item_id", "content", "role", "user", "message",
    "input_text", "text", "session", "tools", "tool_choice", "response", "input", "call_id",
    "function_call", "arguments", "output", "max_output_tokens", "inf", "output_modalities",
]  # fmt: skip


def objects(words: list[str]) -> st.SearchStrategy:
    word = st.sampled_from(words) | st.text(max_size=4)
    leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | word
    return st.dictionaries(
        word,
        st.recursive(
            leaf,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(word, inner, max_size=4),
            max_leaves=12,
        ),
        max_size=4,
    )


def read_or_refused(read) -> bool:
    """Refused in one line that says that the caller is at fault."""
    try:
        read()
    except ApiError as error:
        return error.kind == "invalid" and "\n" not in error.message and len(error.message) < 600
    return True


@given(objects(LIVE_WORDS))
def test_a_live_message_is_read_or_refused(message) -> None:
    assert read_or_refused(lambda: parse_json(json.dumps(message), ClientMessage))


@given(objects(REALTIME_WORDS), st.sampled_from(sorted(EVENTS)))
def test_a_realtime_event_is_read_or_refused(event, kind: str) -> None:
    assert read_or_refused(lambda: _event_of(event))
    assert read_or_refused(lambda: _event_of({**event, "type": kind}))


@given(st.binary(max_size=40) | st.just(b"[" * 100_000) | st.just(b'{"a":' * 100_000))
def test_bytes_that_are_no_json_are_refused(raw: bytes) -> None:
    assert read_or_refused(lambda: _read(raw))
    assert read_or_refused(lambda: parse_json(raw, ClientMessage))


@pytest.fixture
def limited(tmp_path):
    """A file with one key that may ask twice a minute."""
    key = "right-right-right-right"
    line = {"name": "alice", "sha256": digest_of(key.encode()).hex(), "requests_per_minute": 2}
    path = tmp_path / "keys.jsonl"
    path.write_text(json.dumps(line))
    return {"api_keys_file": path, "clock": Hands()}, {"x-goog-api-key": key}


async def test_a_key_without_requests_left_ends_a_live_session(limited) -> None:
    settings, headers = limited
    async with (
        running(lambda g, p: "hello", **settings) as server,
        live(server, additional_headers=headers) as client,
    ):
        await client.set_up()
        await client.ask("one")
        await client.ask("two")
        await client.say("three")
        heard, code, reason = await client.end()
    assert (heard, code) == ([], 1013)
    assert "this key's 2 requests a minute are used up" in reason


async def test_a_key_without_requests_left_fails_a_realtime_response(limited) -> None:
    settings, headers = limited
    async with (
        running(lambda g, p: "hello", **settings) as server,
        realtime(server, additional_headers=headers) as client,
    ):
        await client.ask("one")
        await client.ask("two")
        failed = (await client.ask("three"))[-1]["response"]
        assert failed["status_details"]["error"]["code"] == "rate_limit_exceeded"
        settings["clock"].now += 60
        assert (await client.ask("four"))[-1]["response"]["status"] == "completed"
