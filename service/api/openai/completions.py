"""POST /v1/completions: plain text in, plain text out, and the scores of what was given.

One request may hold many prompts, each its own group; choice i*n + j is answer j to prompt i.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from model.contract import Event, GroupStarted, PathOutput, PromptScored, TokenLogprob
from model.text.detokenizer import Detokenizer
from service.api.common import gateway_of
from service.api.document.openai_replies import TextCompletionReply
from service.api.document.operations import operation
from service.api.generation import Completion, Counts, empty_completion
from service.api.internal import Ask, PlainText, TokenIds
from service.api.openai.rendering import (
    FINISHED,
    Reply,
    error_chunk,
    sse,
    usage_of,
)
from service.api.openai.schemas import CompletionRequest
from service.api.parsing import parse_body
from service.api.planning import PlainPlan
from service.api.replies import EventStream, JSONReply, answer
from service.api.tokens import finite, token_text
from service.errors import ApiError
from service.gateway import Gateway

router = APIRouter()

DEFAULT_MAX_TOKENS = 16
"""OpenAI's own default for this endpoint."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One of the request's prompts, with the text to repeat when `echo` is set."""

    plan: PlainPlan
    echo: str


@router.post(
    "/completions",
    summary="Continue text",
    **operation(
        "openai",
        body=CompletionRequest,
        reply=TextCompletionReply,
        events="text_completion objects, then [DONE]",
    ),
)
async def completions(request: Request) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, CompletionRequest)
    prompts = await plan_prompts(gateway, body, request.headers)
    card, _ = gateway.model()
    reply = Reply(
        id=f"cmpl-{uuid.uuid4().hex}", model=body.model, fingerprint=f"fp_{card.fingerprint[:12]}"
    )
    timeout = prompts[0].plan.timeout
    if body.stream:
        chunks = text_chunks(gateway, prompts, reply, body)
        return EventStream(chunks, on_error=error_chunk, timeout=timeout)
    done = await answer(request, complete_all(gateway, prompts), timeout)
    return JSONReply(render(gateway, prompts, done, reply, body))


async def plan_prompts(
    gateway: Gateway, body: CompletionRequest, headers: Mapping[str, str]
) -> list[Prompt]:
    inputs = inputs_of(body.prompt)
    limit = gateway.settings.max_prompts
    if not 1 <= len(inputs) <= limit:
        raise ApiError("invalid", f"a request holds 1 to {limit} prompts", param="prompt")
    if body.uncertainty_routing or "x-pollux-routing" in headers:
        raise _no_routing()
    _, text = gateway.model()
    prompts = []
    for given in inputs:
        await asyncio.sleep(0)  # many prompts take long to tokenize; others have their turn
        plan = await gateway.plan(
            Ask(
                model=body.model,
                input=given,
                sampling=body.sampling(
                    max_tokens=DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
                    logprobs=body.logprobs,
                ),
                n=body.n,
                prompt_logprobs=body.logprobs if body.echo else None,
                cache_salt=body.cache_salt or "",
            )
        )
        if not isinstance(plan, PlainPlan):
            raise _no_routing()
        echo = given.text if isinstance(given, PlainText) else text.tokenizer.decode(given.ids)
        prompts.append(Prompt(plan=plan, echo=echo if body.echo else ""))
    return prompts


def inputs_of(given: Any) -> list[PlainText | TokenIds]:
    """Of a `CompletionPrompt`."""
    if isinstance(given, str):
        return [PlainText(given)]
    if given and isinstance(given[0], int):
        return [_as_input(given)]
    return [_as_input(prompt) for prompt in given]


def _as_input(prompt: Any) -> PlainText | TokenIds:
    return PlainText(prompt) if isinstance(prompt, str) else TokenIds(tuple(prompt))


def _no_routing() -> ApiError:
    return ApiError(
        "invalid",
        "routing is for questions: ask it at /v1/chat/completions",
        param="uncertainty_routing",
    )


async def complete_all(gateway: Gateway, prompts: Sequence[Prompt]) -> list[Completion]:
    done = [empty_completion(prompt.plan.group) for prompt in prompts]
    async with aclosing(gateway.generate_all([prompt.plan for prompt in prompts])) as events:
        async for place, event in events:
            done[place].add(event)
    return done


def render(
    gateway: Gateway,
    prompts: Sequence[Prompt],
    done: Sequence[Completion],
    reply: Reply,
    body: CompletionRequest,
) -> Any:
    counts = Counts()
    choices = []
    for place, (prompt, completion) in enumerate(zip(prompts, done, strict=True)):
        counts.prompt += completion.counts.prompt
        counts.cached += completion.counts.cached
        counts.completion += completion.counts.completion
        for index, choice in enumerate(completion.choices):
            writer = LogprobWriter(gateway)
            logprobs: Any = None
            if body.logprobs is not None:
                if body.echo:
                    writer.prompt(prompt, completion.scored)
                writer.add(choice.logprobs)
                logprobs = writer.take()
            choices.append(
                {
                    "index": place * body.n + index,
                    "text": prompt.echo + choice.text,
                    "logprobs": logprobs,
                    "finish_reason": choice.finish,
                }
            )
    return text_completion(reply, choices, usage=usage_of(counts))


def text_completion(reply: Reply, choices: Sequence[Any], **more: Any) -> Any:
    return {
        "id": reply.id,
        "object": "text_completion",
        "created": reply.created,
        "model": reply.model,
        "system_fingerprint": reply.fingerprint,
        "choices": choices,
        **more,
    }


class LogprobWriter:
    """The older logprobs object of one choice; offsets run on from one piece to the next."""

    def __init__(self, gateway: Gateway) -> None:
        _, text = gateway.model()
        self._tokenizer = text.tokenizer
        self._text = Detokenizer(text.tokenizer)
        self._offset = 0
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[str] = []
        self._logprobs: list[float | None] = []
        self._top: list[dict[str, float] | None] = []
        self._offsets: list[int] = []

    def prompt(self, prompt: Prompt, scored: Sequence[TokenLogprob]) -> None:
        """The prompt's tokens; the first has no context, hence no score."""
        ids = prompt.plan.group.prompt.token_ids()
        self._one(ids[0], None, None)
        self.add(scored)
        # Tokens may spell more than was written: the space that some vocabularies put first.
        more = max(0, self._offset - len(prompt.echo))
        self._offsets = [max(0, offset - more) for offset in self._offsets]
        self._offset = len(prompt.echo)

    def add(self, entries: Sequence[TokenLogprob]) -> None:
        for entry in entries:
            # Where two ids spell the same, the likelier is kept. The chosen one is always there.
            top: dict[str, float] = {}
            for token, logprob in entry.top:
                top.setdefault(self._name(token), finite(logprob))
            top.setdefault(self._name(entry.id), finite(entry.logprob))
            self._one(entry.id, finite(entry.logprob), top)

    def take(self) -> Any:
        taken = {
            "tokens": self._tokens,
            "token_logprobs": self._logprobs,
            "top_logprobs": self._top,
            "text_offset": self._offsets,
        }
        self._clear()
        return taken

    def _one(self, token: int, logprob: float | None, top: dict[str, float] | None) -> None:
        name = self._name(token)
        self._tokens.append(name)
        self._logprobs.append(logprob)
        self._top.append(top)
        self._offsets.append(self._offset)
        # Of the text, not of the names: control tokens add nothing to it, and a character may
        # be spread over many tokens.
        self._offset += len(self._text.push((token,)))

    def _name(self, token: int) -> str:
        return token_text(token, self._tokenizer)


async def text_chunks(
    gateway: Gateway, prompts: Sequence[Prompt], reply: Reply, body: CompletionRequest
) -> AsyncGenerator[bytes]:
    """Pieces of all choices as they come, each choice's echo first, usage if asked, the end."""
    more: dict[str, Any] = {"usage": None} if body.include_usage else {}
    counts = Counts()
    streams = [ChoiceStreams(gateway, prompt, place, body) for place, prompt in enumerate(prompts)]
    async with aclosing(gateway.generate_all([prompt.plan for prompt in prompts])) as events:
        async for place, event in events:
            counts.add(event)
            if body.continuous_usage:
                more = {"usage": usage_of(counts)}
            for choice in streams[place].pieces(event):
                yield sse(text_completion(reply, [choice], **more))
    if body.include_usage:
        yield sse(text_completion(reply, [], usage=usage_of(counts)))
    yield FINISHED


class ChoiceStreams:
    """The answers to one prompt, as pieces. With scores asked for, the echo waits for them."""

    def __init__(
        self, gateway: Gateway, prompt: Prompt, place: int, body: CompletionRequest
    ) -> None:
        self._prompt = prompt
        self._body = body
        self._first = place * body.n
        self._scored = body.echo and body.logprobs is not None
        self._writers = [LogprobWriter(gateway) for _ in range(body.n)]

    def pieces(self, event: Event) -> list[Any]:
        match event:
            case GroupStarted() if self._body.echo and not self._scored:
                return [self._piece(index, self._prompt.echo) for index in range(self._body.n)]
            case PromptScored() if self._scored:
                for writer in self._writers:
                    writer.prompt(self._prompt, event.logprobs)
                return [self._piece(index, self._prompt.echo) for index in range(self._body.n)]
            case PathOutput() if event.text or event.logprobs or event.finish:
                self._writers[event.path].add(event.logprobs)
                finish = event.finish.reason if event.finish else None
                return [self._piece(event.path, event.text, finish)]
        return []

    def _piece(self, index: int, text: str, finish: str | None = None) -> Any:
        logprobs = self._writers[index].take() if self._body.logprobs is not None else None
        return {
            "index": self._first + index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish,
        }
