"""A gateway's groups on the broker: who runs each, and what is to be said to whom.

The decisions, without the reading and writing. Everything runs on the event loop's thread.
`model.wire` says what the messages mean.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

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
    PathOutput,
    Submit,
)
from model.delivery import Incoming, Talked
from model.wire import Results, Taken

REMEMBERED = 4_096
"""Groups that ended, of which it is known who ran them."""


@dataclass
class Session:
    """One group. entry: of its work message, once written. owner: the worker that took it.

    replay: commands that a next owner must hear too; of no use once the group has started.
    """

    group: Group
    since: float = field(default_factory=time.monotonic)
    attempt: int = 1
    entry: bytes | None = None
    owner: str | None = None
    started: bool = False
    over: bool = False
    replay: list[Extend | Abort] = field(default_factory=list)
    missed_since: float | None = None
    handed_at: float | None = None
    """When it was handed to a worker that has not answered yet; monotonic."""

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.since

    @property
    def sequences(self) -> int:
        return max(1, len(self.group.paths))


@dataclass(frozen=True)
class Post:
    """Write the group's work message and note its entry."""

    session: Session


@dataclass(frozen=True)
class Tell:
    worker: str
    command: Extend | Abort | None


@dataclass(frozen=True)
class Hand:
    """Give the group to this worker itself."""

    worker: str
    session: Session


@dataclass(frozen=True)
class Withdraw:
    """Delete the group's work entry, wherever it is."""

    session: Session


Action = Post | Tell | Hand | Withdraw


class Sessions:
    """deliver: takes events on to their readers. wake: there are actions to carry out.
    admit: raises WorkerUnavailable when nothing can take a group now."""

    def __init__(
        self,
        deliver: Callable[[Iterable[Event]], None],
        wake: Callable[[], None],
        admit: Callable[[], None],
    ) -> None:
        self._deliver = deliver
        self._wake = wake
        self._admit = admit
        self._open: dict[str, Session] = {}
        self._ran: OrderedDict[str, str] = OrderedDict()
        self._numbers = Incoming()
        self._talked = Talked()
        self.actions: deque[Action] = deque()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def waiting(self) -> int:
        """Sequences that no worker has taken yet."""
        return sum(s.sequences for s in self._open.values() if s.owner is None)

    @property
    def owners(self) -> set[str]:
        return {s.owner for s in self._open.values() if s.owner is not None}

    @property
    def unposted(self) -> int:
        """Groups whose work message is not on the broker yet."""
        return sum(s.entry is None and s.owner is None for s in self._open.values())

    def unowned(self) -> list[Session]:
        """Sessions that are on the broker and that no worker has claimed, oldest first."""
        return [s for s in self._open.values() if s.owner is None and s.entry is not None]

    def send(self, command: Command) -> None:
        """What `service.workers.streams` asks for."""
        if isinstance(command, Submit):
            if command.group.prompt.media:
                self._refuse_media(command.group.id)
                return
            self._admit()
            session = Session(group=command.group)
            near = self._runs(command.group.near)
            self._open[command.group.id] = session
            if near is not None:
                session.owner, session.handed_at = near, time.monotonic()
                self._act(Hand(near, session))
            else:
                self._act(Post(session))
            return
        found = self._open.get(command.group_id)
        if found is None:
            return
        if not found.started:
            found.replay.append(command)
        if found.owner is not None:
            self._act(Tell(found.owner, command))
        elif isinstance(command, Abort) and command.paths is None:
            self._withdraw(found)

    def _refuse_media(self, group_id: str) -> None:
        # A work message would carry megabytes, once more for each worker that it is handed to.
        message = "images do not travel over the broker: a server with its own model takes them"
        self._deliver(
            [GroupFailed(group_id=group_id, code="invalid", message=message, param="prompt")]
        )

    def hear(self, results: Results) -> None:
        verdict = self._numbers.accept(results.worker, results.seq)
        if verdict == "repeated":
            return
        if verdict == "gap":
            lost = [s for s in self._open.values() if s.owner == results.worker]
            self.fail(lost, "the broker lost results of this group")
        for taken in results.taken:
            self._taken(results.worker, taken)
        for group_id in results.released:
            self._released(results.worker, group_id)
        heard = []
        for event in results.events:
            session = self._open.get(event.group_id)
            if session is None or session.owner != results.worker:
                continue
            heard.append(event)
            if isinstance(event, GroupStarted):
                session.started = True
                session.replay.clear()
            elif isinstance(event, GroupClosed | GroupFailed):
                self._end(session)
        self._deliver(heard)

    def keep_alive(self) -> None:
        """Says to every owner that heard nothing since the last call that it is still wanted."""
        for worker in self._talked.silent(self.owners):
            self._act(Tell(worker, None))

    def told(self, worker: str) -> None:
        self._talked.note(worker)

    def lose_workers(self, alive: Collection[str]) -> None:
        """Ends groups whose owner is gone. What it was handed and did not take goes to others."""
        for session in self._handed():
            if session.owner not in alive:
                self._post_again(session)
        lost = [s for s in self._open.values() if s.owner is not None and s.owner not in alive]
        self.fail(lost, "the worker that ran this group is gone")
        for group_id in [one for one, owner in self._ran.items() if owner not in alive]:
            del self._ran[group_id]

    def take_back(self, patience_s: float) -> None:
        """Posts what a worker was handed and has not answered for in time, for any to take. Should
        it answer later, it hears an abort, since its attempt is not the newest."""
        now = time.monotonic()
        for session in self._handed():
            if session.handed_at is not None and now - session.handed_at > patience_s:
                self._post_again(session)

    def _handed(self) -> list[Session]:
        return [s for s in self._open.values() if s.handed_at is not None]

    def fail(self, sessions: Iterable[Session], message: str) -> None:
        failed = list(sessions)
        for session in failed:
            self._end(session)
            if session.owner is not None:
                self._act(Tell(session.owner, Abort(group_id=session.group.id)))
            self._act(Withdraw(session))
        self._deliver(
            GroupFailed(group_id=s.group.id, code="unavailable", message=message) for s in failed
        )

    def fail_unowned(self, message: str) -> None:
        self.fail([s for s in self._open.values() if s.owner is None], message)

    def fail_all(self, message: str) -> None:
        self.fail(self._open.values(), message)

    def fail_missing(self, queued: Collection[bytes], patience_s: float) -> None:
        """Ends groups that have been neither queued nor owned for `patience_s`: the broker lost
        them, or a worker died with them in its hands.

        queued: entries that the broker has and gave to no worker.
        """
        now = time.monotonic()
        lost = []
        for session in self.unowned():
            if session.entry in queued:
                session.missed_since = None
            elif session.missed_since is None:
                session.missed_since = now
            elif now - session.missed_since > patience_s:
                lost.append(session)
        self.fail(lost, "the group was lost on its way to a worker")

    def _runs(self, group_id: str) -> str | None:
        """The worker that runs a group, or ran it."""
        session = self._open.get(group_id)
        return self._ran.get(group_id) if session is None else session.owner

    def _taken(self, worker: str, taken: Taken) -> None:
        session = self._open.get(taken.group_id)
        if session is not None and session.owner == worker:
            session.handed_at = None
            return
        if session is None or session.owner is not None or session.attempt != taken.attempt:
            self._act(Tell(worker, Abort(group_id=taken.group_id)))
            return
        session.owner = worker
        session.missed_since = None
        for command in session.replay:
            self._act(Tell(worker, command))

    def _released(self, worker: str, group_id: str) -> None:
        session = self._open.get(group_id)
        if session is None or session.owner != worker or session.started:
            return
        self._post_again(session)

    def _post_again(self, session: Session) -> None:
        session.owner = session.entry = session.handed_at = None
        session.attempt += 1
        if any(isinstance(c, Abort) and c.paths is None for c in session.replay):
            self._withdraw(session)
            return
        self._act(Post(session))

    def _withdraw(self, session: Session) -> None:
        """Ends a group that nobody runs. Should a worker have it in hand, `Taken` tells us, and
        it hears an abort."""
        self._end(session)
        self._act(Withdraw(session))
        group = session.group
        paths = [path.index for path in group.paths]
        for command in session.replay:
            if isinstance(command, Extend):
                paths.extend(path.index for path in command.paths)
        aborted = Finish(reason="abort")
        self._deliver(PathOutput(group_id=group.id, path=path, finish=aborted) for path in paths)
        self._deliver([GroupClosed(group_id=group.id)])

    def _end(self, session: Session) -> None:
        session.over = True
        self._open.pop(session.group.id, None)
        if session.owner is not None:
            self._ran[session.group.id] = session.owner
            if len(self._ran) > REMEMBERED:
                self._ran.popitem(last=False)

    def _act(self, action: Action) -> None:
        self.actions.append(action)
        self._wake()
