"""Embeddings through the unmodified openai client."""

import math

import openai
import pytest

from tests.conformance.server import MODEL


def test_texts_have_vectors_of_length_one_by_their_index(ai) -> None:
    # The client asks for base64 and decodes it, unless it is told otherwise.
    reply = ai.embeddings.create(model=MODEL, input=["a", "b", "a"])
    assert (reply.object, reply.model) == ("list", MODEL)
    assert [each.index for each in reply.data] == [0, 1, 2]
    first, second, third = (each.embedding for each in reply.data)
    assert math.isclose(sum(value * value for value in first), 1, rel_tol=1e-4)
    assert first == third
    assert first != second
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0


def test_either_encoding_is_the_same_vector(ai) -> None:
    by_default = ai.embeddings.create(model=MODEL, input="a").data[0].embedding
    as_floats = ai.embeddings.create(model=MODEL, input="a", encoding_format="float")
    assert as_floats.data[0].embedding == pytest.approx(by_default, rel=1e-5, abs=1e-7)


def test_what_is_wrong_is_named(ai) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ai.embeddings.create(model=MODEL, input=[])
    assert caught.value.param == "input"
    with pytest.raises(openai.NotFoundError) as unknown:
        ai.embeddings.create(model="other", input="a")
    assert unknown.value.code == "model_not_found"
