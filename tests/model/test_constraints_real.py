"""The default model under constraints: what comes out always fits."""

import json
import re
from collections.abc import Iterator

import pytest

from model.contract import (
    Constraint,
    Group,
    GroupFailed,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
)
from model.engine.config import EngineConfig
from model.text.language import ChatMessage
from tests.model.host import Host

pytestmark = [pytest.mark.checkpoint, pytest.mark.timeout(600)]

CONFIG = EngineConfig(max_rows=16, context=768, prefill_chunk=64, kv_bytes=2**28)
QUESTION = "Tom has 3 apples and buys 4 more. How many apples does he have? Think step by step."
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "likes": {"type": "array", "items": {"enum": ["tea", "coffee"]}, "maxItems": 3},
    },
    "required": ["name", "age", "likes"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def host(default_checkpoint) -> Iterator[Host]:
    host = Host(default_checkpoint, CONFIG)
    host.worker.start()
    yield host
    assert host.worker.status().compilations_after_warmup == 0
    host.worker.stop()


def ask(host: Host, question: str, paths: int = 12, **sampling):
    """Text and finish of every path."""
    prompt = host.worker.text.encode_chat([ChatMessage("user", question)])
    requests = tuple(
        PathRequest(index=i, sampling=SamplingParams(seed=i, **sampling)) for i in range(paths)
    )
    asked = Group(id="g", prompt=Prompt.of_tokens(prompt), paths=requests)
    host.worker.send(Submit(group=asked))
    texts, ends = [""] * paths, {}
    for event in host.until_end("g"):
        assert not isinstance(event, GroupFailed), event.message
        if isinstance(event, PathOutput):
            texts[event.path] += event.text
            if event.finish is not None:
                ends[event.path] = event.finish.reason
    return [(text, ends[index]) for index, text in enumerate(texts)]


@pytest.mark.parametrize("temperature", [0.0, 0.8, 1.5])
@pytest.mark.parametrize(
    "regex",
    [
        r"(Monday|Tuesday|Sunday)",
        r"-?[0-9]{1,6}(\.[0-9]{1,2})?",
        r"[A-Z][a-z]{2,9}( [a-z]{1,9}){2,5}\.",
        r"[à-ü]{3,6}",
    ],
)
def test_texts_match_their_regex(host, regex, temperature):
    for text, end in ask(
        host, QUESTION, max_tokens=96, temperature=temperature, constraint=Constraint(regex=regex)
    ):
        assert end == "stop"
        assert re.fullmatch(regex, text)


def test_json_parses_and_is_what_the_schema_says(host):
    constraint = Constraint(json_schema=json.dumps(PERSON))
    answers = ask(
        host, "Describe a person as JSON.", max_tokens=200, temperature=1.2, constraint=constraint
    )
    for text, end in answers:
        assert end == "stop"
        person = json.loads(text)
        assert person.keys() == PERSON["properties"].keys()
        assert 1 <= len(person["name"]) <= 20
        assert isinstance(person["age"], int)
        assert 0 <= person["age"] <= 150
        assert len(person["likes"]) <= 3
        assert set(person["likes"]) <= {"tea", "coffee"}
    assert len(set(answers)) > 6


@pytest.mark.parametrize("max_tokens", [24, 64, 300])
def test_every_path_ends_with_an_answer_however_much_room_it_has(host, max_tokens):
    closing = tuple(host.worker.text.tokenizer.encode("\nAnswer:", first=False))
    constraint = Constraint(
        regex=r" -?[0-9]{1,6}", after="Answer:", closing=closing, reserve=len(closing) + 8
    )
    for text, end in ask(
        host, QUESTION, paths=16, max_tokens=max_tokens, temperature=1.0, constraint=constraint
    ):
        assert end == "stop"
        assert re.search(r"Answer: -?[0-9]{1,6}\Z", text)
        assert text.count("Answer:") == 1


def test_the_free_part_is_the_one_of_a_free_path(host):
    closing = tuple(host.worker.text.tokenizer.encode("\nAnswer:", first=False))
    constraint = Constraint(regex=" [0-9]{1,3}", after="Answer:", closing=closing)
    free = ask(host, QUESTION, max_tokens=200, temperature=0.8)
    guided = ask(host, QUESTION, max_tokens=200, temperature=0.8, constraint=constraint)
    same = 0
    for (text, end), (longer, _) in zip(free, guided, strict=True):
        if end == "stop" and "Answer:" not in text:
            assert longer.startswith(text)
            same += 1
    assert same > 3
