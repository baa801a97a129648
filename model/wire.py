"""What travels over Redis or Valkey: key names and messages. No jax, no client library.

    gateway ── Work ─────► pollux:1:{model}:work              one consumer group, all workers
    gateway ── Control ──► pollux:1:{model}:control:<worker>  aborts and extensions of its groups
    worker  ── Results ──► pollux:1:{model}:results:<gateway> one message per step and gateway

Rules that readers and writers keep:

- A worker owns a group from `Taken` to its last event. Its work entry is acknowledged and deleted
  only then, so `XPENDING` always says who runs what, and `XLEN` how much there is.
- A group that is to run near another is handed to that one's worker over Control and has no work
  entry. The worker says `Taken`, or hands it back (`released`) when it has no room; a gateway that
  hears neither takes it back. Then it becomes a work entry like any other, as a new attempt.
- Only the owner of the newest attempt is heard; a worker that lost a group cannot disturb it.
- Results and Control are numbered per sender and receiver, from 1. A repeated number is a retry
  and is dropped, a missing one means that the broker lost messages: what depended on them fails.
  Who has nothing to say for a heartbeat sends an empty message, so a loss never goes unnoticed.
- Every key expires, every reader deletes what it has read. Liveness is a key with a short lease.
- Fields are only added, with defaults; what cannot be read compatibly gets a new `VERSION`, whose
  keys the old one never sees. Keys of a model share a hash tag, so a cluster keeps them together.
"""

from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from model.contract import (
    Abort,
    Event,
    Extend,
    Group,
    ModelCard,
    Record,
    WorkerStatus,
)

VERSION = 1
PREFIX = f"pollux:{VERSION}"

CONSUMER_GROUP = "workers"
FIELD = b"m"
"""The one field of every stream entry: the message as msgpack."""

WORK_TTL_MS = 24 * 3600 * 1000
MAILBOX_TTL_MS = 10 * 60 * 1000
TEXT_TTL_MS = 3600 * 1000

MAX_BACKLOG = 10_000
"""Work entries, queued and running, beyond which a gateway refuses: trimming would lose them."""
MAX_MAILBOX = 50_000
"""Entries of a mailbox whose reader does not read. What is trimmed shows as a missing number."""
MAX_TEXT_BYTES = 256 * 2**20

MODELS = f"{PREFIX}:models"


@dataclass(frozen=True)
class Timing:
    """heartbeat_s: how often each side says that it lives. lease_s: after how long a silence it
    counts as gone, and how long it goes on itself when it cannot reach the broker."""

    heartbeat_s: float = 2.0
    lease_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_s * 2 <= self.lease_s:
            raise ValueError("lease_s must be at least twice heartbeat_s")

    @property
    def lease_ms(self) -> int:
        return int(self.lease_s * 1000)

    @property
    def block_ms(self) -> int:
        """How long a read waits, hence how soon its reader notices that it should stop."""
        return int(min(self.heartbeat_s, 0.5) * 1000)

    @property
    def absence_s(self) -> float:
        """How long a lease must be missing before its holder counts as gone: after a broker
        came back empty, everyone has the time to say that they are there."""
        return self.lease_s / 2


@dataclass(frozen=True)
class Keys:
    """The keys of one model."""

    model: str

    @property
    def _base(self) -> str:
        return f"{PREFIX}:{{{quote(self.model, safe='')}}}"

    @property
    def work(self) -> str:
        return f"{self._base}:work"

    @property
    def identity(self) -> str:
        """What all workers of the model must agree on, see `identity_of`."""
        return f"{self._base}:identity"

    @property
    def workers(self) -> str:
        """Ids of workers that may be alive; whoever is has a `worker` key as well."""
        return f"{self._base}:workers"

    @property
    def gateways(self) -> str:
        return f"{self._base}:gateways"

    def worker(self, worker_id: str) -> str:
        return f"{self._base}:worker:{worker_id}"

    def gateway(self, gateway_id: str) -> str:
        return f"{self._base}:gateway:{gateway_id}"

    def control(self, worker_id: str) -> str:
        return f"{self._base}:control:{worker_id}"

    def results(self, gateway_id: str) -> str:
        return f"{self._base}:results:{gateway_id}"


def text_key(digest: str) -> str:
    """Text assets by the sha256 of their encoding (`model.text.assets`)."""
    return f"{PREFIX}:text:{digest}"


def identity_of(card: ModelCard) -> str:
    """Workers under one model name must compute the same tokens from the same seed."""
    return f"{card.fingerprint}/{card.dtype}/{card.tokenizer}/{card.context}"


class WorkHead(Record, frozen=True):
    """The part of a work message that any version can read, to answer what it cannot run.

    attempt: counts submissions of the group, from 1. waited_s: what earlier attempts and the
    gateway took of its deadline; the time in the stream comes from the entry's id.
    """

    gateway: str
    group_id: str
    attempt: int = 1
    waited_s: float = 0.0


class Work(WorkHead, frozen=True, kw_only=True):
    group: Group


class Control(Record, frozen=True):
    """command: None says no more than that the gateway goes on with the worker. work: a group that
    this worker is asked to run before any other, see `Group.near`."""

    gateway: str
    seq: int
    command: Extend | Abort | None = None
    work: Work | None = None


class Taken(Record, frozen=True, array_like=True):
    """The sender owns this attempt of the group from now on."""

    group_id: str
    attempt: int


class Results(Record, frozen=True):
    """released: groups the sender owned and never started; their gateway submits them again."""

    worker: str
    seq: int
    taken: tuple[Taken, ...] = ()
    released: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()


class WorkerRecord(Record, frozen=True):
    """started: unix time, for people. started and host decide nothing."""

    id: str
    card: ModelCard
    status: WorkerStatus
    started: float
    host: str = ""


class GatewayRecord(Record, frozen=True):
    """waiting: sequences it submitted that no worker has taken yet."""

    id: str
    started: float
    host: str = ""
    waiting: int = 0


class _LooseResults(Record, frozen=True):
    worker: str
    seq: int
    taken: tuple[Taken, ...] = ()
    released: tuple[str, ...] = ()
    events: tuple[msgspec.Raw, ...] = ()


_work = msgspec.msgpack.Decoder(Work)
_work_head = msgspec.msgpack.Decoder(WorkHead)
_control = msgspec.msgpack.Decoder(Control)
_results = msgspec.msgpack.Decoder(Results)
_loose_results = msgspec.msgpack.Decoder(_LooseResults)
_event = msgspec.msgpack.Decoder(Event)
_worker_record = msgspec.msgpack.Decoder(WorkerRecord)
_gateway_record = msgspec.msgpack.Decoder(GatewayRecord)


def decode_work(data: bytes) -> Work:
    """Raises msgspec.ValidationError for what this version does not understand."""
    return _work.decode(data)


def decode_work_head(data: bytes) -> WorkHead:
    return _work_head.decode(data)


def decode_control(data: bytes) -> Control:
    return _control.decode(data)


def decode_results(data: bytes) -> Results:
    """Events of kinds that this version does not know are left out."""
    try:
        return _results.decode(data)
    except msgspec.ValidationError:
        loose = _loose_results.decode(data)
    known = []
    for raw in loose.events:
        try:
            known.append(_event.decode(raw))
        except msgspec.ValidationError:
            continue
    return Results(
        worker=loose.worker,
        seq=loose.seq,
        taken=loose.taken,
        released=loose.released,
        events=tuple(known),
    )


def decode_worker(data: bytes) -> WorkerRecord:
    return _worker_record.decode(data)


def decode_gateway(data: bytes) -> GatewayRecord:
    return _gateway_record.decode(data)
