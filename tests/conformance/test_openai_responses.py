"""Responses through the unmodified openai client."""

import json
from typing import Any

import openai
import pytest

from tests.conformance.server import MODEL
from tests.conformance.test_openai_chat import Report

EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def said(text: str) -> dict[str, Any]:
    """For `text`: the answer is this, as a JSON string."""
    schema = {"enum": [text]}
    return {"format": {"type": "json_schema", "name": "said", "schema": schema}}


def test_a_response_has_every_field_that_the_client_types(ai) -> None:
    reply = ai.responses.create(
        model=MODEL,
        input="Hello!",
        instructions="Be kind.",
        metadata={"a": "b"},
        text=said("Good day to you."),
    )
    assert reply.id.startswith("resp_")
    assert (reply.object, reply.status, reply.model) == ("response", "completed", MODEL)
    assert json.loads(reply.output_text) == "Good day to you."
    (item,) = reply.output
    assert (item.type, item.role, item.status) == ("message", "assistant", "completed")
    (part,) = item.content
    assert (part.type, part.annotations) == ("output_text", [])
    assert (reply.error, reply.incomplete_details) == (None, None)
    assert (reply.instructions, reply.metadata) == ("Be kind.", {"a": "b"})
    assert (reply.tools, reply.tool_choice) == ([], "auto")
    usage = reply.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens_details.cached_tokens >= 0
    assert usage.output_tokens_details.reasoning_tokens == 0


def test_items_of_input_are_messages(ai) -> None:
    reply = ai.responses.create(
        model=MODEL,
        input=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]},
            {"role": "assistant", "content": [{"type": "output_text", "text": "Yes?"}]},
            {"type": "message", "role": "user", "content": "Again."},
        ],
        text=said("fine"),
    )
    assert json.loads(reply.output_text) == "fine"


def test_a_cut_answer_is_incomplete(ai) -> None:
    reply = ai.responses.create(
        model=MODEL, input="Hello!", max_output_tokens=2, extra_body={"ignore_eos": True}
    )
    assert reply.status == "incomplete"
    assert reply.incomplete_details.reason == "max_output_tokens"


def test_events_come_in_order_and_numbered(ai) -> None:
    events = list(
        ai.responses.create(model=MODEL, input="Hello!", stream=True, text=said("Good day to you."))
    )
    kinds = [event.type for event in events]
    assert list(dict.fromkeys(kinds)) == EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == events[-1].response.output_text == '"Good day to you."'
    assert len({e.item_id for e in events if hasattr(e, "item_id")}) == 1


def test_the_stream_helper_ends_with_the_callers_type(ai) -> None:
    with ai.responses.stream(
        model=MODEL, input="Report.", text_format=Report, max_output_tokens=200
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert set(EVENTS) <= kinds
    assert isinstance(final.output_parsed, Report)


def test_parse_gives_the_callers_own_type(ai) -> None:
    reply = ai.responses.parse(
        model=MODEL, input="Report.", text_format=Report, max_output_tokens=200
    )
    assert isinstance(reply.output_parsed, Report)


def test_logprobs_when_they_are_included(ai) -> None:
    reply = ai.responses.create(
        model=MODEL,
        input="Hello!",
        include=["message.output_text.logprobs"],
        top_logprobs=2,
        max_output_tokens=4,
        extra_body={"ignore_eos": True},
    )
    (part,) = reply.output[0].content
    assert len(part.logprobs) == 4
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs)


def test_a_kept_response_is_gone_on_from_read_listed_and_forgotten(ai) -> None:
    first = ai.responses.create(model=MODEL, input="One.", text=said("first"))
    second = ai.responses.create(
        model=MODEL, input="Two.", previous_response_id=first.id, text=said("second")
    )
    assert second.previous_response_id == first.id
    assert ai.responses.retrieve(second.id).output_text == '"second"'
    items = list(ai.responses.input_items.list(second.id, order="asc", limit=2))
    assert [item.role for item in items] == ["user", "assistant", "user"]
    ai.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        ai.responses.retrieve(second.id)


def test_an_unknown_predecessor_is_told_by_its_code(ai) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ai.responses.create(model=MODEL, input="Hi.", previous_response_id="resp_none")
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


def test_a_routed_response_has_the_outcome_in_field_and_headers(ai) -> None:
    raw = ai.responses.with_raw_response.create(
        model=MODEL,
        input="What is 3 + 4?",
        max_output_tokens=16,
        extra_body={
            "uncertainty_routing": {"k": 2, "answer": "number", "constrain": True, "seed": 1}
        },
    )
    reply = raw.parse()
    assert raw.headers["x-pollux-route"] == reply.uncertainty_routing["route"]
    assert reply.usage.output_tokens_details.reasoning_tokens > 0
