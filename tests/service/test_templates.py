"""Chunks from a template are those that encoding them whole gives."""

from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.openai.rendering import DeltaChunks, Reply, Usage, chat_chunk, delta_choice, sse
from service.api.templates import Template, slot

NAMES = st.text(st.characters(exclude_categories=["Cs"]))


@given(before=NAMES, first=NAMES, second=st.integers(0, 2**53), after=NAMES)
def test_a_filled_template_is_the_payload_encoded(before, first, second, after) -> None:
    def payload(one: object, two: object) -> object:
        return {"before": before, "one": [one], "two": two, "after": after}

    template = Template(payload(slot(0), slot(1)), 2, b"data: ", b"\n\n")
    assert template.fill(first, second) == b"data: %b\n\n" % msgspec.json.encode(
        payload(first, second)
    )


def test_slots_out_of_order_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="slot 1"):
        Template([slot(1), slot(0)], 2)


@given(
    model=NAMES,
    text=NAMES,
    index=st.integers(0, 3),
    more=st.sampled_from([{}, {"usage": None}]),
    used=st.sampled_from([None, Usage(1, 2, 3)]),
    delta=st.sampled_from([None, {"role": "assistant", "content": ""}, {"tool_calls": []}]),
    logprobs=st.sampled_from([None, {"content": [], "refusal": None}]),
)
def test_deltas_are_written_as_chunks_are(model, text, index, more, used, delta, logprobs) -> None:
    reply = Reply(id="chatcmpl-1", model=model, fingerprint="fp_1", created=1)
    chunks = DeltaChunks(reply, more, None if used is None else lambda: used)
    more = more if used is None else {"usage": used}
    given_delta = {"content": text} if delta is None else delta
    for _ in range(2):
        assert chunks.delta(index, given_delta, logprobs) == sse(
            chat_chunk(reply, [delta_choice(index, given_delta, None, logprobs)], **more)
        )


def test_a_model_named_like_a_slot_fills_no_slot() -> None:
    template = Template({"model": SimpleNamespace(name='"a"').name, "text": slot(0)}, 1)
    assert msgspec.json.decode(template.fill("x")) == {"model": '"a"', "text": "x"}
