"""A session of the Live API, from its setup on."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from model.text.language import CalledFunction, ChatMessage
from service.api.errors import known
from service.api.gemini.caches import cached_for
from service.api.gemini.contents import conversation
from service.api.gemini.endpoints import ask_of
from service.api.gemini.live import rendering
from service.api.gemini.live.schemas import (
    ClientContent,
    ClientMessage,
    ContextUpdate,
    LiveFunctionResponse,
    RealtimeInput,
    ToolResponse,
)
from service.api.gemini.live.voice import LiveVoice
from service.api.gemini.tools import offer_of
from service.api.internal import Ask, Chat
from service.api.parsing import parse
from service.api.sessions.history import Entry, as_prompt
from service.api.sessions.line import Gone, Over
from service.api.sessions.session import Session
from service.api.sessions.shelf import Kept, Shelf
from service.api.tools.offer import Offer
from service.caches.prefix import continued
from service.caches.store import Cached
from service.errors import ApiError
from service.guard.visits import current_owner

MAX_CANCELLED = 1_024
"""Ids of cancelled calls that are remembered: their results may still be under way."""


class LiveTalk:
    """waiting: calls whose results are to come, by id; until then the turn is not over."""

    def __init__(self, session: Session, shelf: Shelf, headers: Mapping[str, str]) -> None:
        self._session = session
        self._line = session.line
        self._shelf = shelf
        self._headers = headers
        self._id = uuid.uuid4().hex
        self._beginning: tuple[ChatMessage, ...] = ()
        self._cached: Cached | None = None
        self._offer: Offer | None = None
        self._voice: LiveVoice | None = None
        self._waiting: dict[str, str] = {}
        self._results: list[ChatMessage] = []
        self._cancelled: set[str] = set()
        self._handle: str | None = None
        self._resumable = False
        self._prefilling = False
        self._marked = False

    async def run(self) -> None:
        """Raises Over, Gone."""
        try:
            await self._begin()
            while True:
                await self._take(await parse(await self._line.receive(), ClientMessage))
        except (Over, Gone):
            raise
        except Exception as error:
            shown = known(error)
            if shown.kind == "internal":
                raise
            raise rendering.over(shown) from error

    async def _begin(self) -> None:
        seconds = self._session.gateway.settings.socket_first_message_timeout
        first = (await parse(await self._line.receive(seconds), ClientMessage)).setup
        if first is None:
            raise ApiError("invalid", "the first message must be a setup", param="setup")
        self._setup = first
        self._offer = offer_of(first.tools, first.tool_config)
        self._beginning = conversation((), first.system_instruction)
        cached = cached_for(self._session.gateway, first.cached_content, first.served_name)
        if cached is not None:
            self._cached = cached
            self._offer, self._beginning = cached.chat.tools, cached.messages
        await self._check()
        self._line.warn = self._go_away
        resumption, history = first.session_resumption, first.history_config
        self._prefilling = history is not None and history.initial_history_in_client_content
        if resumption is not None:
            self._resumable = True
            self._take_up(resumption.handle)
        await self._line.send({"setupComplete": {"sessionId": self._id}})
        await self._offer_resumption()

    async def _check(self) -> None:
        """What could never be answered is refused at once. Raises ApiError and its kin."""
        await self._session.gateway.plan(self._ask([ChatMessage(role="user", content=".")]))

    def _ask(self, turns: Sequence[ChatMessage]) -> Ask:
        asked = ask_of(self._setup.served_name, self._setup, self._headers)
        near = "" if self._cached is None else self._cached.held.id
        messages = as_prompt(self._whole(turns))
        return replace(asked, input=Chat(messages, tools=self._offer), near=near)

    def _whole(self, turns: Sequence[ChatMessage]) -> tuple[ChatMessage, ...]:
        return continued(self._beginning, turns)

    async def _take(self, message: ClientMessage) -> None:
        if message.client_content is not None:
            await self._content(message.client_content)
        elif message.realtime_input is not None:
            await self._realtime(message.realtime_input)
        elif message.tool_response is not None:
            await self._tool_results(message.tool_response)
        elif message.context_update is not None:
            await self._update(message.context_update)
        else:
            raise ApiError("invalid", "a session is set up once", param="setup")

    async def _content(self, given: ClientContent) -> None:
        await self._interrupt()
        self._add(conversation(given.turns, None))
        if not given.turn_complete:
            return
        if self._prefilling:
            self._prefilling = False
            return
        self._answer()

    async def _realtime(self, given: RealtimeInput) -> None:
        if given.activity_start is not None or given.text is not None:
            await self._interrupt()
        if given.activity_start is not None:
            self._marked = True
        if given.text is not None:
            self._add([ChatMessage(role="user", content=given.text)])
        if given.activity_end is not None:
            self._marked = False
        said = given.text is not None or given.activity_end is not None
        if said and not self._marked and self._last_is_users():
            self._answer()

    async def _tool_results(self, given: ToolResponse) -> None:
        for result in given.function_responses:
            self._take_result(result)
        if self._results and not self._waiting:
            results, self._results = self._results, []
            self._add(results)
            self._answer()

    def _take_result(self, result: LiveFunctionResponse) -> None:
        call_id = result.id
        if call_id is None:
            named = [one for one, name in self._waiting.items() if name == result.name]
            call_id = named[0] if named else ""
        if call_id in self._cancelled:
            return
        name = self._waiting.pop(call_id, None)
        if name is None:
            raise ApiError(
                "invalid", "the response answers no call", param="toolResponse.functionResponses"
            )
        self._results.append(
            ChatMessage(
                role="tool",
                content=json.dumps(result.response, ensure_ascii=False),
                name=name,
                tool_call_id=call_id,
            )
        )

    async def _update(self, given: ContextUpdate) -> None:
        if self._cached is not None:
            raise ApiError("invalid", "cached content stays as it is", param="contextUpdate")
        if given.system_instruction is not None:
            self._beginning = conversation((), given.system_instruction)
        if given.tools is not None:
            self._offer = offer_of(given.tools.tools, self._setup.tool_config)
        await self._check()

    def _add(self, turns: Sequence[ChatMessage]) -> None:
        for turn in turns:
            self._session.history.add(Entry(uuid.uuid4().hex, turn))

    def _last_is_users(self) -> bool:
        entries = self._session.history.entries
        return bool(entries) and entries[-1].message.role == "user"

    def _answer(self) -> None:
        turns = [entry.message for entry in self._session.history.entries]
        if not turns:
            raise ApiError("invalid", "there is nothing to answer yet", param="messages")
        self._voice = LiveVoice(self._line, self._answered)
        self._session.start(self._ask(turns), self._voice)

    def _keep(self) -> None:
        turns = [entry.message for entry in self._session.history.entries]
        self._session.keeper.keep(self._ask(turns), self._whole(turns))

    async def _answered(self, voice: LiveVoice) -> None:
        self._remember(voice)
        if voice.calls:
            self._waiting = {call["id"]: call["name"] for call in voice.calls}
            await voice.ask_for_results()
            return
        await voice.end(interrupted=False)
        await self._offer_resumption()

    def _remember(self, voice: LiveVoice) -> None:
        """What was said stays said."""
        made = tuple(
            CalledFunction(call["name"], json.loads(bytes(call["args"])), call["id"])
            for call in voice.calls
        )
        if voice.text or made:
            said = ChatMessage(
                role="assistant",
                content=voice.text,
                tool_calls=made,
                reasoning=voice.reasoning,
            )
            self._session.history.keep(Entry(uuid.uuid4().hex, said))
        self._keep()

    async def _interrupt(self) -> None:
        """The user goes on: a running answer ends, and calls that were made are taken back."""
        cut = await self._session.interrupt()
        voice = self._voice
        if voice is None:
            return
        if cut:
            voice.calls = []
            self._remember(voice)
            await voice.end(interrupted=True)
            await self._offer_resumption()
        elif self._waiting or self._results:
            await self._take_back()
            await voice.end(interrupted=True)
            await self._offer_resumption()

    async def _take_back(self) -> None:
        made = [*self._waiting, *(result.tool_call_id or "" for result in self._results)]
        if len(self._cancelled) > MAX_CANCELLED:
            self._cancelled.clear()
        self._cancelled.update(made)
        self._waiting, self._results = {}, []
        last = self._session.history.entries[-1]
        if last.message.content:
            said = msgspec.structs.replace(last.message, tool_calls=())
            self._session.history.replace(last.id, said)
        else:
            self._session.history.remove(last.id)
        await self._line.send({"toolCallCancellation": {"ids": made}})

    async def _go_away(self, seconds: float) -> None:
        await self._line.send({"goAway": {"timeLeft": f"{max(seconds, 0):.3f}s"}})

    def _take_up(self, handle: str | None) -> None:
        if handle is None:
            return
        kept = self._shelf.take(handle, current_owner())
        if kept is None:
            raise ApiError(
                "not_found", "the session's handle is unknown, or the session was left too long ago"
            )
        for entry in kept.entries:
            self._session.history.keep(Entry(entry.id, entry.message))

    async def _offer_resumption(self) -> None:
        if not self._resumable:
            return
        history = self._session.history
        entries = tuple(Entry(entry.id, entry.message) for entry in history.entries)
        kept = Kept(current_owner(), entries, history.bytes)
        self._handle = self._shelf.put(kept, instead_of=self._handle)
        update = {"newHandle": self._handle, "resumable": True} if self._handle else {
            "resumable": False}  # fmt: skip
        await self._line.send({"sessionResumptionUpdate": update})
