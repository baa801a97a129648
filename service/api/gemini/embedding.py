"""POST .../models/{model}:embedContent and :batchEmbedContents."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from fastapi import APIRouter
from pydantic import Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from service.api.common import gateway_of
from service.api.document.gemini_replies import BatchEmbeddingReply, EmbeddingReply
from service.api.document.operations import operation
from service.api.embedding import (
    EmbeddingInput,
    EmbeddingPlan,
    embed,
    plan_embeddings,
    written,
)
from service.api.gemini.contents import Content
from service.api.gemini.headers import client_timeout
from service.api.gemini.wire import Integer, Neutral, Wire
from service.api.internal import PlainText
from service.api.parsing import parse_body, refused
from service.api.replies import JSONReply, answer
from service.errors import ApiError
from service.gateway import Gateway

router = APIRouter()

TaskType = Literal[
    "TASK_TYPE_UNSPECIFIED",
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
]


class EmbedFields(Wire):
    """taskType and title are taken and change nothing: these models were trained for no task."""

    neutral: ClassVar[Neutral] = {
        "mimeType": ("text/plain",),
        "documentOcr": (False,),
        "audioTrackExtraction": (False,),
    }

    task_type: TaskType | None = None
    title: str | None = Field(None, max_length=4096)
    output_dimensionality: Integer | None = Field(None, ge=1)
    auto_truncate: bool = False


class EmbedRequest(EmbedFields):
    """embedContentConfig: the same fields in an object of their own, as some clients send them."""

    neutral: ClassVar[Neutral] = {**EmbedFields.neutral, "uncertaintyRouting": ()}

    model: str | None = None
    content: Content
    embed_content_config: EmbedFields | None = None

    @model_validator(mode="after")
    def _text(self) -> Self:
        if any(part.text is None for part in self.content.parts):
            raise refused("content", "content: an embedding is of text parts only")
        return self

    @property
    def config(self) -> EmbedFields:
        return self.embed_content_config or self


class BatchEmbedRequest(Wire):
    requests: list[EmbedRequest]


HEADERS = ("x-server-timeout",)


@router.post(
    "/models/{name:path}:embedContent",
    summary="The vector of a text (Gemini)",
    **operation("gemini", body=EmbedRequest, reply=EmbeddingReply, headers=HEADERS),
)
async def embed_content(request: Request, name: str) -> Response:
    body = await parse_body(request, EmbedRequest)
    plan, vectors = await _embed(request, name, [body], ["content"])
    (embedding,) = await written(vectors, _values)
    return JSONReply({"embedding": embedding, "usageMetadata": _usage(plan)})


@router.post(
    "/models/{name:path}:batchEmbedContents",
    summary="Vectors of many texts (Gemini)",
    **operation("gemini", body=BatchEmbedRequest, reply=BatchEmbeddingReply, headers=HEADERS),
)
async def batch_embed_contents(request: Request, name: str) -> Response:
    body = await parse_body(request, BatchEmbedRequest)
    params = [f"requests[{place}].content" for place in range(len(body.requests))]
    plan, vectors = await _embed(request, name, body.requests, params)
    embeddings = await written(vectors, _values)
    return JSONReply({"embeddings": embeddings, "usageMetadata": _usage(plan)})


async def _embed(
    request: Request, name: str, asked: Sequence[EmbedRequest], params: Sequence[str]
) -> tuple[EmbeddingPlan, list[np.ndarray]]:
    gateway = gateway_of(request)
    for each, param in zip(asked, params, strict=True):
        if each.model is not None and each.model.removeprefix("models/") != name:
            raise ApiError(
                "invalid",
                f"a request names the model {each.model[:100]!r}, the path {name[:100]!r}",
                param=param.removesuffix("content") + "model",
            )
    plan = await plan_embeddings(
        gateway,
        name,
        _inputs(gateway, asked, params),
        request.headers,
        param="requests",
        dimensions=_dimensions(asked),
        patience=client_timeout(request.headers),
    )
    return plan, await answer(request, embed(gateway, plan), plan.timeout)


def _inputs(
    gateway: Gateway, asked: Sequence[EmbedRequest], params: Sequence[str]
) -> list[EmbeddingInput]:
    card, _ = gateway.model()
    return [
        EmbeddingInput(
            PlainText(each.content.text),
            param,
            truncate=card.context if each.config.auto_truncate else None,
        )
        for each, param in zip(asked, params, strict=True)
    ]


def _dimensions(asked: Sequence[EmbedRequest]) -> int | None:
    """All that are named are one number, which is checked; else the requests contradict."""
    named = {each.config.output_dimensionality for each in asked} - {None}
    if len(named) > 1:
        raise ApiError(
            "invalid", "the requests ask for vectors of different sizes", param="dimensions"
        )
    return next(iter(named), None)


def _values(vector: np.ndarray) -> dict[str, Any]:
    return {"values": vector.tolist()}


def _usage(plan: EmbeddingPlan) -> dict[str, Any]:
    return {
        "promptTokenCount": plan.prompt_tokens,
        "totalTokenCount": plan.prompt_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": plan.prompt_tokens}],
    }
