"""Embeddings through the unmodified google-genai client."""

import pytest
from google.genai import errors

from tests.conformance.server import MODEL


def test_each_content_has_a_vector(gemini) -> None:
    reply = gemini.models.embed_content(model=MODEL, contents=["a", "b", "a"])
    first, second, third = (each.values for each in reply.embeddings)
    assert first == third
    assert first != second
    assert len(first) == len(second)


def test_one_text_has_the_vector_that_it_has_among_others(gemini) -> None:
    alone = gemini.models.embed_content(model=MODEL, contents="a").embeddings[0].values
    among = gemini.models.embed_content(model=MODEL, contents=["b", "a"]).embeddings[1].values
    assert alone == among


def test_an_unknown_model_is_not_found(gemini) -> None:
    with pytest.raises(errors.ClientError) as caught:
        gemini.models.embed_content(model="org/other", contents="a")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
