"""The one request that every protocol parses into."""

from dataclasses import dataclass, field

from model.contract import Constraint
from model.text.language import ChatMessage
from routing.policy import RoutingPolicy
from service.api.thinking.wish import NO_WISH, Wish
from service.api.tools.offer import Offer


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation. continue_final: go on with the last message rather than answer it.

    tools: functions that the model may call; None when none are shown to it.
    """

    messages: tuple[ChatMessage, ...]
    continue_final: bool = False
    tools: Offer | None = None


@dataclass(frozen=True, slots=True)
class PlainText:
    text: str


@dataclass(frozen=True, slots=True)
class TokenIds:
    ids: tuple[int, ...]


Input = Chat | PlainText | TokenIds


@dataclass(frozen=True, slots=True)
class Sampling:
    """model.contract.SamplingParams as asked: what is None is decided by the gateway."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_k: int = 0
    top_p: float | None = None
    min_p: float = 0.0
    seed: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    constraint: Constraint | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt and what is wanted of it.

    model: as the caller wrote it, the `:routed` alias included. n: answers wanted.
    prompt_logprobs: score the prompt, with so many alternatives. timeout: seconds, if the caller
    said how long it will wait. thinking: what is said of reasoning. cache_salt: only requests of
    the same one share KV pages. near: id of a `service.holds.Hold` on whose worker this runs best.
    """

    model: str
    input: Input
    sampling: Sampling = field(default_factory=Sampling)
    n: int = 1
    routing: RoutingPolicy | None = None
    prompt_logprobs: int | None = None
    timeout: float | None = None
    cache_salt: str = ""
    near: str = ""
    thinking: Wish = NO_WISH
