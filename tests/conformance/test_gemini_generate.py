"""generateContent, countTokens and models through the unmodified google-genai client."""

import gc
from typing import Any

import httpx
import pytest
from google.genai import types

from tests.conformance.server import CONTEXT, MODEL, sse_payloads
from tests.conformance.test_openai_chat import ABSTAINING

ROUTING = {"k": 3, "answer": "number", "constrain": True, "seed": 1}
QUESTION = "What is 3 + 4?"


def said(text: str) -> dict[str, Any]:
    """For `config`: the answer is this."""
    return {"response_mime_type": "text/x.enum", "response_schema": {"enum": [text]}}


def header(reply: types.GenerateContentResponse, name: str) -> str:
    """aiohttp spells some names in its own case, and the client keeps a plain dictionary."""
    return httpx.Headers(reply.sdk_http_response.headers)[name]


def test_an_answer_has_every_field_that_the_client_types(gemini) -> None:
    reply = gemini.models.generate_content(
        model=MODEL, contents="Hello!", config=said("Good day to you.")
    )
    assert reply.text == "Good day to you."
    assert reply.model_version == MODEL
    assert reply.response_id
    assert reply.prompt_feedback is None
    (candidate,) = reply.candidates
    assert candidate.index == 0
    assert candidate.content.role == "model"
    assert candidate.finish_reason is types.FinishReason.STOP
    assert candidate.token_count > 0
    usage = reply.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert usage.candidates_token_count == candidate.token_count
    (detail,) = usage.prompt_tokens_details
    assert detail.modality is types.MediaModality.TEXT
    assert detail.token_count == usage.prompt_token_count
    assert header(reply, "x-request-id")


@pytest.mark.parametrize("version", [None, "v1", "v1beta", "v1alpha"])
@pytest.mark.parametrize("base", ["", "/", "/gemini", "/gemini/"])
def test_any_version_under_any_spelling_of_the_base_url(
    server, gemini_clients, base, version
) -> None:
    gemini = gemini_clients(base_url=server.url + base, api_version=version)
    reply = gemini.models.generate_content(model=MODEL, contents="Hi!", config=said("here"))
    assert reply.text == "here"
    names = [model.name for model in gemini.models.list()]
    assert names == [f"models/{MODEL}", f"models/{MODEL}:routed"]
    assert gemini.models.get(model=MODEL).name == f"models/{MODEL}"


@pytest.mark.parametrize("version", ["beta", "v1alpha", "v1"])
def test_version_and_address_from_the_environment(
    server, gemini_clients, monkeypatch, version
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", version)
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
    gemini = gemini_clients(base_url=None)
    reply = gemini.models.generate_content(model=MODEL, contents="Hi!", config=said("here"))
    assert reply.text == "here"


@pytest.mark.parametrize("name", [MODEL, f"models/{MODEL}"])
def test_a_model_may_be_named_with_its_collection(gemini, name) -> None:
    assert gemini.models.get(model=name).display_name
    assert gemini.models.generate_content(model=name, contents="Hi!", config=said("a")).text == "a"


@pytest.mark.parametrize("size", [1, 2, 100])
def test_pages_of_models_come_to_an_end(gemini, size) -> None:
    models = list(gemini.models.list(config={"page_size": size}))
    assert [model.name for model in models] == [f"models/{MODEL}", f"models/{MODEL}:routed"]


def test_a_model_is_described(gemini) -> None:
    model = gemini.models.get(model=MODEL)
    assert model.version
    assert (model.input_token_limit, model.output_token_limit) == (CONTEXT, CONTEXT)
    assert {"generateContent", "countTokens"} <= set(model.supported_actions)


def test_a_system_instruction_arrives_though_the_client_calls_it_the_users(gemini) -> None:
    def tokens(**config: Any) -> int:
        reply = gemini.models.generate_content(
            model=MODEL, contents="Hi!", config={"max_output_tokens": 1, **config}
        )
        return reply.usage_metadata.prompt_token_count

    assert tokens(system_instruction="Be kind.") > tokens()


def test_every_sampling_parameter_is_taken(gemini) -> None:
    reply = gemini.models.generate_content(
        model=MODEL,
        contents=[
            types.Content(role="user", parts=[types.Part(text="a"), types.Part(text="b")]),
            types.Content(role="model", parts=[types.Part(text="c")]),
            types.UserContent("d"),
        ],
        config=types.GenerateContentConfig(
            temperature=0.5,
            top_p=0.9,
            top_k=40,  # the client sends 40.0
            candidate_count=2,
            max_output_tokens=6,
            stop_sequences=["zzz"],
            seed=-3,
            presence_penalty=0.1,
            frequency_penalty=0.1,
            response_modalities=["TEXT"],
            thinking_config=types.ThinkingConfig(thinking_budget=0, include_thoughts=False),
            safety_settings=[
                types.SafetySetting(
                    category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_ONLY_HIGH"
                )
            ],
            labels=None,
        ),
    )
    assert [candidate.index for candidate in reply.candidates] == [0, 1]
    counts = [candidate.token_count for candidate in reply.candidates]
    assert sum(counts) == reply.usage_metadata.candidates_token_count


def test_a_limit_cuts_the_answer(gemini) -> None:
    reply = gemini.models.generate_content(
        model=MODEL, contents="Hi!", config={"max_output_tokens": 2, "seed": 4}
    )
    assert reply.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    assert reply.usage_metadata.candidates_token_count == 2


def test_logprobs_are_of_the_tokens_that_were_chosen(gemini) -> None:
    reply = gemini.models.generate_content(
        model=MODEL,
        contents="Hi!",
        config={"response_logprobs": True, "logprobs": 3, "max_output_tokens": 4, "seed": 4},
    )
    (candidate,) = reply.candidates
    result = candidate.logprobs_result
    chosen = [token.log_probability for token in result.chosen_candidates]
    assert len(chosen) == len(result.top_candidates) == candidate.token_count
    assert all(len(place.candidates) == 3 for place in result.top_candidates)
    assert all(token.token_id >= 0 and token.token for token in result.chosen_candidates)
    assert candidate.avg_logprobs == pytest.approx(sum(chosen) / len(chosen))
    assert result.log_probability_sum == pytest.approx(sum(chosen))


def test_the_same_seed_gives_the_same_answer(gemini) -> None:
    ask = {"model": MODEL, "contents": "Hi!", "config": {"seed": 9, "max_output_tokens": 12}}
    assert gemini.models.generate_content(**ask).text == gemini.models.generate_content(**ask).text


def test_tokens_are_counted_as_they_are_read(gemini) -> None:
    counted = gemini.models.count_tokens(model=MODEL, contents="Hello there!")
    reply = gemini.models.generate_content(
        model=MODEL, contents="Hello there!", config={"max_output_tokens": 1}
    )
    assert counted.total_tokens == reply.usage_metadata.prompt_token_count


def test_a_chat_keeps_both_sides(gemini) -> None:
    chat = gemini.chats.create(model=MODEL, config=said("Yes."))
    assert chat.send_message("One?").text == "Yes."
    assert "".join(chunk.text for chunk in chat.send_message_stream("Two?")) == "Yes."
    # The streamed answer is kept as its chunks were.
    roles = [content.role for content in chat.get_history(curated=True)]
    assert roles[:4] == ["user", "model", "user", "model"]
    assert chat.send_message("Three?").text == "Yes."


def test_routing_goes_in_by_the_extra_body_and_comes_out_in_headers(gemini_clients) -> None:
    # The client merges this into its own body, at every depth.
    extra = {"uncertaintyRouting": ROUTING, "generationConfig": {"seed": 3}}
    gemini = gemini_clients(extra_body=extra)
    reply = gemini.models.generate_content(
        model=MODEL, contents=QUESTION, config={"max_output_tokens": 16}
    )
    headers = reply.sdk_http_response.headers
    assert headers["x-pollux-k"] == "3"
    assert headers["x-pollux-route"] in ("majority", "greedy", "either")
    assert reply.usage_metadata.thoughts_token_count > 0


def test_routing_goes_in_by_a_header_or_by_the_models_name(gemini_clients) -> None:
    ask = {"contents": QUESTION, "config": {"max_output_tokens": 16}}
    by_header = gemini_clients(headers={"x-pollux-routing": '{"k": 2, "answer": "number"}'})
    reply = by_header.models.generate_content(model=MODEL, **ask)
    assert reply.sdk_http_response.headers["x-pollux-k"] == "2"
    by_name = gemini_clients().models.generate_content(model=f"{MODEL}:routed", **ask)
    assert by_name.sdk_http_response.headers["x-pollux-k"] == "16"


def test_an_abstention_says_so_in_the_reason_of_its_finish(gemini_clients) -> None:
    gemini = gemini_clients(extra_body={"uncertaintyRouting": ABSTAINING})
    reply = gemini.models.generate_content(
        model=MODEL, contents=QUESTION, config={"max_output_tokens": 16}
    )
    assert reply.sdk_http_response.headers["x-pollux-route"] == "abstain"
    assert reply.candidates[0].finish_reason is types.FinishReason.OTHER


def test_part_metadata_is_what_the_client_keeps_of_the_outcome(gemini_clients) -> None:
    gemini = gemini_clients(extra_body={"uncertaintyRouting": {**ROUTING, "partMetadata": True}})
    ask = {"model": MODEL, "contents": QUESTION, "config": {"max_output_tokens": 16}}
    whole = gemini.models.generate_content(**ask)
    (part,) = whole.candidates[0].content.parts
    outcome = part.part_metadata["uncertaintyRouting"]
    assert outcome["route"] == whole.sdk_http_response.headers["x-pollux-route"]
    steps = [
        part.part_metadata["uncertaintyRouting"]
        for chunk in gemini.models.generate_content_stream(**ask)
        for part in chunk.candidates[0].content.parts
    ]
    assert {"direct", "vote", "decision"} <= {step.get("event") for step in steps}
    assert (steps[-1]["route"], steps[-1]["votes"]) == (outcome["route"], outcome["votes"])


def test_the_raw_body_is_there_for_those_who_want_unknown_fields(gemini_clients) -> None:
    gemini = gemini_clients(extra_body={"uncertaintyRouting": ROUTING})
    reply = gemini.models.generate_content(
        model=MODEL,
        contents=QUESTION,
        config={"max_output_tokens": 16, "should_return_http_response": True},
    )
    assert '"uncertaintyRouting"' in reply.sdk_http_response.body


def test_chunks_spell_the_plain_answer_candidate_by_candidate(gemini) -> None:
    ask = {
        "model": MODEL,
        "contents": "Hi!",
        "config": {"candidate_count": 2, "seed": 6, "max_output_tokens": 24},
    }
    plain = gemini.models.generate_content(**ask)
    texts, ends = ["", ""], [None, None]
    for chunk in gemini.models.generate_content_stream(**ask):
        assert chunk.model_version == MODEL
        assert header(chunk, "x-request-id")
        for candidate in chunk.candidates:
            place = candidate.index or 0
            texts[place] += "".join(part.text or "" for part in candidate.content.parts or ())
            ends[place] = candidate.finish_reason
    assert texts == ["".join(p.text for p in c.content.parts) for c in plain.candidates]
    assert ends == [candidate.finish_reason for candidate in plain.candidates]
    assert chunk.usage_metadata.total_token_count == plain.usage_metadata.total_token_count


@pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")
def test_leaving_a_stream_frees_what_it_held(server, gemini_clients) -> None:
    """Without asyncio the stream's end is enough. The asynchronous client keeps the connection of a
    stream that is left until it is closed itself."""
    aborted = server.metric("vllm:request_success_total", finished_reason="abort")
    config = {"max_output_tokens": 3500, "candidate_count": 32}
    with gemini_clients() as gemini:
        stream = gemini.models.generate_content_stream(model=MODEL, contents="Hi!", config=config)
        chunks = iter(stream)
        next(chunks)
        chunks.close()
    del stream, chunks
    gc.collect()  # what aiohttp says of it is said here, and not in another test
    server.wait_idle()
    assert server.metric("vllm:request_success_total", finished_reason="abort") == aborted + 1


@pytest.fixture
def http(server):
    headers = {"x-goog-api-key": server.key}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        yield client


def test_a_stream_is_data_lines_and_nothing_else(http) -> None:
    """The client's reader knows no comments, no events, no `[DONE]` and no line without a space."""
    body = {"contents": [{"parts": [{"text": "Hi!"}]}], "generationConfig": {"maxOutputTokens": 8}}
    for more in ({}, {"uncertaintyRouting": ROUTING}):
        reply = http.post(
            f"/v1/models/{MODEL}:streamGenerateContent", params={"alt": "sse"}, json=body | more
        )
        assert reply.status_code == 200
        assert all("candidates" in payload for payload in sse_payloads(reply.text))


@pytest.mark.parametrize(
    "body",
    [
        {"generationConfig": {}},
        {"generation_config": {}},
        {"generationConfig": {"maxOutputTokens": 2, "top_k": 40.0}},
        {"generation_config": {"max_output_tokens": 2, "topK": 40.0}},
        {"generationConfig": {"thinkingConfig": {"include_thoughts": False}}},
        {"system_instruction": {"role": "user", "parts": [{"text": "Be kind."}]}},
        {"systemInstruction": {"parts": [{"text": "Be kind.", "thought_signature": "__4="}]}},
        {"contents": [{"role": "user", "parts": [{"text": "a", "thoughtSignature": "_-8"}]}]},
        {"tools": [], "toolConfig": {}, "safetySettings": [], "labels": {}, "cachedContent": ""},
        {
            "tools": [
                {"functionDeclarations": [{"name": "f", "parameters_json_schema": {}}]},
            ],
            "tool_config": {"functionCallingConfig": {"mode": "NONE"}},
        },
    ],
)
def test_both_cases_are_read_at_every_level(http, body) -> None:
    hello = {"contents": [{"parts": [{"text": "Hi!"}]}]}
    reply = http.post(f"/v1beta/models/{MODEL}:generateContent", json=hello | body)
    assert reply.status_code == 200, reply.text


def test_one_origin_serves_two_lists_of_models(server) -> None:
    url = f"{server.url}/v1/models"
    google = httpx.get(url, headers={"x-goog-api-key": server.key}).json()
    openai = httpx.get(url, headers={"authorization": f"Bearer {server.key}"}).json()
    by_query = httpx.get(url, params={"key": server.key}).json()
    assert google["models"][0]["name"] == f"models/{MODEL}"
    assert by_query == google
    assert openai["data"][0]["id"] == MODEL
