"""A gateway on a real port, over a scripted worker and a tiny tokenizer that the test builds."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

import uvicorn
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from model.contract import ModelCard, Worker, WorkerStatus
from model.text.assets import TextAssets
from model.text.detokenizer import Detokenizer
from model.text.language import TextModel
from service.app import create_app
from service.commands.serve import bind
from service.gateway import Gateway
from service.guard.limits import Clock
from service.server import server_config
from service.settings import Settings
from service.workers.base import Backend
from tests.scripted import Chunk, PathScript, Script, ScriptedWorker
from tests.scripts import WIDTH

MODEL = "tiny"
CONTEXT = 2048
VOCABULARY = 2048

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
HERMES_TEMPLATE = (
    "{% if tools %}<|system|>Call as <tool_call>{...}</tool_call>:"
    "{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% for call in message.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Shows tools, and calls of earlier turns, as Hermes and Qwen 2.5 do."""

LLAMA_TEMPLATE = HERMES_TEMPLATE.replace("<tool_call>{...}</tool_call>", '"parameters": dict')
LLAMA_TEMPLATE = LLAMA_TEMPLATE.replace("<tool_call>\n", "").replace("\n</tool_call>", "")

THINK_TEMPLATE = HERMES_TEMPLATE.replace(
    "<|{{ message.role }}|>",
    "<|{{ message.role }}|>{% if message.reasoning_content %}<think>\n"
    "{{ message.reasoning_content }}\n</think>\n\n{% endif %}",
).replace(
    "<|assistant|>{% endif %}",
    "<|assistant|>{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
"""Reasons unless its switch is off, as Qwen 3 does, and shows reasoning of earlier turns."""

OPENED_TEMPLATE = TEMPLATE.replace("<|assistant|>", "<|assistant|><think>\n")
"""Begins the reasoning itself and has no switch, as DeepSeek's R1."""

CONTROL = {"<|system|>": 300, "<|user|>": 301, "<|assistant|>": 302, "<|end|>": 303}
TOOL_CONTROL = {"<|tool|>": 304, "<tool_call>": 305, "</tool_call>": 306}
"""As in vocabularies that list the marks of calls as control tokens."""
THINK_CONTROL = {**TOOL_CONTROL, "<think>": 307, "</think>": 308}
"""And those of reasoning."""


def tiny_text(
    template: str | None = TEMPLATE, control: Mapping[str, int] = MappingProxyType({})
) -> TextModel:
    """One id per byte: 256 pieces, no merges, four control tokens and those that a test adds."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return TextModel(
        TextAssets(
            kind="bpe",
            payload=tokenizer.to_str().encode(),
            vocab_size=VOCABULARY,
            control={**CONTROL, **control},
            eos=(303,),
            chat_template=template,
        )
    )


def card(text: TextModel, name: str = MODEL) -> ModelCard:
    return ModelCard(
        name=name,
        family="llama",
        context=CONTEXT,
        vocab_size=VOCABULARY,
        fingerprint="0123456789abcdef",
        quantization="F32",
        dtype="float32",
        parameters=1000,
        has_chat_template=text.has_chat_template,
        tokenizer=text.assets.digest(),
        width=WIDTH,
    )


@dataclass
class ScriptedBackend:
    """service.workers.base.Backend over a scripted worker."""

    worker: Worker
    text: TextModel | None
    card: ModelCard | None
    fixed_status: WorkerStatus | None = None
    started: int = 0
    stopped: int = 0

    def status(self) -> WorkerStatus:
        return self.fixed_status or self.worker.status()

    async def start(self) -> None:
        self.started += 1

    async def stop(self) -> None:
        self.stopped += 1


class _QuietServer(uvicorn.Server):
    """Leaves the signals to pytest, and ends as soon as it is told to."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:  # noqa: ASYNC110 (uvicorn's own flag)
            await asyncio.sleep(0.002)


@dataclass
class Running:
    """A gateway that listens."""

    url: str
    port: int
    worker: ScriptedWorker
    backend: Backend
    gateway: Gateway
    settings: Settings = field(repr=False)

    @property
    def socket_url(self) -> str:
        return f"ws{self.url.removeprefix('http')}/v1/stream"


def settings_of(**changes: object) -> Settings:
    return Settings(**{"port": 0, "log_level": "warning", **changes})


@asynccontextmanager
async def running(
    script: Script | ScriptedWorker,
    *,
    text: TextModel | None = None,
    status: WorkerStatus | None = None,
    backend: Backend | None = None,
    clock: Clock = time.monotonic,
    **changes: object,
) -> AsyncIterator[Running]:
    """A gateway over the scripted worker, or over a backend that the test brings."""
    worker = script if isinstance(script, ScriptedWorker) else ScriptedWorker(script)
    text = text or tiny_text()
    settings = settings_of(**changes)
    backend = backend or ScriptedBackend(worker, text, card(text), status)
    app = create_app(settings, backend, clock)
    server = _QuietServer(server_config(app, settings))
    # The way `pollux serve` binds: asyncio turns off Nagle only where it sees the protocol.
    with bind(settings) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not task.done(), "the server ended before it listened"
            await asyncio.sleep(0.001)
        port = listener.getsockname()[1]
        url = f"http{'s' if settings.tls_cert else ''}://127.0.0.1:{port}"
        try:
            yield Running(url, port, worker, backend, app.state.gateway, settings)
        finally:
            server.should_exit = True
            await task


def spoken(text: TextModel, words: str) -> PathScript:
    """A path that says this, in the model's own tokens, one at a time."""
    detokenizer = Detokenizer(text.tokenizer)
    tokens = text.encode_marks(words)
    return PathScript(tuple(Chunk((token,), detokenizer.push((token,))) for token in tokens))


def shown(text: TextModel, ids: Sequence[int]) -> str:
    """A prompt for people: control tokens by their names."""
    control = set(text.assets.control.values())
    return "".join(
        text.tokenizer.piece(token) if token in control else text.tokenizer.decode([token])
        for token in ids
    )


async def eventually(condition, steps: int = 2000) -> None:
    """Lets the loop run until the condition holds; an assertion says when it never does."""
    for _ in range(steps):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


def sse_objects(body: str) -> list[object]:
    """The payloads of a stream, `[DONE]` as itself; anything but data lines is an error."""
    events = body.split("\n\n")
    assert events[-1] == "", "a stream ends with a blank line"
    found: list[object] = []
    for event in events[:-1]:
        assert event.startswith("data: "), event
        payload = event.removeprefix("data: ")
        found.append(payload if payload == "[DONE]" else json.loads(payload))
    return found
