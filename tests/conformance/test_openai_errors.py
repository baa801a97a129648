"""The error of each kind, as the unmodified openai client raises it, and what it tries again."""

import contextlib
import threading

import openai
import pytest

from tests.conformance.server import CONTEXT, MODEL, key_of
from tests.conformance.test_openai_chat import HELLO, words
from tests.conformance.test_openai_streams import ENDLESS

REFUSED = {"name": "pollux:requests_refused_total", "reason": "rate_limit"}


def ask(ai, **changes):
    return ai.chat.completions.create(**{"model": MODEL, "messages": HELLO, **changes})


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"extra_body": {"colour": "red"}}, "colour", "unknown_parameter"),
        ({"temperature": 3}, "temperature", None),
        ({"n": 1000}, "n", None),
        ({"messages": []}, "messages", None),
        ({"max_tokens": CONTEXT}, "messages", "context_length_exceeded"),
        (
            {"messages": [{"role": "user", "content": "word " * CONTEXT}]},
            "messages",
            "context_length_exceeded",
        ),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
    ],
)
def test_a_wrong_request_names_its_parameter(ai, changes, param, code) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(ai, **changes)
    error = caught.value
    assert (error.status_code, error.type) == (400, "invalid_request_error")
    assert (error.param, error.code) == (param, code)
    assert error.request_id == error.response.headers["x-request-id"]
    assert error.body["message"] in error.message


@pytest.mark.parametrize("key", ["wrong", "x" * 600])
def test_without_a_right_key_it_is_an_authentication_error(openai_clients, key) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(openai_clients(api_key=key))
    assert (caught.value.type, caught.value.code) == ("authentication_error", "invalid_api_key")


def test_what_a_key_may_never_do_is_a_permission_error(openai_clients) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        ask(openai_clients(api_key=key_of("narrow")), n=2)
    assert caught.value.code == "too_many_sequences"


def test_an_unknown_model_is_not_found_by_its_code(ai) -> None:
    for call in (lambda: ask(ai, model="gpt-9"), lambda: ai.models.retrieve("org/none")):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    "call",
    [
        lambda ai: ai.images.generate(prompt="a cat"),
        lambda ai: ai.moderations.create(input="x"),
        lambda ai: ai.batches.list(),
        lambda ai: ai.fine_tuning.jobs.list(),
        lambda ai: ai.vector_stores.list(),
        lambda ai: ai.audio.speech.create(model=MODEL, voice="alloy", input="x"),
        lambda ai: ai.conversations.create(),
        lambda ai: ai.responses.cancel("resp_1"),
    ],
)
def test_calls_that_are_not_served_are_not_found_and_never_hang(ai, call) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        call(ai)
    assert caught.value.body["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "call",
    [
        lambda ai: ai.chat.completions.list(),
        lambda ai: ai.responses.input_tokens.count(model=MODEL, input="x"),
    ],
)
def test_calls_beside_those_that_are_served_are_not_allowed(ai, call) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        call(ai)
    assert caught.value.status_code == 405
    assert caught.value.body["type"] == "invalid_request_error"


def test_a_deadline_without_any_answer_is_a_timeout_of_the_server(ai) -> None:
    routing = {"k": 8, "answer": "number", "budget": {"deadline_s": 0.01}}
    with pytest.raises(openai.InternalServerError) as caught:
        ask(ai, max_tokens=3000, extra_body={"uncertainty_routing": routing})
    assert (caught.value.status_code, caught.value.code) == (504, "timeout")


def test_a_body_beyond_the_limit_is_told_and_not_a_broken_connection(ai) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(ai, messages=[{"role": "user", "content": "x" * 5_000_000}])
    assert caught.value.status_code == 413
    assert caught.value.code == "request_too_large"


def test_a_long_wait_is_not_waited_for(server, openai_clients) -> None:
    ai = openai_clients(api_key=key_of("indebted"), max_retries=3)
    with contextlib.suppress(openai.RateLimitError):
        ask(ai, max_tokens=4)  # the first of all is let in, and overdraws
    before = server.metric(**REFUSED)
    with pytest.raises(openai.RateLimitError) as caught:
        ask(ai)
    assert server.metric(**REFUSED) == before + 1
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert int(caught.value.response.headers["retry-after"]) > 60


def test_a_short_wait_is_waited_for_and_then_served(server, openai_clients) -> None:
    ai = openai_clients(api_key=key_of("narrow"), max_retries=4)
    before = server.metric(**REFUSED)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key_of("narrow")) as busy:
        stream = ask(busy, stream=True, **ENDLESS)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as caught:
            ask(ai.with_options(max_retries=0))
        assert caught.value.response.headers["x-should-retry"] == "true"

        def leave_when_another_was_refused() -> None:
            server.wait_for(**REFUSED, value=before + 2)
            stream.close()

        leaving = threading.Thread(target=leave_when_another_was_refused)
        leaving.start()
        served = ask(ai, extra_body=words("served"))
        leaving.join()
    assert served.choices[0].message.content == "served"


def test_without_a_worker_it_is_tried_again_and_then_told(without_worker, openai_clients) -> None:
    refused = {"name": "pollux:requests_refused_total", "reason": "unavailable"}
    before = without_worker.metric(**refused)
    ai = openai_clients(base_url=f"{without_worker.url}/v1", max_retries=1)
    with pytest.raises(openai.InternalServerError) as caught:
        ask(ai)
    assert (caught.value.status_code, caught.value.code) == (503, "service_unavailable")
    assert without_worker.metric(**refused) == before + 2
