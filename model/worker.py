"""One engine on its own thread: commands in, events out, status at any time.

The gateway embeds it (`service.workers.embedded`), a worker process puts a broker on the other
side (`model.broker`).
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.checkpoints.base import Checkpoint
from model.contract import (
    Command,
    Event,
    GroupFailed,
    ModelCard,
    Submit,
    VisionCard,
    WorkerState,
    WorkerStatus,
)
from model.engine.choices import choose
from model.engine.compilations import keep_compiled
from model.engine.config import EngineConfig
from model.engine.constraints import Constraints
from model.engine.engine import Engine
from model.engine.holding import HeldPages
from model.engine.memory import least_pages
from model.engine.pages import PagedMemory
from model.engine.runner import JaxRunner
from model.engine.scheduler import Scheduler
from model.nn.params import parameter_count
from model.nn.vision.params import vision_parameter_count
from model.spec import VisionSpec
from model.text.language import TextModel

log = logging.getLogger("pollux.worker")

Emit = Callable[[Sequence[Event]], None]


@dataclass(frozen=True)
class _Stop:
    """Ends the thread: at once, or when what runs is done, after so many seconds at the latest."""

    drain_s: float


class EngineThread:
    """Loads, compiles and runs a model.

    emit: called on the engine's thread, once per step, with that step's events of all groups;
    once the engine has ended, on the thread of whoever sends it a group, to refuse it.
    card and text are there at once; weights are read and programs compiled after `start`.
    """

    def __init__(self, checkpoint: Checkpoint, name: str, config: EngineConfig, emit: Emit) -> None:
        spec = checkpoint.spec
        self._checkpoint = checkpoint
        self._config = config
        self._emit = emit
        self.context = min(config.context or spec.context, spec.context)
        self.text = TextModel(checkpoint.text)
        self.card = ModelCard(
            name=name,
            family=spec.family,
            context=self.context,
            vocab_size=spec.vocab_size,
            fingerprint=checkpoint.fingerprint,
            quantization=checkpoint.quantization,
            dtype=choose(config, checkpoint).name,
            parameters=parameter_count(spec) + vision_parameter_count(spec),
            has_chat_template=checkpoint.text.chat_template is not None,
            tokenizer=checkpoint.text.digest(),
            width=spec.d_model,
            vision=_vision_card(spec.vision),
        )
        self._inbox: queue.SimpleQueue[Command | _Stop] = queue.SimpleQueue()
        self._status = WorkerStatus(state="starting", detail="waiting to start")
        self._stopping = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._main, name="pollux-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def send(self, command: Command) -> None:
        """Thread-safe. A group sent to a worker that has ended is answered with GroupFailed."""
        self._inbox.put(command)
        if self._ended.is_set():
            self._refuse_rest()

    def status(self) -> WorkerStatus:
        return self._status

    def stop(self, drain_s: float = 0.0) -> None:
        """Ends the thread; running groups get `drain_s` seconds to finish, then fail."""
        if not self._thread.is_alive():
            return
        self._stopping = True
        self._inbox.put(_Stop(drain_s))
        self._thread.join()

    # --- on the engine's thread --------------------------------------------------------------

    def _main(self) -> None:
        engine: Engine | None = None
        try:
            engine, runner = self._load()
            self._serve(engine, runner)
        except _StoppedWhileLoading:
            self._status = WorkerStatus(state="stopped")
        except Exception as error:
            log.exception("the engine failed")
            self._status = WorkerStatus(state="failed", detail=_one_line(error))
            if engine is not None:
                engine.abort_all("the engine failed")
                self._emit(engine.take_events())
        finally:
            self._ended.set()
            self._refuse_rest()

    def _load(self) -> tuple[Engine, JaxRunner]:
        config, spec = self._config, self._checkpoint.spec
        constraints = Constraints.of(self.text, spec.vocab_size)
        constraints.prepare()
        if config.compilation_cache is not None:
            keep_compiled(config.compilation_cache)
        runner = JaxRunner(self._checkpoint, config, self.context, self._report)
        self._checkpoint.close()
        runner.warm_up(self._report)
        memory = PagedMemory.of(config.page_size, spec.windows, runner.memory.pages)
        memory.reuse = config.prefix_cache
        scheduler = Scheduler(memory, runner.limits)
        least = least_pages(spec.windows, config.page_size, config.prefill_chunk, self.context)
        engine = Engine(
            scheduler,
            runner,
            self.text,
            spec.vocab_size,
            self.context,
            constraints=constraints,
            held=HeldPages.of(memory, least, config.held_share),
            vision=spec.vision,
        )
        return engine, runner

    def _report(self, detail: str, fraction: float | None) -> None:
        if self._stopping:
            raise _StoppedWhileLoading
        self._status = WorkerStatus(state="starting", detail=detail, progress=fraction)

    def _serve(self, engine: Engine, runner: JaxRunner) -> None:
        state: WorkerState = "ready"
        self._publish(engine, runner, state)
        clock = engine.clock
        deadline: float | None = None
        while True:
            for message in self._received(wait=not engine.has_work and deadline is None):
                if isinstance(message, _Stop):
                    state, deadline = "draining", clock() + message.drain_s
                else:
                    engine.handle(message)
            engine.expire()
            if deadline is not None and (not engine.has_work or clock() >= deadline):
                break
            engine.step()
            self._publish(engine, runner, state)
            self._emit_events(engine)
        engine.abort_all("the worker is shutting down")
        self._emit_events(engine)
        self._publish(engine, runner, "stopped")

    def _received(self, wait: bool) -> list[Command | _Stop]:
        """All messages there are; when idle, waits a little for the first (deadlines still run)."""
        messages: list[Command | _Stop] = []
        try:
            messages.append(self._inbox.get(timeout=0.1) if wait else self._inbox.get_nowait())
            while True:
                messages.append(self._inbox.get_nowait())
        except queue.Empty:
            return messages

    def _emit_events(self, engine: Engine) -> None:
        events = engine.take_events()
        if events:
            self._emit(events)

    def _publish(self, engine: Engine, runner: JaxRunner, state: WorkerState) -> None:
        scheduler = engine.scheduler
        self._status = WorkerStatus(
            state=state,
            waiting=scheduler.waiting_count,
            running=len(scheduler.running),
            groups=len(scheduler.groups),
            pages_used=scheduler.memory.used,
            pages_total=scheduler.memory.total,
            holds=len(engine.held),
            held_pages=engine.held.pages,
            page_size=scheduler.memory.page_size,
            max_rows=scheduler.max_rows,
            steps=engine.steps,
            prefill_tokens=engine.prefill_tokens,
            decode_tokens=engine.decode_tokens,
            preemptions=scheduler.preemptions,
            compilations_after_warmup=runner.compilations_after_warmup,
            media_queries=0 if runner.images is None else runner.images.slots.queries,
            media_hits=0 if runner.images is None else runner.images.slots.hits,
        )

    def _refuse(self, command: Command | _Stop) -> None:
        if isinstance(command, Submit):
            message = "the worker has stopped"
            self._emit(
                [GroupFailed(group_id=command.group.id, code="unavailable", message=message)]
            )

    def _refuse_rest(self) -> None:
        for message in self._received(wait=False):
            self._refuse(message)


class _StoppedWhileLoading(Exception):
    """`stop` was called before the engine was ready."""


def _vision_card(spec: VisionSpec | None) -> VisionCard | None:
    return None if spec is None else VisionCard(spec.image_size, spec.tokens, spec.placeholder)


def _one_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
