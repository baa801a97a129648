"""A worker that answers at once: one token of every path in each step, nothing computed.

It delivers as the engine's thread does, one batch of events a step. Without a pace a step waits
until every stream has been read, so that each token is an event of its own: nothing is merged,
which is the dearest case for a gateway.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from benchmarks.gateway.tokens import token
from model.contract import (
    Abort,
    Command,
    Event,
    Extend,
    Finish,
    Group,
    GroupClosed,
    GroupStarted,
    ModelCard,
    PathOutput,
    PathRequest,
    Submit,
    Worker,
    WorkerStatus,
)
from model.text.assets import TextAssets
from model.text.language import TextModel
from service.workers.streams import GroupStreams, QueuedStream

MODEL = "scripted"
ANSWER = "Answer: 4"
_CONTEXT = 1_000_000
_END = 258


@dataclass(slots=True)
class _Path:
    index: int
    tag: int
    most: int
    place: int = 0

    def output(self, group: str, answers: bool) -> PathOutput:
        place = self.place
        self.place += 1
        over = self.place >= self.most
        text = ANSWER if over and answers else token(self.tag, self.index, place)
        finish = Finish(reason="stop" if answers else "length") if over else None
        return PathOutput(
            group_id=group, path=self.index, tokens=(place % 256,), text=text, finish=finish
        )


@dataclass(slots=True)
class _Running:
    group: Group
    stream: QueuedStream
    paths: dict[int, _Path]


class ScriptedBackend:
    """service.workers.base.Backend and the worker in one.

    pace: seconds between steps, 0 for as fast as they are read. A group's first tokens never
    wait for it. answers: paths end with an answer, as routed questions want them.
    """

    def __init__(self, pace: float = 0.0, *, answers: bool = False) -> None:
        self.text = _text()
        self.card = _card(self.text)
        self._pace = pace
        self._answers = answers
        self._streams = GroupStreams(self._send)
        self._opened: dict[str, QueuedStream] = {}
        self._running: dict[str, _Running] = {}
        self._stepping = False

    @property
    def worker(self) -> Worker:
        return self

    def status(self) -> WorkerStatus:
        return WorkerStatus(state="ready", groups=len(self._running), max_rows=1024)

    def open(self, group: Group) -> QueuedStream:
        stream = self._streams.open(group)
        self._opened[group.id] = stream
        return stream

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def stop(self) -> None:
        self._streams.fail_all("unavailable", "the server is shutting down")

    def _send(self, command: Command) -> None:
        match command:
            case Submit(group=group):
                running = _Running(group, self._opened.pop(group.id), {})
                self._running[group.id] = running
                self._add(running, group.paths)
                self._begin(running)
            case Extend(group_id=name, paths=paths):
                if (found := self._running.get(name)) is not None:
                    self._add(found, paths)
            case Abort(group_id=name, paths=aborted):
                self._abort(name, aborted)

    def _add(self, running: _Running, paths: tuple[PathRequest, ...]) -> None:
        for path in paths:
            sampling = path.sampling
            most = sampling.max_tokens or 1
            running.paths[path.index] = _Path(path.index, sampling.seed or 0, most)
        if not self._stepping:
            self._stepping = True
            self._next()

    def _abort(self, name: str, paths: tuple[int, ...] | None) -> None:
        running = self._running.get(name)
        if running is None:
            return
        wanted = list(running.paths) if paths is None else paths
        gone = [path for path in wanted if running.paths.pop(path, None) is not None]
        end = Finish(reason="abort")
        events: list[Event] = [PathOutput(group_id=name, path=p, finish=end) for p in gone]
        if paths is None or not (running.paths or running.group.open):
            del self._running[name]
            events.append(GroupClosed(group_id=name))
        self._streams.deliver(events)

    def _begin(self, running: _Running) -> None:
        group = running.group
        started = GroupStarted(group_id=group.id, prompt_tokens=len(group.prompt))
        self._streams.deliver([started, *self._outputs(running)])

    def _next(self) -> None:
        if self._pace:
            self._loop.call_later(self._pace, self._step)
        else:
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        events: list[Event] = []
        for running in list(self._running.values()):
            if self._pace or not running.stream.buffered:
                events.extend(self._outputs(running))
        self._streams.deliver(events)
        self._stepping = bool(self._running)
        if self._stepping:
            self._next()

    def _outputs(self, running: _Running) -> Iterator[Event]:
        group = running.group
        for path in list(running.paths.values()):
            yield path.output(group.id, self._answers)
            if path.place >= path.most:
                del running.paths[path.index]
        if not running.paths and not group.open:
            del self._running[group.id]
            yield GroupClosed(group_id=group.id)


def _text() -> TextModel:
    """One id per byte, and the marks of a plain template."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    template = (
        "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    control = {"<|system|>": 256, "<|user|>": 257, "<|end|>": _END, "<|assistant|>": 259}
    return TextModel(
        TextAssets(
            kind="bpe",
            payload=tokenizer.to_str().encode(),
            vocab_size=512,
            control=control,
            eos=(_END,),
            chat_template=template,
        )
    )


def _card(text: TextModel) -> ModelCard:
    return ModelCard(
        name=MODEL,
        family="scripted",
        context=_CONTEXT,
        vocab_size=512,
        fingerprint="0123456789abcdef",
        quantization="none",
        dtype="float32",
        parameters=1,
        has_chat_template=True,
        tokenizer=text.assets.digest(),
    )
