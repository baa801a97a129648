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

from model.media_segment import MediaSegment as MediaSegment
from model.records import InvalidParameter as InvalidParameter
from model.records import Record as Record
from model.sampling_params import MAX_CLOSING as MAX_CLOSING
from model.sampling_params import MAX_GRAMMAR_BYTES as MAX_GRAMMAR_BYTES
from model.sampling_params import MAX_LOGIT_BIAS as MAX_LOGIT_BIAS
from model.sampling_params import MAX_LOGPROBS as MAX_LOGPROBS
from model.sampling_params import MAX_MARKER_BYTES as MAX_MARKER_BYTES
from model.sampling_params import MAX_REPETITION_PENALTY as MAX_REPETITION_PENALTY
from model.sampling_params import MAX_SEED as MAX_SEED
from model.sampling_params import MAX_STOP_IDS as MAX_STOP_IDS
from model.sampling_params import MAX_STOP_STRING_CHARS as MAX_STOP_STRING_CHARS
from model.sampling_params import MAX_STOP_STRINGS as MAX_STOP_STRINGS
from model.sampling_params import Constraint as Constraint
from model.sampling_params import SamplingParams as SamplingParams

MAX_PATHS = 256
MAX_SCOPE_CHARS = 256
MAX_NEAR_CHARS = 256


class WorkerUnavailable(Exception):
    """No worker can take the group now; the caller may try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


# --- what a gateway asks ---------------------------------------------------------------------


class TokenSegment(Record, frozen=True, tag="tokens"):
    """A run of token ids. Control tokens are in here only when a template put them there."""

    ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


Segment = TokenSegment | MediaSegment


class Prompt(Record, frozen=True):
    """What all paths of a group share: interleaved segments, in order."""

    segments: tuple[Segment, ...]

    @classmethod
    def of_tokens(cls, ids: Sequence[int]) -> Self:
        return cls(segments=(TokenSegment(ids=tuple(ids)),))

    def token_ids(self) -> tuple[int, ...]:
        """Placeholders where media stand."""
        return tuple(token for segment in self.segments for token in segment.ids)

    @property
    def media(self) -> tuple[MediaSegment, ...]:
        return tuple(part for part in self.segments if isinstance(part, MediaSegment))

    def __len__(self) -> int:
        return sum(map(len, self.segments))


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
    deadline_s: seconds from submission after which the worker aborts what is left. embed: the
    prompt's pooled hidden state is wanted (`PromptEmbedded`) and nothing else: no paths. scope:
    only prompts of one scope share pages; with pages shared by all, how fast an answer begins tells
    what others have asked (CVE-2025-46570). hold: an open group without paths, whose prompt's full
    pages stay until it ends, so that prompts that begin alike find them; answered with
    `PrefixHeld`. near: id of a group of the same gateway, running or ended, whose worker should
    run this one too, if it can.
    """

    id: str
    prompt: Prompt
    paths: tuple[PathRequest, ...]
    open: bool = False
    prompt_logprobs: int | None = None
    deadline_s: float | None = None
    embed: bool = False
    scope: str = ""
    hold: bool = False
    near: str = ""


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

    certainty: KL(U || p) in nats of the distribution p that the model gave the vocabulary's V
    tokens here, U uniform over them: -mean(log p) - log V (self-certainty, arXiv 2502.18581). Of
    sampled tokens, where SamplingParams.certainty asks for it.
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


class PrefixHeld(Record, frozen=True, tag="held"):
    """The prompt's full pages, of so many tokens, are there and stay until the group ends."""

    group_id: str
    tokens: int


class PromptScored(Record, frozen=True, tag="scored"):
    """Logprobs of the prompt's tokens from its second on (the first has no context)."""

    group_id: str
    logprobs: tuple[TokenLogprob, ...]


class PromptEmbedded(Record, frozen=True, tag="embedded"):
    """The mean over all prompt positions of the last layer's output after the final norm.

    values: as many as the model is wide, little-endian float32, of no particular length.
    """

    group_id: str
    values: bytes


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


Event = (
    GroupStarted
    | PrefixHeld
    | PromptScored
    | PromptEmbedded
    | PathOutput
    | GroupFailed
    | GroupClosed
)


# --- what a worker is ------------------------------------------------------------------------


class VisionCard(Record, frozen=True):
    """What a model takes as an image: a square of image_size pixels, as so many soft tokens. See
    `MediaSegment`."""

    image_size: int
    tokens: int
    placeholder: int


class ModelCard(Record, frozen=True):
    """What a gateway must know of a model to speak for it.

    tokenizer: sha256 of the text assets (`model.text.assets`). fingerprint: identity of weights.
    width: numbers of a hidden state, hence of an embedding; 0 where a worker does not say. vision:
    None where it takes no images.
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
    width: int = 0
    vision: VisionCard | None = None


WorkerState = Literal["starting", "ready", "draining", "failed", "stopped"]


class WorkerStatus(Record, frozen=True):
    """A worker's gauges and lifetime counters, as of now.

    media_queries, media_hits: media that steps read, and how many of them were encoded already.
    """

    state: WorkerState
    detail: str = ""
    progress: float | None = None
    waiting: int = 0
    running: int = 0
    groups: int = 0
    pages_used: int = 0
    pages_total: int = 0
    holds: int = 0
    held_pages: int = 0
    page_size: int = 0
    max_rows: int = 0
    steps: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    preemptions: int = 0
    compilations_after_warmup: int = 0
    media_queries: int = 0
    media_hits: int = 0


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
