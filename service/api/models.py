"""GET models, list and one: two protocols share the path `/v1/models` and differ in credentials."""

import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from model.contract import ModelCard
from service.api.common import gateway_of
from service.api.dialect import Dialect, dialect_of
from service.api.document.model_replies import (
    GeminiModelListReply,
    GeminiModelReply,
    ModelListReply,
    ModelReply,
)
from service.api.document.operations import Protocol, operation
from service.api.planning import ROUTED_SUFFIX
from service.api.replies import JSONReply

STARTED = int(time.time())

_REPLIES: dict[Protocol, tuple[Any, Any]] = {
    "openai": (ModelListReply, ModelReply),
    "gemini": (GeminiModelListReply, GeminiModelReply),
    "either": (ModelListReply | GeminiModelListReply, ModelReply | GeminiModelReply),
}


def models_router(protocol: Protocol) -> APIRouter:
    """protocol: that of the paths below which it is mounted, or "either"."""
    listed, one = _REPLIES[protocol]
    router = APIRouter()
    router.add_api_route(
        "/models",
        list_models,
        methods=["GET"],
        summary="What is served",
        **operation(protocol, reply=listed),
    )
    router.add_api_route(
        "/models/{name:path}",
        get_model,
        methods=["GET"],
        summary="One served model",
        **operation(protocol, reply=one),
    )
    return router


async def list_models(request: Request) -> Response:
    card, _ = gateway_of(request).model()
    names = (card.name, card.name + ROUTED_SUFFIX)
    if dialect_of(request.scope) is Dialect.GEMINI:
        return JSONReply({"models": [gemini_model(name, card) for name in names]})
    return JSONReply({"object": "list", "data": [openai_model(name, card) for name in names]})


async def get_model(request: Request, name: str) -> Response:
    """Raises ApiError("unknown_model")."""
    served = gateway_of(request).served(name)
    if dialect_of(request.scope) is Dialect.GEMINI:
        return JSONReply(gemini_model(name, served.card))
    return JSONReply(openai_model(name, served.card))


def openai_model(name: str, card: ModelCard) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": STARTED,
        "owned_by": "pollux",
        "root": card.name,
        "max_model_len": card.context,
    }


def gemini_model(name: str, card: ModelCard) -> dict[str, Any]:
    methods = ["generateContent", "countTokens"]
    if name == card.name:
        methods += ["embedContent", "batchEmbedContents"]
    return {
        "name": f"models/{name}",
        "displayName": name,
        "version": card.fingerprint[:12],
        "description": f"{card.family}, {card.parameters:,} parameters, {card.quantization}",
        "inputTokenLimit": card.context,
        "outputTokenLimit": card.context,
        "supportedGenerationMethods": methods,
        "temperature": 1.0,
        "topP": 1.0,
    }
