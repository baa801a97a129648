"""Which groups a worker owns, for whom, and how much more it may take. Pure bookkeeping."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from model.contract import (
    Abort,
    Command,
    Event,
    Extend,
    GroupStarted,
    PathOutput,
    PrefixHeld,
    PromptEmbedded,
    PromptScored,
)
from model.wire import Work


@dataclass
class Owned:
    """A group from its work entry to its last event.

    entry: the id to acknowledge it with, empty of a group that was handed over. held: its prefix is
    there, and nothing is left to do until it is let go. waited_s: how long it waited before it came
    here.
    """

    group_id: str
    gateway: str
    attempt: int
    entry: bytes
    unfinished: set[int]
    waited_s: float = 0.0
    started: bool = False
    held: bool = False

    @property
    def sequences(self) -> int:
        """An open group without running paths may get some; a prefix that is held never does."""
        return 0 if self.held else max(1, len(self.unfinished))


@dataclass
class GatewayEvents:
    """What a batch of events means for one gateway: they pass on, and these entries are done."""

    events: list[Event] = field(default_factory=list)
    done: list[bytes] = field(default_factory=list)


class Ledger:
    """capacity: sequences after which no more work is read. The group that reaches it may go
    beyond, since how many paths a group has is known only once it is read."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._groups: dict[str, Owned] = {}

    def __len__(self) -> int:
        return len(self._groups)

    @property
    def sequences(self) -> int:
        return sum(owned.sequences for owned in self._groups.values())

    @property
    def has_room(self) -> bool:
        return self.sequences < self.capacity

    @property
    def gateways(self) -> set[str]:
        return {owned.gateway for owned in self._groups.values()}

    @property
    def entries(self) -> set[bytes]:
        return {owned.entry for owned in self._groups.values() if owned.entry}

    def get(self, group_id: str) -> Owned | None:
        return self._groups.get(group_id)

    def not_started(self) -> list[Owned]:
        return [owned for owned in self._groups.values() if not owned.started]

    def held(self) -> list[Owned]:
        return [owned for owned in self._groups.values() if owned.held]

    def of_gateways(self, gateways: Collection[str]) -> list[Owned]:
        return [owned for owned in self._groups.values() if owned.gateway in gateways]

    def all(self) -> list[Owned]:
        return list(self._groups.values())

    def take(self, entry: bytes, work: Work, waited_s: float = 0.0) -> Owned:
        """Raises ValueError when a group of that id is owned already."""
        if work.group_id in self._groups:
            raise ValueError(f"group {work.group_id} is owned already")
        owned = Owned(
            group_id=work.group_id,
            gateway=work.gateway,
            attempt=work.attempt,
            entry=entry,
            unfinished={path.index for path in work.group.paths},
            waited_s=waited_s,
        )
        self._groups[work.group_id] = owned
        return owned

    def drop(self, group_id: str) -> Owned | None:
        """Gives the group up: whatever the engine still says of it is ignored from now on."""
        return self._groups.pop(group_id, None)

    def permits(self, gateway: str, command: Command) -> bool:
        """Whether the command is of the group's own gateway. Extensions are counted at once."""
        if not isinstance(command, Extend | Abort):
            return False
        owned = self._groups.get(command.group_id)
        if owned is None or owned.gateway != gateway:
            return False
        if isinstance(command, Extend):
            owned.unfinished.update(path.index for path in command.paths)
        return True

    def observe(self, events: Iterable[Event]) -> dict[str, GatewayEvents]:
        """Sorts a step's events by gateway, in order, and closes what they end."""
        sorted_: dict[str, GatewayEvents] = {}
        for event in events:
            owned = self._groups.get(event.group_id)
            if owned is None:
                continue
            share = sorted_.setdefault(owned.gateway, GatewayEvents())
            if isinstance(event, GroupStarted):
                owned.started = True
                event = replace(event, queued_s=event.queued_s + owned.waited_s)
            share.events.append(event)
            if isinstance(event, PrefixHeld):
                owned.held = True
            if isinstance(event, GroupStarted | PrefixHeld | PromptScored | PromptEmbedded):
                continue
            if isinstance(event, PathOutput):
                if event.finish is not None:
                    owned.unfinished.discard(event.path)
            else:
                if owned.entry:
                    share.done.append(owned.entry)
                del self._groups[event.group_id]
        return sorted_
