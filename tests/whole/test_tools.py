"""A required call from the default model, which has never seen one: it is a call all the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from model.contract import (
    Group,
    GroupFailed,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
)
from model.engine.config import EngineConfig
from model.text.language import ChatMessage, TextModel
from service.api.tools.enforcing import held
from service.api.tools.offer import Function, make_offer
from service.api.tools.reading import read_message, reader_of
from tests.model.host import Host
from tests.service.support import HERMES_TEMPLATE

pytestmark = [pytest.mark.checkpoint, pytest.mark.timeout(600)]

CONFIG = EngineConfig(max_rows=8, context=768, prefill_chunk=64, kv_bytes=2**27)
DAY: dict[str, Any] = {"enum": ["today", "tomorrow"]}
WEATHER = Function(
    "weather",
    "How the weather is",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "day": {"$ref": "#/$defs/Day"}},
        "required": ["city", "day"],
        "additionalProperties": False,
        "$defs": {"Day": DAY},
    },
)


@pytest.fixture(scope="module")
def host(default_checkpoint: Path) -> Iterator[Host]:
    host = Host(default_checkpoint, CONFIG)
    host.worker.start()
    yield host
    assert host.worker.status().compilations_after_warmup == 0
    host.worker.stop()


@pytest.fixture(scope="module")
def text(host: Host) -> TextModel:
    """Its words, in a template that shows tools."""
    names = {role: f"<|im_start|>{role}\n" for role in ("system", "user", "assistant", "tool")}
    template = HERMES_TEMPLATE.replace("<|{{ message.role }}|>", "<|im_start|>{{ message.role }}\n")
    for role, start in names.items():
        template = template.replace(f"<|{role}|>", start)
    template = template.replace("<|end|>", "<|im_end|>\n")
    return TextModel(msgspec.structs.replace(host.worker.text.assets, chat_template=template))


def test_a_required_call_fits_its_function(host: Host, text: TextModel) -> None:
    offer = make_offer([WEATHER], must_call=True, most=1)
    constraint = held(offer, text, None)
    prompt = text.encode_chat(
        [ChatMessage("user", "Will it rain in Oslo tomorrow?")], tools=[WEATHER.shown()]
    )
    paths = tuple(
        PathRequest(
            index=index,
            sampling=SamplingParams(max_tokens=96, seed=index, constraint=constraint),
        )
        for index in range(6)
    )
    host.worker.send(Submit(group=Group(id="g", prompt=Prompt.of_tokens(prompt), paths=paths)))
    texts, ends = [""] * len(paths), {}
    for event in host.until_end("g"):
        assert not isinstance(event, GroupFailed), event
        if isinstance(event, PathOutput):
            texts[event.path] += event.text
            if event.finish is not None:
                ends[event.path] = event.finish.reason
    assert set(ends.values()) == {"stop"}
    for written in texts:
        message = read_message(written, reader_of(offer, text))
        assert message.text == ""
        (call,) = message.calls
        arguments = json.loads(call.arguments)
        assert list(arguments) == ["city", "day"]
        assert len(arguments["city"]) <= 12
        assert arguments["day"] in DAY["enum"]
