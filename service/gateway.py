"""What every protocol shares while the server runs: the model, the door, the work itself."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from model.contract import Event, ModelCard, PathOutput, Worker, WorkerStatus
from model.text.language import TextModel
from routing.effort import with_effort, with_tokens
from routing.policy import RoutingPolicy
from routing.router import RouteEvent, Shown, route
from service.api.generation import generate
from service.api.internal import Ask, Chat, Input, PlainText
from service.api.merging import merged
from service.api.planning import (
    PlainPlan,
    Served,
    check_length,
    check_turns,
    encode,
    plan_plain,
    split_alias,
    written_length,
)
from service.api.routed import RoutedPlan, asks_directly, note_vote, plan_routed, route_question
from service.api.tools.enforcing import blamed_on_tools
from service.caches.store import Caches
from service.calibrated import Calibration
from service.errors import ApiError
from service.files.store import open_store
from service.guard.admission import Admission
from service.guard.visits import current_visit
from service.holds import Holds
from service.logs.prompts import note_answer, note_prompt
from service.logs.record import current_record
from service.metrics import Metrics, Outcome
from service.placement import PlacedWorker, Placement, scope_of
from service.settings import Settings
from service.shadow import Shadows
from service.workers.base import Backend
from service.workers.metered import MeteredWorker

T = TypeVar("T")

REFUSALS = {"overloaded": "overloaded", "rate_limited": "rate_limit", "forbidden": "forbidden"}
"""Reasons in `pollux:requests_refused`, by the kind of the error."""

LONG_PROMPT = 4_096
"""Characters or token ids: some milliseconds of tokenizing."""


@dataclass
class _Tracked:
    """How a request ends, as far as is known."""

    outcome: Outcome = "abort"
    finishes: set[str] = field(default_factory=set)

    def see(self, event: Event) -> None:
        if isinstance(event, PathOutput) and event.finish is not None:
            self.finishes.add(event.finish.reason)

    def done(self) -> None:
        self.outcome = "length" if "length" in self.finishes else "stop"

    def note(self) -> None:
        """In the log; errors are noted where they are told."""
        record = current_record.get()
        if record is not None:
            record.finishes |= self.finishes | ({"abort"} if self.outcome == "abort" else set())


class Gateway:
    """calibration: speaks for routed questions that run as its questions ran."""

    def __init__(
        self, settings: Settings, backend: Backend, calibration: Calibration | None = None
    ) -> None:
        self.settings = settings
        self.backend = backend
        self.calibration = calibration
        self.admission = Admission(settings.max_requests, settings.max_paths)
        self.metrics = Metrics(lambda: backend.card, backend.status, self.admission)
        self.files = open_store(settings)
        self.shadows = self._shadows()
        self.holds = Holds(self.backend, self._measured, self._scope, settings)
        self.caches = Caches(settings, self.holds)

    async def stop(self) -> None:
        await self.holds.stop()
        if self.shadows is not None:
            await self.shadows.stop()

    def calibration_refusals(self) -> list[str]:
        """Why the calibration does not speak of the model that is served; empty when it does, or
        when there is none. Raises ApiError("unavailable") before a model is known."""
        if self.calibration is None:
            return []
        card, text = self._model()
        return self.calibration.refusals(Served(card, text, routed=True), self.settings)

    def status(self) -> WorkerStatus:
        return self.backend.status()

    def model(self) -> tuple[ModelCard, TextModel]:
        """For a request, which is counted as refused when it raises ApiError("unavailable"): no
        worker has said yet what it serves."""
        try:
            return self._model()
        except ApiError:
            self.metrics.count(self.metrics.refused, reason="unavailable")
            raise

    def _model(self) -> tuple[ModelCard, TextModel]:
        card, text = self.backend.card, self.backend.text
        if card is None or text is None:
            status = self.status()
            raise ApiError(
                "unavailable",
                f"no model is there yet: {status.detail or status.state}",
                retry_after=1.0,
            )
        return card, text

    def served(self, name: str) -> Served:
        """The model by its name or its `:routed` alias. Raises ApiError("unknown_model")."""
        card, text = self.model()
        plain, routed = split_alias(name)
        if plain == card.name or name == card.name:
            record = current_record.get()
            if record is not None:
                record.model = name
            return Served(card=card, text=text, routed=routed and name != card.name)
        raise ApiError(
            "unknown_model",
            f"there is no model {name[:100]!r} here; this server has {card.name!r} "
            f"and {card.name + ':routed'!r}",
            param="model",
            code="model_not_found",
        )

    async def plan(self, ask: Ask) -> PlainPlan | RoutedPlan:
        """Raises ApiError for whatever can never run; nothing was submitted yet."""
        if self.settings.log_prompts:
            note_prompt(ask.input)
        plan = await self._off_loop(ask.input, lambda: self._plan(ask))
        return replace(plan, placement=Placement(self._scope(ask.cache_salt), ask.near))

    def _scope(self, salt: str) -> str:
        visit = current_visit.get()
        apart = self.settings.cache_scope == "key" and visit is not None
        return scope_of(visit.account.identity if visit is not None and apart else None, salt)

    async def count(self, model: str, given: Input) -> int:
        """How many tokens a prompt has."""
        served = self.served(model)
        check_turns(given, self.settings)
        check_length(given, served.card)
        return await self._off_loop(given, lambda: len(encode(given, served.text)[0]))

    async def tokens(
        self,
        model: str,
        given: PlainText | Chat,
        *,
        add_bos: bool = True,
        add_generation_prompt: bool = True,
        param: str | None = None,
    ) -> tuple[int, ...]:
        """A prompt's token ids. param: what the protocol calls it. Raises TemplateError for a
        conversation that the model refuses."""
        served = self.served(model)
        check_turns(given, self.settings)
        check_length(given, served.card, param)

        def work() -> tuple[int, ...]:
            if isinstance(given, Chat):
                return served.text.encode_chat(
                    given.messages,
                    add_generation_prompt=add_generation_prompt and not given.continue_final,
                    continue_final=given.continue_final,
                )
            if add_bos:
                return served.text.encode_text(given.text)
            return tuple(served.text.tokenizer.encode(given.text))

        return await self._off_loop(given, work)

    async def _off_loop(self, given: Input, work: Callable[[], T]) -> T:
        """Long prompts are tokenized on a thread, so that nobody else waits for them."""
        if written_length(given)[0] <= LONG_PROMPT:
            return work()
        return await asyncio.to_thread(work)

    def _plan(self, ask: Ask) -> PlainPlan | RoutedPlan:
        served = self.served(ask.model)
        alias = served.routed or (self.settings.effort_routing and ask.thinking.weighs)
        if asks_directly(ask, alias=alias):
            sampling = replace(ask.sampling, temperature=0.0)
            return plan_plain(replace(ask, sampling=sampling), served, self.settings)
        asked = ask.routing
        if ask.thinking.weighs and (alias or asked is not None):
            asked = with_effort(
                asked or RoutingPolicy(), ask.thinking.effort, self.settings.max_samples
            )
            asked = with_tokens(asked, ask.thinking.budget)
        policy = self._policy(asked, alias=alias)
        if policy is None:
            return plan_plain(ask, served, self.settings)
        plan = plan_routed(ask, policy, served, self.settings)
        calibration = self.calibration
        if calibration is None or not calibration.covers(ask, plan, served, self.settings):
            return plan
        return replace(plan, calibration=calibration.id)

    def _policy(self, asked: RoutingPolicy | None, *, alias: bool) -> RoutingPolicy | None:
        """What the caller left open is as it was calibrated, or else as the settings say."""
        if self.calibration is None:
            return self.settings.alias_policy(asked) if alias else asked
        if asked is None and not alias:
            return None
        return self.calibration.complete(asked or RoutingPolicy())

    async def generate(self, plan: PlainPlan) -> AsyncGenerator[Event]:
        """Admits, runs and measures. Closing it aborts the group."""
        with self._tracking(plan.paths) as tracked, blamed_on_tools(plan.tools):
            async with aclosing(generate(self._placed(plan), plan.group)) as events:
                async for event in events:
                    self._see(event, tracked)
                    yield event
            tracked.done()

    async def generate_all(self, plans: Sequence[PlainPlan]) -> AsyncGenerator[tuple[int, Event]]:
        """Several prompts as one request; events come with their prompt's place."""
        with self._tracking(sum(plan.paths for plan in plans)) as tracked:
            sources = [generate(self._placed(plan), plan.group) for plan in plans]
            async with aclosing(merged(sources)) as events:
                async for place, event in events:
                    self._see(event, tracked, place)
                    yield place, event
            tracked.done()

    def _see(self, event: Event, tracked: _Tracked, place: int = 0) -> None:
        tracked.see(event)
        if self.settings.log_prompts and isinstance(event, PathOutput):
            note_answer((place, event.path), event.text)

    @contextmanager
    def working(self, paths: int) -> Iterator[Worker]:
        """Admits and measures what a protocol runs by itself on the worker it gets."""
        with self._tracking(paths) as tracked:
            yield self._measured()
            tracked.done()

    def _placed(self, plan: PlainPlan | RoutedPlan) -> PlacedWorker:
        worker = self._measured(self.holds.tokens_of(plan.placement.near))
        return PlacedWorker(worker, plan.placement, self.holds.group_of)

    def _measured(self, paid: int = 0) -> MeteredWorker:
        visit = current_visit.get()
        payer = visit.account if visit else None
        return MeteredWorker(self.backend.worker, self.metrics, payer, paid, current_record.get())

    async def route(self, plan: RoutedPlan) -> AsyncGenerator[RouteEvent]:
        """Admits, runs and measures. Closing it aborts the direct answer and all paths."""
        with self._tracking(plan.paths) as tracked:
            async with aclosing(route_question(self._placed(plan), plan, self.metrics)) as events:
                async for event in events:
                    if isinstance(event, Shown):
                        # Before it is read: who has the answer may close this at once.
                        tracked.finishes.add(event.finish_reason)
                        tracked.done()
                        note_vote(event)
                        if self.settings.log_prompts:
                            note_answer(event.path, event.text)
                        self._offer_shadow(plan)
                    yield event

    def _offer_shadow(self, plan: RoutedPlan) -> None:
        if self.shadows is not None and plan.calibration is not None:
            self.shadows.offer(plan)

    def _shadows(self) -> Shadows | None:
        calibration, fraction = self.calibration, self.settings.shadow_fraction
        if calibration is None:
            return None

        def poll(plan: RoutedPlan) -> AsyncGenerator[RouteEvent]:
            policy = plan.policy.model_copy(update={"plan": "full"})
            worker = PlacedWorker(self.backend.worker, plan.placement, self.holds.group_of)
            return route(plan.question, policy, worker, f"{plan.id}-shadow")

        return Shadows(
            fraction,
            calibration.drift(),
            calibration.artefact.invalid_rate,
            poll,
            self.admission,
            self.metrics,
        )

    @contextmanager
    def _tracking(self, paths: int) -> Iterator[_Tracked]:
        self._require_ready()
        metrics, tracked = self.metrics, _Tracked()
        with self._admit(paths):
            started = time.monotonic()
            metrics.observe(metrics.params_n, paths)
            try:
                yield tracked
            except Exception:
                tracked.outcome = "error"
                raise
            finally:
                metrics.count(metrics.success, finished_reason=tracked.outcome)
                tracked.note()
                metrics.observe(metrics.latency, time.monotonic() - started)

    @contextmanager
    def _admit(self, paths: int) -> Iterator[None]:
        try:
            permit = self.admission.admit(paths, current_visit.get())
            with permit:
                yield
        except ApiError as error:
            if error.kind in REFUSALS:
                self.metrics.count(self.metrics.refused, reason=REFUSALS[error.kind])
            raise

    def _require_ready(self) -> None:
        status = self.status()
        if status.state == "ready":
            return
        self.metrics.count(self.metrics.refused, reason="unavailable")
        raise ApiError(
            "unavailable",
            f"the model is not ready: {status.detail or status.state}",
            code="service_unavailable",
            retry_after=1.0,
        )
