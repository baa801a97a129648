"""What a session keeps on the worker between its turns, and when it lets it go."""

import asyncio
from dataclasses import dataclass, field

from model.contract import Prompt
from service.errors import ApiError
from tests.service.sessions.support import live, prompt_of, realtime, running
from tests.service.support import Running, eventually, shown
from tests.service.test_routed import POLICY, three_of_four


@dataclass
class Held:
    prompt: Prompt
    near: str
    id: str = "held"
    released: bool = False

    @property
    def tokens(self) -> int:
        return len(self.prompt)

    async def release(self) -> None:
        self.released = True


@dataclass
class Ledger:
    """Holds that only write down what is asked of them. gate: passed before anything is held."""

    held: list[Held] = field(default_factory=list)
    gate: asyncio.Event | None = None
    cancelled: int = 0
    refusal: ApiError | None = None

    async def hold(self, prompt: Prompt, *, near: str, yields: bool) -> Held:
        assert yields, "what is kept by name goes first"
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.refusal is not None:
            raise self.refusal
        self.held.append(Held(prompt, near))
        return self.held[-1]

    def group_of(self, hold_id: str) -> str:
        return ""

    def tokens_of(self, hold_id: str) -> int:
        return 0

    async def stop(self) -> None:
        """Everything was let go by those who held it."""
        assert not self.open

    def told(self, server: Running) -> list[str]:
        return [shown(server.backend.text, one.prompt.token_ids()) for one in self.held]

    @property
    def open(self) -> list[Held]:
        return [one for one in self.held if not one.released]


def attach(server: Running, ledger: Ledger) -> Ledger:
    server.gateway.holds = ledger
    return ledger


async def test_the_conversation_so_far_is_held_until_the_session_ends() -> None:
    async with running(lambda g, p: "hello", session_hold_seconds=60) as server:
        ledger = attach(server, Ledger())
        async with live(server) as client:
            await client.set_up(systemInstruction={"parts": [{"text": "s"}]})
            await client.ask("one")
            await eventually(lambda: len(ledger.held) == 1)
            await client.ask("two")
            await eventually(lambda: len(ledger.held) == 2 and len(ledger.open) == 1)
            first, second = ledger.told(server)
            begun = "<|system|>s<|end|><|user|>one<|end|><|assistant|>hello<|end|>"
            assert first.startswith(begun)
            assert prompt_of(server).startswith(begun)
            assert second.startswith(f"{begun}<|user|>two<|end|><|assistant|>hello<|end|>")
            assert ledger.held[0].released
        await eventually(lambda: not ledger.open)


async def test_a_hold_is_made_where_the_last_turn_ran() -> None:
    async with running(three_of_four, session_hold_seconds=60) as server:
        ledger = attach(server, Ledger())
        async with live(server) as client:
            await client.set_up()
            await client.ask("one")
            await eventually(lambda: len(ledger.held) == 1)
            assert ledger.held[0].near == server.worker.groups[-1].group.id
        async with live(server) as client:
            await client.set_up(uncertaintyRouting=POLICY)
            await client.ask("two")
            await eventually(lambda: len(ledger.held) == 2)
            ran = {stream.group.id for stream in server.worker.groups}
            assert ledger.held[1].near in ran


async def test_a_response_in_the_conversation_is_held_and_one_out_of_it_is_not() -> None:
    async with running(lambda g, p: "hello", session_hold_seconds=60) as server:
        ledger = attach(server, Ledger())
        async with realtime(server) as client:
            await client.ask("one", conversation="none")
            await client.respond()
            await eventually(lambda: ledger.held)
            (told,) = ledger.told(server)
            assert told.startswith("<|user|>one<|end|><|assistant|>hello<|end|>")
        await eventually(lambda: not ledger.open)


async def test_the_turns_of_a_vote_are_held_as_the_next_vote_will_read_them() -> None:
    async with running(three_of_four, session_hold_seconds=60) as server:
        ledger = attach(server, Ledger())
        async with live(server) as client:
            await client.set_up(uncertaintyRouting=POLICY)
            await client.ask("one")
            await eventually(lambda: ledger.held)
            assert ledger.told(server)[0].startswith("<|user|>one<|end|><|assistant|>")
            await client.ask("two")
            assert prompt_of(server).startswith("<|user|>one<|end|><|assistant|>")


async def test_a_silent_session_lets_its_pages_go_and_goes_on() -> None:
    async with running(lambda g, p: "hello", session_hold_seconds=0.05) as server:
        ledger = attach(server, Ledger())
        async with live(server) as client:
            await client.set_up()
            await client.ask("one")
            await eventually(lambda: ledger.held and not ledger.open)
            await client.ask("two")
            await eventually(lambda: len(ledger.held) == 2)


async def test_a_worker_that_holds_nothing_is_no_harm() -> None:
    async with running(lambda g, p: "hello", session_hold_seconds=60) as server:
        ledger = attach(server, Ledger(refusal=ApiError("overloaded", "no room")))
        async with live(server) as client:
            await client.set_up()
            await client.ask("one")
            await client.ask("two")
            ledger.refusal = None
            await client.ask("three")
            await eventually(lambda: ledger.held)


async def test_no_turn_waits_for_a_hold_and_the_end_cancels_it() -> None:
    async with running(lambda g, p: "hello", session_hold_seconds=60) as server:
        ledger = attach(server, Ledger(gate=asyncio.Event()))
        async with live(server) as client:
            await client.set_up()
            await client.ask("one")
            await client.ask("two")
        await eventually(lambda: ledger.cancelled == 1)
        assert ledger.held == []


async def test_holding_can_be_turned_off() -> None:
    async with running(lambda g, p: "hello", session_hold_seconds=0) as server:
        ledger = attach(server, Ledger(refusal=ApiError("internal", "nobody should ask")))
        async with live(server) as client:
            await client.set_up()
            await client.ask("one")
        await eventually(lambda: server.gateway.admission.requests == 0)
        assert ledger.held == []
