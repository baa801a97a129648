"""From what was asked to what a worker runs. Every limit is checked here, before any work."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass, replace
from typing import Literal

from model.contract import (
    MAX_SEED,
    Constraint,
    Group,
    ModelCard,
    PathRequest,
    Prompt,
    SamplingParams,
)
from model.text.language import TextModel
from model.text.thinking import ThoughtCounter
from model.text.tools.hermes import OPENING
from service.api.internal import Ask, Chat, Input, PlainText, Sampling, TokenIds
from service.api.thinking.prompting import Thoughts, bounded, continued, prompted, switched
from service.api.tools.enforcing import held
from service.api.tools.offer import Offer
from service.api.tools.reading import Reader, reader_of
from service.errors import ApiError
from service.logs.record import note_thoughts
from service.placement import ANYWHERE, Placement
from service.settings import Settings

ROUTED_SUFFIX = ":routed"

CHARS_PER_TOKEN = 32
"""More than any real text has on average; tokens of long runs of spaces come closest."""


class ContextOverflow(ApiError):
    """The prompt and the answer asked for do not fit. Protocols say it in their own words.

    wanted: tokens asked for the answer, None when only the prompt is too long.
    """

    def __init__(self, prompt_tokens: int, wanted: int | None, context: int, param: str) -> None:
        if wanted is None:
            message = f"the prompt has {prompt_tokens} tokens; the context holds {context}"
        else:
            message = (
                f"the prompt has {prompt_tokens} tokens and {wanted} are asked for the answer; "
                f"the context holds {context}"
            )
        super().__init__("invalid", message, param=param, code="context_length_exceeded")
        self.prompt_tokens = prompt_tokens
        self.wanted = wanted
        self.context = context


@dataclass(frozen=True, slots=True)
class Served:
    """The model as it is served. routed: asked for by its `:routed` alias."""

    card: ModelCard
    text: TextModel
    routed: bool


@dataclass(frozen=True, slots=True)
class PlainPlan:
    """One group of n paths. tools: what its answers may call. thoughts: how their reasoning is
    told; None when there is none. placement: where it runs."""

    group: Group
    timeout: float
    tools: Offer | None = None
    placement: Placement = ANYWHERE
    thoughts: Thoughts | None = None
    kind: Literal["plain"] = "plain"

    @property
    def paths(self) -> int:
        return len(self.group.paths)

    @property
    def group_id(self) -> str:
        return self.group.id

    def counters(self, text: TextModel) -> list[ThoughtCounter]:
        """Of the tokens of each answer that are reasoning; none where there is no reasoning. The
        request's line in the log has what they come to."""
        if self.thoughts is None:
            return []
        counters = [self.thoughts.counter(text) for _ in self.group.paths]
        note_thoughts(counters)
        return counters

    def reader(self, text: TextModel) -> Reader:
        """Of one answer."""
        return reader_of(self.tools, text, self.thoughts)


def plan_plain(ask: Ask, served: Served, settings: Settings) -> PlainPlan:
    """Raises ApiError, TemplateError or InvalidParameter (both are answered as "invalid")."""
    check_counts(ask, settings)
    check_length(ask.input, served.card)
    tools = ask.input.tools if isinstance(ask.input, Chat) else None
    form = held(tools, served.text, ask.sampling.constraint)
    ids, stops = encode(ask.input, served.text, thinking=switched(ask.thinking))
    ids, thoughts = _thinking(ask, ids, served.text, form)
    check_ids(ask, ids, served.card)
    max_tokens = answer_budget(ask, len(ids), served.card, settings)
    form = bounded(form, thoughts, served.text, ask.thinking, max_tokens)
    sampling = replace(ask.sampling, constraint=form)
    seed = sampling.seed
    base_seed = secrets.randbelow(MAX_SEED) if seed is None else seed & MAX_SEED
    paths = tuple(
        PathRequest(
            index=index,
            sampling=sampling_params(sampling, max_tokens, path_seed(base_seed, index), stops),
        )
        for index in range(ask.n)
    )
    timeout = min(ask.timeout or settings.request_timeout, settings.request_timeout)
    group = Group(
        id=uuid.uuid4().hex,
        prompt=Prompt.of_tokens(ids),
        paths=paths,
        prompt_logprobs=ask.prompt_logprobs,
        deadline_s=timeout,
    )
    return PlainPlan(group=group, timeout=timeout, tools=tools, thoughts=thoughts)


def _thinking(
    ask: Ask, ids: tuple[int, ...], text: TextModel, form: Constraint | None
) -> tuple[tuple[int, ...], Thoughts | None]:
    chat = ask.input
    if not isinstance(chat, Chat):
        return ids, None
    if chat.continue_final:
        return ids, continued(chat.messages[-1].content, text, ask.thinking)
    # A call may come while the model still reasons; it ends that.
    calls = chat.tools is not None and text.tool_family == "hermes"
    enders = (OPENING,) if calls else ()
    return prompted(ids, text, ask.thinking, formed=form is not None, enders=enders)


def check_counts(ask: Ask, settings: Settings) -> None:
    if not 1 <= ask.n <= settings.max_choices:
        raise ApiError("invalid", f"n must be between 1 and {settings.max_choices}", param="n")
    if isinstance(ask.input, Chat) and not ask.input.messages:
        raise ApiError("invalid", "a conversation needs at least one message", param="messages")
    check_turns(ask.input, settings)


def check_turns(given: Input, settings: Settings) -> None:
    if isinstance(given, Chat) and len(given.messages) > settings.max_messages:
        raise ApiError(
            "invalid",
            f"a conversation may have at most {settings.max_messages} messages",
            param="messages",
        )


def encode(
    given: Input, text: TextModel, *, thinking: bool | None = None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The prompt's token ids, and the stop strings that its form needs. thinking: as the switch of
    the chat template is to be set."""
    match given:
        case TokenIds(ids):
            return ids, ()
        case PlainText(plain):
            return text.encode_text(plain), ()
        case Chat(messages, continue_final, tools):
            _check_tools(given, text)
            ids = text.encode_chat(
                messages,
                add_generation_prompt=not continue_final,
                continue_final=continue_final,
                tools=[] if tools is None else [function.shown() for function in tools.functions],
                thinking=thinking,
            )
            return tuple(ids), text.chat_stops


def _check_tools(chat: Chat, text: TextModel) -> None:
    if text.supports_tools:
        return
    used = any(message.uses_tools for message in chat.messages)
    if chat.tools is not None or used:
        raise ApiError(
            "invalid",
            "tools are not supported by this model: its chat template has no place for them",
            param="tools" if chat.tools is not None else "messages",
            code="unsupported_parameter",
        )


def check_length(given: Input, card: ModelCard, param: str | None = None) -> None:
    """Before any tokenizing: what cannot fit is not worth the time that it would take. param: what
    the protocol calls it."""
    size, unit = written_length(given)
    fits = card.context if isinstance(given, TokenIds) else card.context * CHARS_PER_TOKEN
    if size > fits:
        raise ApiError(
            "invalid",
            f"the prompt has {size} {unit}, too many for a context of {card.context} tokens",
            param=param or prompt_param(given),
            code="context_length_exceeded",
        )


def written_length(given: Input) -> tuple[int, str]:
    """How much there is to tokenize, and of what."""
    match given:
        case TokenIds(ids):
            return len(ids), "tokens"
        case PlainText(text):
            return len(text), "characters"
        case Chat(messages, _, tools):
            offered = 0 if tools is None else tools.written_length
            return offered + sum(message.written_length for message in messages), "characters"


def check_ids(ask: Ask, ids: tuple[int, ...], card: ModelCard) -> None:
    if not ids:
        raise ApiError("invalid", "the prompt is empty", param=prompt_param(ask.input))
    named = {
        prompt_param(ask.input): ids if isinstance(ask.input, TokenIds) else (),
        "stop_ids": ask.sampling.stop_ids,
        "logit_bias": tuple(token for token, _ in ask.sampling.logit_bias),
    }
    for param, tokens in named.items():
        if any(not 0 <= token < card.vocab_size for token in tokens):
            raise ApiError(
                "invalid", f"token ids must be in [0, {card.vocab_size - 1}]", param=param
            )


def answer_budget(ask: Ask, prompt_tokens: int, card: ModelCard, settings: Settings) -> int:
    """How many tokens the answer may have: as asked, or what is left of the context."""
    param = prompt_param(ask.input)
    wanted = ask.sampling.max_tokens
    if wanted is None:
        if prompt_tokens >= card.context:
            raise ContextOverflow(prompt_tokens, None, card.context, param)
        return min(card.context - prompt_tokens, settings.default_max_tokens)
    if prompt_tokens + wanted > card.context:
        shown = wanted if prompt_tokens < card.context else None
        raise ContextOverflow(prompt_tokens, shown, card.context, param)
    return wanted


def prompt_param(given: Input) -> str:
    return "messages" if isinstance(given, Chat) else "prompt"


def sampling_params(
    asked: Sampling, max_tokens: int, seed: int, stops: tuple[str, ...]
) -> SamplingParams:
    """Raises InvalidParameter."""
    return SamplingParams(
        max_tokens=max_tokens,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_k=asked.top_k,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        min_p=asked.min_p,
        seed=seed,
        min_tokens=asked.min_tokens,
        stop=tuple(dict.fromkeys((*asked.stop, *stops))),
        stop_ids=asked.stop_ids,
        ignore_eos=asked.ignore_eos,
        logprobs=asked.logprobs,
        logit_bias=asked.logit_bias,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        repetition_penalty=asked.repetition_penalty,
        constraint=asked.constraint,
    )


def path_seed(seed: int, index: int) -> int:
    """The first answer has the seed that was asked for, so n does not change it."""
    if index == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) & MAX_SEED


def split_alias(name: str) -> tuple[str, bool]:
    """`name:routed` asks for routing by the model's name alone."""
    if name.endswith(ROUTED_SUFFIX):
        return name[: -len(ROUTED_SUFFIX)], True
    return name, False
