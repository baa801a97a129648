"""An engine without a model: the interface of model.worker.EngineThread on a real thread.

Its tokens are a function of (seed, position) alone, as the real engine's are, so the same request
gives the same tokens wherever it runs and however it got there.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from model.contract import (
    Abort,
    Command,
    Event,
    Extend,
    Finish,
    Group,
    GroupClosed,
    GroupFailed,
    GroupStarted,
    ModelCard,
    PathOutput,
    PathRequest,
    PrefixHeld,
    PromptEmbedded,
    Submit,
    WorkerStatus,
)
from model.text.assets import TextAssets
from model.text.language import TextModel
from tests.scripts import WIDTH, made_up_vector

MODEL = "tiny/test-model"
VOCAB = 256


def token_at(seed: int, position: int) -> int:
    return (seed * 7919 + position * 104729 + (seed ^ position) * 31) % VOCAB


def tokens_of(seed: int, count: int) -> tuple[int, ...]:
    return tuple(token_at(seed, position) for position in range(count))


def text_assets() -> TextAssets:
    """A byte-level tokenizer of 256 tokens and no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return TextAssets(
        kind="bpe",
        payload=tokenizer.to_str().encode(),
        vocab_size=VOCAB + 1,
        control={"<end>": VOCAB},
        eos=(VOCAB,),
    )


def card(assets: TextAssets, *, name: str = MODEL, fingerprint: str = "f" * 64) -> ModelCard:
    return ModelCard(
        name=name,
        family="llama",
        context=2048,
        vocab_size=VOCAB + 1,
        fingerprint=fingerprint,
        quantization="F32",
        dtype="float32",
        parameters=1,
        has_chat_template=False,
        tokenizer=assets.digest(),
        width=WIDTH,
    )


@dataclass
class _Path:
    request: PathRequest
    made: int


@dataclass
class _Running:
    group: Group
    arrived: float
    started: bool = False
    paths: dict[int, _Path] = field(default_factory=dict)


class FakeEngine:
    """pace_s: time of one step. hold: while it is set, nothing decodes. slow_start_s: of loading.
    fails: loading ends in a failure."""

    def __init__(
        self,
        emit: Callable[[Sequence[Event]], None],
        *,
        name: str = MODEL,
        fingerprint: str = "f" * 64,
        max_rows: int = 4,
        pace_s: float = 0.001,
        slow_start_s: float = 0.0,
        fails: bool = False,
    ) -> None:
        assets = text_assets()
        self.text = TextModel(assets)
        self.card = card(assets, name=name, fingerprint=fingerprint)
        self.hold = threading.Event()
        self.seen: list[Command] = []
        self.most_groups = 0
        self._emit = emit
        self._max_rows = max_rows
        self._pace_s = pace_s
        self._slow_start_s = slow_start_s
        self._fails = fails
        self._state = "starting"
        self._inbox: list[Command] = []
        self._changed = threading.Condition()
        self._groups: dict[str, _Running] = {}
        self._made = 0
        self._stop_by: float | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, command: Command) -> None:
        with self._changed:
            self._inbox.append(command)
            self._changed.notify()

    def status(self) -> WorkerStatus:
        running = min(sum(len(g.paths) for g in self._groups.copy().values()), self._max_rows)
        detail = {"starting": "loading weights", "failed": "the weights are damaged"}
        return WorkerStatus(
            state=self._state,
            detail=detail.get(self._state, ""),
            progress=0.5 if self._state == "starting" else None,
            running=running,
            groups=len(self._groups),
            pages_used=running,
            pages_total=100,
            page_size=16,
            max_rows=self._max_rows,
            decode_tokens=self._made,
        )

    def stop(self, drain_s: float = 0) -> None:
        with self._changed:
            self._stop_by = time.monotonic() + drain_s
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def idle(self) -> bool:
        with self._changed:
            return not self._groups and not self._inbox

    def _main(self) -> None:
        time.sleep(self._slow_start_s)
        self._state = "failed" if self._fails else "ready"
        while self._state == "ready":
            with self._changed:
                if not self._inbox and not self._groups and self._stop_by is None:
                    self._changed.wait()
                commands, self._inbox = self._inbox, []
            events = [event for command in commands for event in self._handle(command)]
            ending = self._stop_by is not None and time.monotonic() >= self._stop_by
            if self._stop_by is not None and (ending or not self._groups):
                self._state = "stopped"
            elif not self.hold.is_set():
                events.extend(self._step())
            if events:
                self._emit(events)
            time.sleep(self._pace_s)

    def _handle(self, command: Command) -> list[Event]:
        self.seen.append(command)
        if isinstance(command, Submit):
            group = command.group
            if group.id in self._groups:
                return [GroupFailed(group_id=group.id, code="invalid", message="twice")]
            if group.embed:
                return self._embedded(group)
            running = _Running(group, time.monotonic())
            self._groups[group.id] = running
            self.most_groups = max(self.most_groups, len(self._groups))
            self._add(running, group.paths)
            if group.hold:
                tokens = len(group.prompt)
                started = GroupStarted(group_id=group.id, prompt_tokens=tokens)
                return [started, PrefixHeld(group_id=group.id, tokens=tokens)]
            return []
        running_or_none = self._groups.get(command.group_id)
        if running_or_none is None:
            return []
        if isinstance(command, Extend):
            self._add(running_or_none, command.paths)
            return []
        return self._abort(running_or_none, command)

    def _embedded(self, group: Group) -> list[Event]:
        return [
            GroupStarted(group_id=group.id, prompt_tokens=len(group.prompt)),
            PromptEmbedded(group_id=group.id, values=made_up_vector(group)),
            GroupClosed(group_id=group.id),
        ]

    def _add(self, running: _Running, paths: Sequence[PathRequest]) -> None:
        for path in paths:
            running.paths[path.index] = _Path(path, len(path.generated))

    def _abort(self, running: _Running, command: Abort) -> list[Event]:
        ended = running.paths.keys() if command.paths is None else command.paths
        group_id = running.group.id
        events: list[Event] = [
            PathOutput(group_id=group_id, path=path, finish=Finish(reason="abort"))
            for path in list(ended)
            if running.paths.pop(path, None) is not None
        ]
        return events + self._closed(running, whole=command.paths is None)

    def _closed(self, running: _Running, *, whole: bool = False) -> list[Event]:
        if running.paths or (running.group.open and not whole):
            return []
        del self._groups[running.group.id]
        return [GroupClosed(group_id=running.group.id)]

    def _step(self) -> list[Event]:
        events: list[Event] = []
        rows = [(g, p) for g in self._groups.values() for p in g.paths.values()]
        for running, path in itertools.islice(rows, self._max_rows):
            group_id = running.group.id
            if not running.started:
                running.started = True
                waited = time.monotonic() - running.arrived
                events.append(
                    GroupStarted(
                        group_id=group_id,
                        prompt_tokens=len(running.group.prompt),
                        queued_s=waited,
                    )
                )
            sampling = path.request.sampling
            token = token_at(sampling.seed, path.made)
            path.made += 1
            self._made += 1
            last = path.made >= sampling.max_tokens
            events.append(
                PathOutput(
                    group_id=group_id,
                    path=path.request.index,
                    tokens=(token,),
                    text=chr(97 + token % 26),
                    finish=Finish(reason="length") if last else None,
                )
            )
            if last:
                del running.paths[path.request.index]
                events.extend(self._closed(running))
        return events
