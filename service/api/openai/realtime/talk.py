"""A session of the Realtime API. What a client does wrong is told, and the session goes on."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from pydantic import ValidationError

from model.text.language import ChatMessage
from service.api.common import header_policy
from service.api.errors import known
from service.api.internal import Ask, Chat, Sampling
from service.api.openai.realtime.events import Outbox
from service.api.openai.realtime.items import (
    AnyItem,
    ItemStatus,
    Reference,
    called_in,
    entry_of,
    names_of,
    new_id,
    rendered,
)
from service.api.openai.realtime.schemas import (
    EVENTS,
    REFUSED,
    Event,
    ItemCreate,
    ItemEvent,
    ResponseCancel,
    ResponseCreate,
    SessionConfig,
    SessionUpdate,
    Wishes,
)
from service.api.openai.realtime.voice import RealtimeVoice
from service.api.parsing import invalid, off_loop
from service.api.sessions.history import Entry, as_prompt
from service.api.sessions.line import Gone, Over
from service.api.sessions.session import Session
from service.errors import ApiError

log = logging.getLogger("pollux")

W = TypeVar("W", bound=Wishes)


class RealtimeTalk:
    """model: as it was asked for when the socket was opened."""

    def __init__(self, session: Session, model: str, headers: Mapping[str, str]) -> None:
        self._session = session
        self._history = session.history
        self._line = session.line
        self._model = model
        self._headers = headers
        self._outbox = Outbox(session.line)
        self._id = new_id("sess")
        self._conversation_id = new_id("conv")
        self._config = SessionConfig.model_validate({})
        self._voice: RealtimeVoice | None = None
        self._unfinished: set[str] = set()
        self._expires_at = int(time.time() + session.gateway.settings.session_lifetime)

    async def run(self) -> None:
        """Raises Over, Gone."""
        await self._outbox.send("session.created", session=self._shown_session())
        while True:
            await self._take(await self._line.receive())

    async def _take(self, message: str | bytes) -> None:
        event_id: str | None = None
        try:
            given = await off_loop(message, _read)
            named = given.get("event_id")
            event_id = named[:512] if isinstance(named, str) else None
            await self._serve(await off_loop(message, lambda _: _event_of(given)))
        except (Over, Gone):
            raise
        except Exception as error:
            shown = known(error)
            if shown.kind == "internal":
                log.exception("an event of a session failed")
            await self._outbox.error(shown, event_id)

    async def _serve(self, event: Event) -> None:
        match event:
            case SessionUpdate():
                await self._update(event.session)
            case ItemCreate():
                await self._create_item(event)
            case ItemEvent(type="conversation.item.retrieve"):
                entry = self._entry(event.item_id)
                shown = rendered(entry, self._status(entry.id))
                await self._outbox.send("conversation.item.retrieved", item=shown)
            case ItemEvent():
                await self._delete_item(event.item_id)
            case ResponseCreate():
                await self._respond(event)
            case ResponseCancel():
                await self._cancel(event.response_id)

    async def _update(self, given: SessionConfig) -> None:
        if given.model not in (None, self._model):
            raise ApiError("invalid", "a session keeps its model", param="session.model")
        config = _with(self._config, given)
        await self._check(config)
        self._config = config
        await self._outbox.send("session.updated", session=self._shown_session())

    async def _check(self, config: SessionConfig) -> None:
        """What could never be answered is refused at once. Raises ApiError and its kin."""
        probe = ChatMessage(role="user", content=".")
        await self._session.gateway.plan(self._ask(config, [probe]))

    def _ask(self, config: Wishes, turns: Sequence[ChatMessage]) -> Ask:
        return Ask(
            model=self._model,
            input=Chat(as_prompt([*_system(config), *turns]), tools=config.offer()),
            sampling=Sampling(
                max_tokens=config.max_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                seed=config.seed,
            ),
            routing=config.uncertainty_routing or header_policy(self._headers),
            thinking=config.wish(),
        )

    async def _create_item(self, event: ItemCreate) -> None:
        if event.item.id is not None and self._history.find(event.item.id) is not None:
            raise ApiError("invalid", "there is an item of this id already", param="item.id")
        entry = entry_of(event.item, called_in(self._history))
        before = event.previous_item_id
        if before is None:
            self._history.add(entry)
        elif before == "root":
            self._history.add(entry, at_start=True)
        else:
            self._history.add(entry, after=self._entry(before, "previous_item_id").id)
        place = {"previous_item_id": self._history.before(entry.id), "item": rendered(entry)}
        for kind in ("added", "created", "done"):
            await self._outbox.send(f"conversation.item.{kind}", **place)

    async def _delete_item(self, item_id: str) -> None:
        entry = self._entry(item_id)
        if self._status(entry.id) == "in_progress":
            raise ApiError("invalid", "the item is still being written", param="item_id")
        self._history.remove(entry.id)
        self._unfinished.discard(entry.id)
        await self._outbox.send("conversation.item.deleted", item_id=entry.id)

    async def _respond(self, event: ResponseCreate) -> None:
        if self._session.active:
            raise ApiError(
                "invalid",
                "Conversation already has an active response in progress; cancel it, or wait "
                "until it is done.",
                code="conversation_already_has_active_response",
            )
        await self._settle()
        asked = event.response
        config = _with(self._config, asked)
        turns = self._turns(asked.input)
        if not turns:
            raise ApiError("invalid", "there is nothing to answer yet", param="messages")
        shown = asked.model_copy(update={"max_output_tokens": config.max_output_tokens})
        history = self._history if asked.conversation == "auto" else None
        ask = self._ask(config, turns)

        def ended() -> None:
            if asked.conversation == "auto" and asked.input is None:
                said = [entry.message for entry in self._history.entries]
                self._session.keeper.keep(ask, _system(config) + said)

        voice = RealtimeVoice(
            self._outbox, history, self._conversation_id, shown, event.event_id, ended
        )
        self._session.start(ask, voice)
        self._voice = voice

    async def _cancel(self, response_id: str | None) -> None:
        voice = self._voice
        if voice is None or not self._session.active or response_id not in (None, voice.id):
            raise ApiError(
                "invalid",
                "Cancellation failed: no active response found",
                param=None if response_id is None else "response_id",
                code="response_cancel_not_active",
            )
        await self._settle()

    async def _settle(self) -> None:
        """Nothing runs any more."""
        voice = self._voice
        if await self._session.interrupt() and voice is not None:
            await voice.cancelled()
        if voice is not None:
            self._unfinished |= voice.unfinished
        self._voice = None

    def _turns(self, given: Sequence[AnyItem] | None) -> list[ChatMessage]:
        if given is None:
            return [entry.message for entry in self._history.entries]
        called: dict[str, str] = {}
        turns: list[ChatMessage] = []
        for item in given:
            if isinstance(item, Reference):
                entry = self._entry(item.id, "response.input")
                called.update(names_of(entry.message))
            else:
                entry = entry_of(item, called)
            turns.append(entry.message)
        return turns

    def _entry(self, item_id: str, param: str = "item_id") -> Entry:
        entry = self._history.find(item_id)
        if entry is None:
            raise ApiError(
                "invalid",
                f"there is no item {item_id[:64]!r} in the conversation",
                param=param,
                code="item_not_found",
            )
        return entry

    def _status(self, item_id: str) -> ItemStatus:
        writing = self._voice is not None and item_id in self._voice.unfinished
        if writing and self._session.active:
            return "in_progress"
        return "incomplete" if writing or item_id in self._unfinished else "completed"

    def _shown_session(self) -> dict[str, Any]:
        config = self._config
        shown = config.model_dump(
            mode="json",
            include={
                "type",
                "output_modalities",
                "tools",
                "tool_choice",
                "parallel_tool_calls",
                "max_output_tokens",
                "reasoning",
                "temperature",
            },
        )
        return {
            "id": self._id,
            "object": "realtime.session",
            "model": self._model,
            "instructions": config.instructions or "",
            "expires_at": self._expires_at,
            "truncation": "disabled",
            "tracing": None,
            "audio": {"input": {"turn_detection": None}},
            **shown,
        }


def _with(config: SessionConfig, more: W) -> W:
    """What a session or a response says itself, and for the rest what the session said before."""
    kept = {
        name: getattr(config, name)
        for name in Wishes.model_fields
        if name not in more.model_fields_set
    }
    return more.model_copy(update=kept)


def _system(config: Wishes) -> list[ChatMessage]:
    head = config.instructions
    return [ChatMessage(role="system", content=head)] if head else []


def _read(message: str | bytes) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        raise ApiError("invalid", "the event is not valid JSON") from None
    if not isinstance(given, dict):
        raise ApiError("invalid", "an event is a JSON object")
    return given


def _event_of(given: dict[str, Any]) -> Event:
    kind = given.get("type")
    if not isinstance(kind, str):
        raise ApiError(
            "invalid", "an event has a type", param="type", code="missing_required_parameter"
        )
    if kind in REFUSED:
        raise ApiError("invalid", REFUSED[kind], param="type", code="unsupported_event")
    if kind not in EVENTS:
        raise ApiError(
            "invalid", f"unknown event type: {kind[:64]!r}", param="type", code="unknown_event"
        )
    try:
        return EVENTS[kind].model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None
