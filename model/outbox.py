"""What a worker has to tell its gateways, gathered until it can be written.

While one write is on its way the next steps' events gather, so a slow broker makes messages
larger, not more numerous. Pure bookkeeping.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from model.contract import Event
from model.delivery import Outgoing, Talked
from model.ledger import GatewayEvents
from model.wire import Results, Taken


@dataclass
class _Draft:
    taken: list[Taken] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """One write: at most one message per gateway, and the work entries they bring to an end."""

    messages: tuple[tuple[str, Results], ...]
    done: tuple[bytes, ...]


class Outbox:
    def __init__(self, worker_id: str) -> None:
        self._worker_id = worker_id
        self._drafts: dict[str, _Draft] = {}
        self._done: list[bytes] = []
        self._writing = False
        self.unsettled: set[bytes] = set()
        """Entries that are over here but not yet acknowledged on the broker."""
        self._numbers = Outgoing()
        self._talked = Talked()

    def __bool__(self) -> bool:
        return bool(self._drafts or self._done)

    @property
    def is_settled(self) -> bool:
        """Everything said so far is on the broker."""
        return not (self or self._writing)

    def taken(self, gateway: str, group_id: str, attempt: int) -> None:
        self._draft(gateway).taken.append(Taken(group_id=group_id, attempt=attempt))

    def released(self, gateway: str, group_id: str) -> None:
        self._draft(gateway).released.append(group_id)

    def event(self, gateway: str, event: Event) -> None:
        self._draft(gateway).events.append(event)

    def step(self, shares: dict[str, GatewayEvents]) -> None:
        for gateway, share in shares.items():
            self._draft(gateway).events.extend(share.events)
            for entry in share.done:
                self.done(entry)

    def done(self, entry: bytes) -> None:
        self._done.append(entry)
        self.unsettled.add(entry)

    def keep_alive(self, gateways: Iterable[str]) -> None:
        """Adds an empty message for each gateway that heard nothing since the last call."""
        for gateway in self._talked.silent(gateways):
            self._draft(gateway)

    def forget(self, gateways: Iterable[str]) -> None:
        for gateway in gateways:
            self._drafts.pop(gateway, None)

    def take(self) -> Batch:
        """All that is to say now. `written` follows when the broker has it."""
        self._writing = True
        drafts, self._drafts = self._drafts, {}
        done, self._done = self._done, []
        messages = []
        for gateway, draft in drafts.items():
            self._talked.note(gateway)
            message = Results(
                worker=self._worker_id,
                seq=self._numbers.next(gateway),
                taken=tuple(draft.taken),
                released=tuple(draft.released),
                events=tuple(draft.events),
            )
            messages.append((gateway, message))
        return Batch(messages=tuple(messages), done=tuple(done))

    def written(self, batch: Batch) -> None:
        self._writing = False
        self.unsettled.difference_update(batch.done)

    def _draft(self, gateway: str) -> _Draft:
        return self._drafts.setdefault(gateway, _Draft())
