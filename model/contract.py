"""The words that gateway and worker share, and nothing else.

A gateway sends commands (`Submit`, `Extend`, `Abort`); a worker answers with events. The same
types travel between threads and, as msgpack, over a broker. Fields are only ever added, with
defaults: a reader ignores what it does not know, so versions may differ across a deployment.

    Group = one prompt, n paths. The prompt is prefilled once, every path continues from it.

No jax here: a gateway that imports this stays light.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

MAX_PATHS = 256
MAX_STOP_STRINGS = 16
MAX_STOP_STRING_CHARS = 256
MAX_STOP_IDS = 16
MAX_LOGPROBS = 20
MAX_LOGIT_BIAS = 300
MAX_REPETITION_PENALTY = 10
MAX_SEED = 2**63 - 1


class InvalidParameter(ValueError):
    """A value that no worker accepts. `param` names it in the contract's words."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class WorkerUnavailable(Exception):
    """No worker can take the group now; the caller may try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all contract types: immutable, compared by value, unknown fields ignored."""


# --- what a gateway asks ---------------------------------------------------------------------


class TokenSegment(Record, frozen=True, tag="tokens"):
    """A run of token ids. Control tokens are in here only when a template put them there."""

    ids: tuple[int, ...]


# Media segments join this union; a prompt is a sequence of segments from the first day.
Segment = TokenSegment


class Prompt(Record, frozen=True):
    """What all paths of a group share: interleaved segments, in order."""

    segments: tuple[Segment, ...]

    @classmethod
    def of_tokens(cls, ids: Sequence[int]) -> Self:
        return cls(segments=(TokenSegment(ids=tuple(ids)),))

    def token_ids(self) -> tuple[int, ...]:
        return tuple(token for segment in self.segments for token in segment.ids)

    def __len__(self) -> int:
        return sum(len(segment.ids) for segment in self.segments)


class SamplingParams(Record, frozen=True):
    """How one path is sampled and when it ends.

    temperature: 0 is greedy. top_k: 0 is off. logprobs: None is none, n >= 0 returns the chosen
    token's and the n likeliest, of the model's own distribution (before penalties, bias,
    temperature and filters).
    seed: the path's tokens are a function of (logits, seed, position) alone.
    stop: strings that end the path; they and what follows are not in its text.
    min_tokens: no end-of-sequence, stop id or stop string takes effect before so many tokens.
    presence_penalty, frequency_penalty: taken off the logit of a token that the path generated,
    the one once, the other times its count. repetition_penalty: the logit of a token that the
    prompt or the path holds is divided by it if positive, multiplied by it if not; 1 is off.
    Penalties come first, then logit_bias is added, then temperature and filters.
    certainty: with logprobs, also how far each distribution is from uniform.

    Raises InvalidParameter when a value is out of range.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    certainty: bool = False

    def __post_init__(self) -> None:
        _require(self.max_tokens >= 0, "max_tokens", "max_tokens must not be negative")
        # NaN fails every comparison, so each bound is written to be false for it.
        _require(0 <= self.temperature <= 100, "temperature", "temperature must be in [0, 100]")
        _require(0 <= self.top_k <= 2**31 - 1, "top_k", "top_k must be 0 (off) or positive")
        _require(0 < self.top_p <= 1, "top_p", "top_p must be in (0, 1]")
        _require(0 <= self.min_p <= 1, "min_p", "min_p must be in [0, 1]")
        _require(0 <= self.seed <= MAX_SEED, "seed", f"seed must be in [0, {MAX_SEED}]")
        _require(self.min_tokens >= 0, "min_tokens", "min_tokens must not be negative")
        _require(
            self.min_tokens <= self.max_tokens,
            "min_tokens",
            "min_tokens must not exceed max_tokens",
        )
        _require(
            len(self.stop) <= MAX_STOP_STRINGS,
            "stop",
            f"at most {MAX_STOP_STRINGS} stop strings",
        )
        for text in self.stop:
            _require(
                0 < len(text) <= MAX_STOP_STRING_CHARS,
                "stop",
                f"a stop string must have 1 to {MAX_STOP_STRING_CHARS} characters",
            )
        _require(
            len(self.stop_ids) <= MAX_STOP_IDS,
            "stop_ids",
            f"at most {MAX_STOP_IDS} stop token ids",
        )
        _require(
            self.logprobs is None or 0 <= self.logprobs <= MAX_LOGPROBS,
            "logprobs",
            f"logprobs must be in [0, {MAX_LOGPROBS}]",
        )
        _require(
            len(self.logit_bias) <= MAX_LOGIT_BIAS,
            "logit_bias",
            f"at most {MAX_LOGIT_BIAS} logit biases",
        )
        for _, bias in self.logit_bias:
            _require(-100 <= bias <= 100, "logit_bias", "a logit bias must be in [-100, 100]")
        _require(
            -2 <= self.presence_penalty <= 2,
            "presence_penalty",
            "presence_penalty must be in [-2, 2]",
        )
        _require(
            -2 <= self.frequency_penalty <= 2,
            "frequency_penalty",
            "frequency_penalty must be in [-2, 2]",
        )
        _require(
            0 < self.repetition_penalty <= MAX_REPETITION_PENALTY,
            "repetition_penalty",
            f"repetition_penalty must be in (0, {MAX_REPETITION_PENALTY}]",
        )

    @property
    def penalises(self) -> bool:
        """Whether what was generated before changes what is likely next."""
        return bool(self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1)


def _require(condition: bool, param: str, message: str) -> None:
    if not condition:
        raise InvalidParameter(param, message)


class PathRequest(Record, frozen=True):
    """One continuation of a group's prompt.

    suffix: prompt tokens of this path alone. generated: tokens that an earlier worker already
    delivered; the path goes on after them as if it had never stopped.
    """

    index: int
    sampling: SamplingParams
    suffix: tuple[int, ...] = ()
    generated: tuple[int, ...] = ()


class Group(Record, frozen=True):
    """The engine's unit of work: one prompt, n paths.

    open: more paths may follow (`Extend`), so the prompt's pages stay until the group is aborted
    as a whole. prompt_logprobs: score the prompt's own tokens, with so many alternatives each.
    deadline_s: seconds from submission after which the worker aborts what is left.
    """

    id: str
    prompt: Prompt
    paths: tuple[PathRequest, ...]
    open: bool = False
    prompt_logprobs: int | None = None
    deadline_s: float | None = None


class Submit(Record, frozen=True, tag="submit"):
    group: Group


class Extend(Record, frozen=True, tag="extend"):
    """Adds paths to an open group; they share the prompt that is already prefilled."""

    group_id: str
    paths: tuple[PathRequest, ...]


class Abort(Record, frozen=True, tag="abort"):
    """Ends the named paths, or the whole group when `paths` is None. Idempotent."""

    group_id: str
    paths: tuple[int, ...] | None = None


Command = Submit | Extend | Abort


# --- what a worker answers -------------------------------------------------------------------


class TokenLogprob(Record, frozen=True, array_like=True):
    """Natural-log probability of one token, and the likeliest (id, logprob) pairs at its place.

    certainty: KL divergence of the distribution from the uniform one, KL(U || p), in nats
    (arXiv 2502.18581); None when it was not asked for.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    certainty: float | None = None


FinishReason = Literal["stop", "length", "abort"]


class Finish(Record, frozen=True):
    """Why a path ended. `matched` is the stop string or token id that ended it, if one did."""

    reason: FinishReason
    matched: str | int | None = None


class GroupStarted(Record, frozen=True, tag="started"):
    """The group left the queue. queued_s: seconds it waited, on the worker's clock."""

    group_id: str
    prompt_tokens: int
    cached_tokens: int = 0
    queued_s: float = 0.0


class PromptScored(Record, frozen=True, tag="scored"):
    """Logprobs of the prompt's tokens from its second on (the first has no context)."""

    group_id: str
    logprobs: tuple[TokenLogprob, ...]


class PathOutput(Record, frozen=True, tag="output"):
    """What a path produced in one step.

    tokens: sampled ids, in order, the one that ended the path included. text: what they add to
    the visible text; it lags behind the tokens while bytes of a character are missing or a stop
    string may be forming, and is complete when `finish` is set.
    """

    group_id: str
    path: int
    tokens: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: Finish | None = None


FailureCode = Literal["invalid", "capacity", "internal", "unavailable", "deadline"]


class GroupFailed(Record, frozen=True, tag="failed"):
    """The group ends here, with an error. invalid: the request can never run on this worker."""

    group_id: str
    code: FailureCode
    message: str
    param: str | None = None


class GroupClosed(Record, frozen=True, tag="closed"):
    """The last event of a group that did not fail: all its paths are finished, its pages free."""

    group_id: str


Event = GroupStarted | PromptScored | PathOutput | GroupFailed | GroupClosed


# --- what a worker is ------------------------------------------------------------------------


class ModelCard(Record, frozen=True):
    """What a gateway must know of a model to speak for it.

    tokenizer: sha256 of the text assets (`model.text.assets`). fingerprint: identity of weights.
    """

    name: str
    family: str
    context: int
    vocab_size: int
    fingerprint: str
    quantization: str
    dtype: str
    parameters: int
    has_chat_template: bool
    tokenizer: str


WorkerState = Literal["starting", "ready", "draining", "failed", "stopped"]


class WorkerStatus(Record, frozen=True):
    """A worker's gauges and lifetime counters, as of now."""

    state: WorkerState
    detail: str = ""
    progress: float | None = None
    waiting: int = 0
    running: int = 0
    groups: int = 0
    pages_used: int = 0
    pages_total: int = 0
    page_size: int = 0
    max_rows: int = 0
    steps: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    preemptions: int = 0
    compilations_after_warmup: int = 0


class GroupStream(Protocol):
    """A submitted group. Iterate for its events; leaving the context aborts what still runs."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def extend(self, paths: Sequence[PathRequest]) -> None: ...

    async def abort(self, paths: Collection[int] | None = None) -> None: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Worker(Protocol):
    """Where groups run: the engine of this process, or a pool of them behind a broker."""

    def open(self, group: Group) -> GroupStream:
        """Submits on entering the context. Raises WorkerUnavailable when nothing can take it."""
        ...

    def status(self) -> WorkerStatus: ...


_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_events_decoder = msgspec.msgpack.Decoder(tuple[Event, ...])


def encode(message: Command | Sequence[Event] | Record) -> bytes:
    return _encoder.encode(message)


def decode_command(data: bytes) -> Command:
    """Raises msgspec.ValidationError on anything that is not a command within its bounds."""
    return _command_decoder.decode(data)


def decode_events(data: bytes) -> tuple[Event, ...]:
    return _events_decoder.decode(data)
