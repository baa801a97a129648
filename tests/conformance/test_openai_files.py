"""Files through the unmodified openai client."""

import openai
import pytest

from tests.conformance.server import MODEL

TEXT = b"city,people\nParis,2\n"


@pytest.fixture
def file(ai):
    made = ai.files.create(file=("cities.csv", TEXT), purpose="user_data")
    yield made
    ai.files.delete(made.id)


def test_a_file_is_described_listed_and_read_back(ai, file) -> None:
    assert (file.object, file.filename, file.bytes) == ("file", "cities.csv", len(TEXT))
    assert ai.files.retrieve(file.id) == file
    assert file.id in [each.id for each in ai.files.list()]
    content = ai.files.content(file.id)
    assert content.read() == TEXT


def test_a_file_is_part_of_a_message_and_of_a_response(ai, file) -> None:
    ask = {"model": MODEL, "max_tokens": 2}
    plain = [{"type": "text", "text": "What?"}]
    with_file = [{"type": "file", "file": {"file_id": file.id}}, *plain]
    counts = [
        ai.chat.completions.create(
            **ask, messages=[{"role": "user", "content": content}]
        ).usage.prompt_tokens
        for content in (plain, with_file)
    ]
    assert counts[1] > counts[0]
    parts = [{"type": "input_file", "file_id": file.id}, {"type": "input_text", "text": "What?"}]
    reply = ai.responses.create(
        model=MODEL, input=[{"role": "user", "content": parts}], max_output_tokens=2
    )
    assert reply.usage.input_tokens > counts[0]


def test_a_deleted_file_is_not_found(ai) -> None:
    made = ai.files.create(file=("a.txt", b"a"), purpose="user_data")
    assert ai.files.delete(made.id).deleted
    for call in (ai.files.retrieve, ai.files.content, ai.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
