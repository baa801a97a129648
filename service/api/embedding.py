"""Embeddings: texts in, unit vectors out. What the protocols share.

A vector is the mean over a text's tokens of the model's last hidden state (the output of its final
norm), divided by its length, as OpenAI and Gemini return unit vectors too.
"""

import asyncio
import math
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from model.contract import Group, GroupFailed, ModelCard, Prompt, PromptEmbedded, Worker
from service.api.common import ROUTING_HEADER
from service.api.internal import PlainText, TokenIds
from service.api.merging import merged
from service.api.planning import CHARS_PER_TOKEN, ContextOverflow, Served
from service.errors import ApiError, of_failure
from service.gateway import Gateway

LANES = 64
"""Inputs of one request that a worker has at once: more than a step takes, so that it never waits
for the next, and few enough that other requests are not behind a whole corpus."""


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """param: what the protocol calls it. truncate: keep the first so many tokens at most."""

    given: PlainText | TokenIds
    param: str
    truncate: int | None = None
    add_special_tokens: bool = True


@dataclass(frozen=True, slots=True)
class EmbeddingPlan:
    """One group for each input, in order. timeout: seconds, for all of them."""

    groups: tuple[Group, ...]
    timeout: float

    @property
    def prompt_tokens(self) -> int:
        return sum(len(group.prompt) for group in self.groups)


async def plan_embeddings(
    gateway: Gateway,
    model: str,
    inputs: Sequence[EmbeddingInput],
    headers: Mapping[str, str],
    *,
    param: str,
    dimensions: int | None = None,
    patience: float | None = None,
) -> EmbeddingPlan:
    """Raises ApiError for whatever can never run; nothing was submitted yet. param: what the
    protocol calls all inputs together. patience: seconds that the caller said it will wait."""
    served = gateway.served(model)
    _check_routing(served, headers)
    _check_dimensions(dimensions, served.card)
    settings = gateway.settings
    if not 1 <= len(inputs) <= settings.max_inputs:
        raise ApiError("invalid", f"a request holds 1 to {settings.max_inputs} inputs", param=param)
    seconds = min(patience or settings.request_timeout, settings.request_timeout)
    groups = []
    for wanted in inputs:
        await asyncio.sleep(0)  # many inputs take long to tokenize; others have their turn
        ids = await _token_ids(gateway, served, wanted)
        groups.append(
            Group(
                id=uuid.uuid4().hex,
                prompt=Prompt.of_tokens(ids),
                paths=(),
                deadline_s=seconds,
                embed=True,
            )
        )
    return EmbeddingPlan(tuple(groups), seconds)


def _check_routing(served: Served, headers: Mapping[str, str]) -> None:
    if served.routed:
        raise ApiError(
            "invalid",
            f"an embedding has no vote: ask for it of {served.card.name!r}, not of its routed "
            "alias",
            param="model",
        )
    if ROUTING_HEADER in headers:
        raise ApiError(
            "invalid", "routing is for questions; an embedding has no vote", param=ROUTING_HEADER
        )


def _check_dimensions(dimensions: int | None, card: ModelCard) -> None:
    """Cutting a vector short keeps its meaning only where a model was trained for that."""
    if dimensions is not None and dimensions != card.width:
        raise ApiError(
            "invalid",
            f"embeddings of {card.name!r} have {card.width} dimensions, which cannot be changed",
            param="dimensions",
        )


async def _token_ids(gateway: Gateway, served: Served, wanted: EmbeddingInput) -> tuple[int, ...]:
    card, given, param = served.card, wanted.given, wanted.param
    if isinstance(given, TokenIds):
        ids = given.ids
        if any(not 0 <= token < card.vocab_size for token in ids):
            raise ApiError(
                "invalid", f"token ids must be in [0, {card.vocab_size - 1}]", param=param
            )
    elif not given.text:
        ids = ()
    else:
        if wanted.truncate is not None:
            # What is cut off is not worth the time of tokenizing it.
            given = PlainText(given.text[: wanted.truncate * CHARS_PER_TOKEN])
        ids = await gateway.tokens(card.name, given, add_bos=wanted.add_special_tokens, param=param)
    if not ids:
        raise ApiError("invalid", "an input is empty", param=param)
    ids = ids[: wanted.truncate]
    if len(ids) > card.context:
        raise ContextOverflow(len(ids), None, card.context, param)
    return ids


async def embed(gateway: Gateway, plan: EmbeddingPlan) -> list[np.ndarray]:
    """Unit vectors, [D] little-endian float32 each, in order. Leaving early aborts what runs.

    Each input counts as one path.
    """
    vectors: list[np.ndarray] = [np.empty(0)] * len(plan.groups)
    waiting = iter(enumerate(plan.groups))
    with gateway.working(len(plan.groups)) as worker:
        lanes = [_lane(worker, waiting) for _ in plan.groups[:LANES]]
        async with aclosing(merged(lanes)) as done:
            async for _, (place, vector) in done:
                vectors[place] = vector
    return vectors


async def _lane(
    worker: Worker, waiting: Iterator[tuple[int, Group]]
) -> AsyncGenerator[tuple[int, np.ndarray]]:
    """One input after the other, as long as there are any."""
    for place, group in waiting:
        yield place, await _one(worker, group)


async def _one(worker: Worker, group: Group) -> np.ndarray:
    """Raises ApiError, WorkerUnavailable."""
    values: bytes | None = None
    async with worker.open(group) as stream:
        async for event in stream:
            if isinstance(event, GroupFailed):
                raise of_failure(event)
            if isinstance(event, PromptEmbedded):
                values = event.values
    if values is None:
        raise ApiError("unavailable", "the worker ended this request early", retry_after=1.0)
    return unit_vector(np.frombuffer(values, "<f4"))


def unit_vector(values: np.ndarray) -> np.ndarray:
    """values[D] divided by their Euclidean length, little-endian float32."""
    length = math.sqrt(float(np.square(values, dtype=np.float64).sum()))
    if not (math.isfinite(length) and length > 0):
        raise ApiError("internal", "the model's hidden state of this input has no direction")
    return (values / length).astype("<f4")


async def written(
    vectors: Sequence[np.ndarray], write: Callable[[np.ndarray], Any]
) -> list[msgspec.Raw]:
    """Each vector as JSON of what `write` makes of it; others have their turn in between."""
    texts = []
    for vector in vectors:
        await asyncio.sleep(0)
        texts.append(msgspec.Raw(msgspec.json.encode(write(vector))))
    return texts
