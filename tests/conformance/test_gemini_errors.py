"""The error of each kind, as the unmodified google-genai client raises it, and what it tries
again."""

import contextlib
import json

import pytest
from google.genai import errors, types

from tests.conformance.server import CONTEXT, MODEL, key_of


def ask(gemini, model: str = MODEL, contents: str = "Hi!", **config):
    config = {"max_output_tokens": 4, **config}
    return gemini.models.generate_content(model=model, contents=contents, config=config)


def detail(error: errors.APIError, kind: str) -> dict:
    """The google.rpc message of this kind."""
    (found,) = [
        each
        for each in error.details["error"]["details"]
        if each["@type"] == f"type.googleapis.com/google.rpc.{kind}"
    ]
    return found


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"temperature": 3}, "generationConfig.temperature"),
        ({"candidate_count": 1000}, "generationConfig.candidateCount"),
        ({"max_output_tokens": CONTEXT}, "contents"),
        ({"contents": "word " * CONTEXT}, "contents"),
        ({"response_mime_type": "text/html"}, "generationConfig.responseMimeType"),
        (
            {"tools": [types.Tool(google_search=types.GoogleSearch())]},
            "tools[0].googleSearch",
        ),
    ],
)
def test_a_wrong_request_names_its_field(gemini, given, field) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini, **given)
    error = caught.value
    assert (error.code, error.status) == (400, "INVALID_ARGUMENT")
    (violation,) = detail(error, "BadRequest")["fieldViolations"]
    assert violation["field"] == field
    assert error.message == error.details["error"]["message"]
    assert "\n" not in error.message


def test_an_unknown_field_from_the_extra_body_is_named(gemini_clients) -> None:
    with pytest.raises(errors.ClientError, match=r"generationConfig\.colour"):
        ask(gemini_clients(extra_body={"generationConfig": {"colour": 1}}))


def test_without_a_right_key_it_is_unauthenticated(gemini_clients) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini_clients(api_key="wrong"))
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")


def test_what_a_key_may_never_do_is_permission_denied(gemini_clients) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini_clients(api_key=key_of("narrow")), candidate_count=2)
    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("name", ["other", "models/other", "models/org/other"])
def test_an_unknown_model_is_not_found_also_with_a_slash_in_its_name(gemini, name) -> None:
    for call in (lambda: ask(gemini, model=name), lambda: gemini.models.get(model=name)):
        with pytest.raises(errors.ClientError) as caught:
            call()
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
        assert name.removeprefix("models/") in caught.value.message


@pytest.mark.parametrize(
    "call",
    [
        lambda ai: list(ai.batches.list()),
        lambda ai: ai.operations.get(types.GenerateVideosOperation(name="operations/1")),
    ],
)
def test_calls_that_are_not_served_are_not_found_and_never_hang(gemini, call) -> None:
    with pytest.raises(errors.ClientError) as caught:
        call(gemini)
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


# What aiohttp says of bodies as large as this one.
@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
def test_a_body_beyond_the_limit_is_told_and_not_a_broken_connection(gemini) -> None:
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini, contents="x" * 5_000_000)
    assert (caught.value.code, caught.value.status) == (413, "INVALID_ARGUMENT")


def test_a_deadline_in_a_header_ends_the_answer(gemini_clients, server) -> None:
    gemini = gemini_clients(headers={"X-Server-Timeout": "0.2"})
    with pytest.raises(errors.ServerError) as caught:
        ask(gemini, max_output_tokens=3500, candidate_count=8)
    assert (caught.value.code, caught.value.status) == (504, "DEADLINE_EXCEEDED")
    server.wait_idle()


def test_a_deadline_in_the_middle_of_a_stream_is_raised(gemini_clients, server) -> None:
    gemini = gemini_clients(headers={"X-Server-Timeout": "0.4"})
    texts = []
    with pytest.raises(errors.ServerError) as caught:  # noqa: PT012 (chunks come before it)
        for chunk in gemini.models.generate_content_stream(
            model=MODEL,
            contents="Hi!",
            config={"max_output_tokens": 3500, "candidate_count": 8},
        ):
            texts.append(chunk.text)
    assert texts
    assert (caught.value.code, caught.value.status) == (504, "DEADLINE_EXCEEDED")
    server.wait_idle()


def test_the_clients_timeout_is_the_servers_deadline(gemini_clients, server) -> None:
    # It sends the seconds it will wait in a header, and gives up by itself as well.
    gemini = gemini_clients(timeout=1000)
    aborted = server.metric("vllm:request_success_total", finished_reason="abort")
    failed = server.metric("vllm:request_success_total", finished_reason="error")
    with pytest.raises(Exception, match=r"(?i)time|deadline|DEADLINE|^$"):
        ask(gemini, max_output_tokens=3500, candidate_count=32)
    server.wait_idle()
    ended = server.metric("vllm:request_success_total", finished_reason="abort")
    ended += server.metric("vllm:request_success_total", finished_reason="error")
    assert ended == aborted + failed + 1


@pytest.mark.parametrize("attempts", [None, 1, 3])
def test_a_full_quota_is_tried_again_only_when_the_caller_says_so(
    server, gemini_clients, attempts
) -> None:
    options = {"retry_options": {"attempts": attempts, "initial_delay": 0.01, "jitter": 0.01}}
    gemini = gemini_clients(api_key=key_of("indebted"), **(options if attempts else {}))
    with contextlib.suppress(errors.ClientError):
        ask(gemini)  # the first of all is let in, and overdraws
    refused = {"name": "pollux:requests_refused_total", "reason": "rate_limit"}
    before = server.metric(**refused)
    with pytest.raises(errors.ClientError) as caught:
        ask(gemini)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert server.metric(**refused) == before + (attempts or 1)
    assert float(detail(caught.value, "RetryInfo")["retryDelay"].removesuffix("s")) > 60


@pytest.mark.parametrize("attempts", [None, 3])
def test_without_a_worker_it_is_unavailable(without_worker, gemini_clients, attempts) -> None:
    options = {"retry_options": {"attempts": attempts, "initial_delay": 0.01, "jitter": 0.01}}
    gemini = gemini_clients(base_url=without_worker.url, **(options if attempts else {}))
    refused = {"name": "pollux:requests_refused_total", "reason": "unavailable"}
    before = without_worker.metric(**refused)
    with pytest.raises(errors.ServerError) as caught:
        ask(gemini)
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")
    assert json.dumps(caught.value.details)
    assert detail(caught.value, "RetryInfo")["retryDelay"] == "1s"
    assert without_worker.metric(**refused) == before + (attempts or 1)
