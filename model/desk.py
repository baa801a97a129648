"""What a worker does with the messages it gets: the decisions, without the reading and writing.

Everything here runs on the event loop's thread. The engine is told through `send`; what gateways
are to hear goes into the outbox, and `wake` says that there is something in it.
"""

import time
from collections.abc import Callable, Collection, Iterable

import msgspec

from model.contract import Abort, Command, Event, FailureCode, GroupFailed, Submit
from model.delivery import Incoming
from model.ledger import Ledger, Owned
from model.outbox import Outbox
from model.wire import Control, Work, WorkHead


class Desk:
    def __init__(
        self, worker_id: str, send: Callable[[Command], None], wake: Callable[[], None]
    ) -> None:
        self.ledger = Ledger(capacity=0)
        self.outbox = Outbox(worker_id)
        self._send = send
        self._wake = wake
        self._numbers = Incoming()
        self._heard: dict[str, float] = {}
        self.closing = False
        """No group is taken that could run elsewhere."""

    def holds(self, entry: bytes) -> bool:
        return entry in self.ledger.entries or entry in self.outbox.unsettled

    def own(self, entry: bytes, work: Work, waited_s: float) -> None:
        """Takes a group over and starts it. waited_s: since it was first submitted."""
        self._heard[work.gateway] = time.monotonic()
        known = self.ledger.get(work.group_id)
        if known is not None and known.gateway == work.gateway:
            self.settle(entry)  # written twice, by a gateway whose connection broke
            return
        if known is not None:
            self.refuse(entry, work, "invalid", "a group with this id runs for another gateway")
            return
        group = work.group
        if group.deadline_s is not None:
            if group.deadline_s <= waited_s:
                self.refuse(entry, work, "deadline", "the deadline passed before a worker was free")
                return
            group = msgspec.structs.replace(group, deadline_s=group.deadline_s - waited_s)
        self.ledger.take(entry, work, waited_s)
        self.outbox.taken(work.gateway, work.group_id, work.attempt)
        self._send(Submit(group=group))
        self._wake()

    def refuse(self, entry: bytes, head: WorkHead, code: FailureCode, message: str) -> None:
        """Answers for a group that this worker does not run, so that it ends."""
        failed = GroupFailed(group_id=head.group_id, code=code, message=message)
        self.outbox.taken(head.gateway, head.group_id, head.attempt)
        self.outbox.event(head.gateway, failed)
        self.settle(entry)

    def settle(self, entry: bytes) -> None:
        if entry:
            self.outbox.done(entry)
        self._wake()

    def obey(self, control: Control) -> None:
        """Passes a command on, if it is new and of the group's own gateway."""
        self._heard[control.gateway] = time.monotonic()
        verdict = self._numbers.accept(control.gateway, control.seq)
        if verdict == "repeated":
            return
        if verdict == "gap":
            lost = self.ledger.of_gateways([control.gateway])
            self.fail(lost, "unavailable", "the broker lost commands of this group")
        if control.work is not None:
            self._be_handed(control.work)
        if control.command is not None and self.ledger.permits(control.gateway, control.command):
            self._send(control.command)

    def _be_handed(self, work: Work) -> None:
        """Runs a group that wants to be on this worker, or gives it back for any other to take."""
        if self.closing or not self.ledger.has_room:
            self.outbox.released(work.gateway, work.group_id)
            self._wake()
            return
        self.own(b"", work, work.waited_s)

    def sort(self, events: Iterable[Event]) -> None:
        """Hands the engine's events to the gateways they are for."""
        self.outbox.step(self.ledger.observe(events))
        self._wake()

    def hand_back(self) -> None:
        """Returns what has not started; no gateway has seen anything of it."""
        for owned in self.ledger.not_started():
            self._drop(owned)
            self.outbox.released(owned.gateway, owned.group_id)
        self._wake()

    def fail(self, groups: Iterable[Owned], code: FailureCode, message: str) -> None:
        for owned in groups:
            self._drop(owned)
            failed = GroupFailed(group_id=owned.group_id, code=code, message=message)
            self.outbox.event(owned.gateway, failed)
        self._wake()

    def silent_gateways(self, alive: Collection[str], since: float, absence_s: float) -> set[str]:
        """Gateways with groups here that said nothing for `absence_s` and are not `alive`.

        since: monotonic time before which nobody could be heard.
        """
        now = time.monotonic()
        for gateway in alive:
            self._heard[gateway] = now
        self._heard = {g: at for g, at in self._heard.items() if g in self.ledger.gateways}
        return {
            gateway
            for gateway, at in self._heard.items()
            if gateway not in alive and now - max(at, since) > absence_s
        }

    def forget(self, gateways: Collection[str]) -> int:
        """Ends what runs for gateways that are gone. Returns how many groups that were."""
        groups = self.ledger.of_gateways(gateways)
        for owned in groups:
            self._drop(owned)
        self.outbox.forget(gateways)
        self._wake()
        return len(groups)

    def _drop(self, owned: Owned) -> None:
        self._send(Abort(group_id=owned.group_id))
        self.ledger.drop(owned.group_id)
        if owned.entry:
            self.outbox.done(owned.entry)
