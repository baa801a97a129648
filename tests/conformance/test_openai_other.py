"""Completions and models through the unmodified openai client."""

import httpx
import pytest

from tests.conformance.server import CONTEXT, MODEL
from tests.conformance.test_openai_chat import words


def test_a_completion_has_every_field_that_the_client_types(ai) -> None:
    reply = ai.completions.create(model=MODEL, prompt="Once", extra_body=words(" upon a time"))
    assert reply.id.startswith("cmpl-")
    assert (reply.object, reply.model) == ("text_completion", MODEL)
    assert reply.choices[0].text == " upon a time"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_prompts_are_text_or_tokens_one_or_many(server, ai) -> None:
    ask = {"model": MODEL, "max_tokens": 6, "temperature": 0}
    once = ai.completions.create(**ask, prompt="Once")
    key = {"authorization": f"Bearer {server.key}"}
    tokens = httpx.post(f"{server.url}/tokenize", json={"prompt": "Once"}, headers=key).json()[
        "tokens"
    ]
    assert len(tokens) == once.usage.prompt_tokens
    for prompt in (["Once", "Once"], [tokens, tokens]):
        both = ai.completions.create(**ask, prompt=prompt)
        assert [choice.index for choice in both.choices] == [0, 1]
        assert {choice.text for choice in both.choices} == {once.choices[0].text}
    assert ai.completions.create(**ask, prompt=tokens).choices[0].text == once.choices[0].text


def test_an_echo_scores_the_prompt(ai) -> None:
    reply = ai.completions.create(
        model=MODEL, prompt="Once upon", max_tokens=1, echo=True, logprobs=2, temperature=0
    )
    (choice,) = reply.choices
    assert choice.text.startswith("Once upon")
    logprobs = choice.logprobs
    assert logprobs.token_logprobs[0] is None
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs)
    assert logprobs.text_offset[0] == 0


def test_streamed_completions_are_the_plain_ones(ai) -> None:
    ask = {"model": MODEL, "prompt": ["a", "b"], "n": 2, "max_tokens": 12, "seed": 3}
    plain = ai.completions.create(**ask)
    texts = [""] * 4
    for chunk in ai.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in plain.choices]
    assert chunk.usage == plain.usage


def test_models_are_listed_and_found(ai) -> None:
    page = ai.models.list()
    assert page.object == "list"
    assert [model.id for model in page] == [MODEL, f"{MODEL}:routed"]
    model = ai.models.retrieve(MODEL)
    assert (model.id, model.object) == (MODEL, "model")
    assert model.created > 1_700_000_000
    assert model.owned_by
    assert model.max_model_len == CONTEXT


@pytest.mark.parametrize("status", ["with_raw_response", "with_streaming_response"])
def test_models_in_raw_form(ai, status) -> None:
    if status == "with_raw_response":
        raw = ai.models.with_raw_response.list()
        assert raw.headers["x-request-id"]
        assert raw.http_response.json()["object"] == "list"
    else:
        with ai.models.with_streaming_response.list() as raw:
            assert raw.json()["object"] == "list"
