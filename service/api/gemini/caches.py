"""/{version}/cachedContents: beginnings of conversations, kept by name.

https://ai.google.dev/api/caching
"""

import asyncio
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator
from starlette.requests import Request
from starlette.responses import Response

from model.text.language import TemplateError
from service.api.common import gateway_of
from service.api.document.cache_replies import (
    CachedContentListReply,
    CachedContentReply,
    NothingReply,
)
from service.api.document.operations import operation
from service.api.gemini.contents import Content, Contents, conversation
from service.api.gemini.files import references_in, texts_of
from service.api.gemini.paging import page_of
from service.api.gemini.tools import Tool, ToolConfig, offer_of
from service.api.gemini.wire import Neutral, Wire
from service.api.internal import Chat
from service.api.parsing import parse_body, parse_query, refused
from service.api.planning import ContextOverflow, check_length, check_turns, split_alias
from service.api.replies import JSONReply, answer
from service.caches.prefix import held_prefix
from service.caches.store import Cached
from service.errors import ApiError
from service.files.records import timestamp
from service.gateway import Gateway
from service.guard.visits import current_owner

router = APIRouter()

PREFIX = "cachedContents/"
DEFAULT_TTL_S = 3600.0

Duration = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?s$")]


class Expiration(Wire):
    """As a duration in seconds ("300s"), or as a time (RFC 3339)."""

    ttl: Duration | None = None
    expire_time: str | None = Field(None, max_length=64)
    _moment: float | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.ttl is not None and self.expire_time is not None:
            raise refused("ttl", "give ttl or expireTime")
        if self.expire_time is not None:
            self._moment = _seconds_since_1970(self.expire_time)
        return self

    def seconds(self, now: float) -> float | None:
        """From `now`, seconds since 1970."""
        if self._moment is not None:
            return self._moment - now
        return None if self.ttl is None else float(self.ttl[:-1])


def _seconds_since_1970(written: str) -> float:
    try:
        moment = datetime.fromisoformat(written)
        if moment.tzinfo is not None:
            return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    raise refused("expireTime", "expireTime must be a time such as 2030-01-31T12:00:00Z")


class CreateRequest(Expiration):
    ignored = frozenset(("name", "createTime", "updateTime", "usageMetadata"))
    neutral: ClassVar[Neutral] = {"kmsKeyName": ("",)}

    model: str = Field(min_length=1, max_length=256)
    display_name: str | None = Field(None, max_length=128)
    contents: Contents = Field([])
    system_instruction: Content | None = None
    tools: list[Tool] = Field([])
    tool_config: ToolConfig | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not (self.contents or self.system_instruction):
            raise refused("contents", "there is nothing to cache: give contents, an instruction")
        return self


class UpdateRequest(Expiration):
    """Nothing else of a cached content can change."""

    ignored = frozenset(("name",))


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    page_size: int = Field(50, ge=0, le=1000, alias="pageSize")
    page_token: str = Field("", max_length=100, alias="pageToken")


@router.post(
    "/cachedContents",
    summary="Keep the beginning of a conversation (Gemini)",
    **operation("gemini", body=CreateRequest, reply=CachedContentReply),
)
async def create(request: Request) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, CreateRequest)
    name = body.model.removeprefix("models/")
    served = gateway.served(name)
    texts = await texts_of(gateway, name, references_in(body.contents))
    messages = conversation(body.contents, body.system_instruction, texts)
    chat = Chat(messages, tools=offer_of(body.tools, body.tool_config))
    check_turns(chat, gateway.settings)
    check_length(chat, served.card)
    seconds = body.seconds(gateway.caches.now() / 1e6)
    expires = gateway.caches.expiry(DEFAULT_TTL_S if seconds is None else seconds)
    try:
        prefix = await asyncio.to_thread(held_prefix, chat, served.text)
    except TemplateError as error:
        raise ApiError("invalid", str(error), param="messages") from None
    if len(prefix) >= served.card.context:
        raise ContextOverflow(len(prefix), None, served.card.context, "messages")
    if not prefix:
        raise ApiError("invalid", "the model's prompts have no such beginning", param="messages")
    made = gateway.caches.create(
        current_owner(), served.card.name, chat, prefix, expires, body.display_name
    )
    return JSONReply(shown(await answer(request, made, gateway.settings.request_timeout)))


@router.get(
    "/cachedContents",
    summary="Cached contents that are kept",
    **operation(
        "gemini",
        reply=CachedContentListReply,
        query={
            "pageSize": {"type": "integer", "minimum": 0, "maximum": 1000},
            "pageToken": {"type": "string", "maxLength": 100},
        },
    ),
)
async def listed(request: Request) -> Response:
    query = parse_query(request, ListQuery)
    found = gateway_of(request).caches.newest(current_owner())
    page, more = page_of(found, query.page_token, query.page_size or 50)
    body = {"cachedContents": [shown(one) for one in page]} if page else {}
    return JSONReply({**body, **more})


@router.get(
    "/cachedContents/{name}",
    summary="One of them",
    **operation("gemini", reply=CachedContentReply),
)
async def get(request: Request, name: str) -> Response:
    return JSONReply(shown(_kept(request, name)))


@router.patch(
    "/cachedContents/{name}",
    summary="Let it expire at another time",
    **operation("gemini", body=UpdateRequest, reply=CachedContentReply),
)
async def update(request: Request, name: str) -> Response:
    caches = gateway_of(request).caches
    body = await parse_body(request, UpdateRequest)
    cached = _kept(request, name)
    seconds = body.seconds(caches.now() / 1e6)
    if seconds is None:
        raise ApiError("invalid", "give ttl or expireTime; nothing else can change", param="ttl")
    return JSONReply(shown(caches.keep_until(cached, caches.expiry(seconds))))


@router.delete(
    "/cachedContents/{name}",
    summary="Give its pages back",
    **operation("gemini", reply=NothingReply),
)
async def delete(request: Request, name: str) -> Response:
    await gateway_of(request).caches.delete(_kept(request, name))
    return JSONReply({})


def cached_for(gateway: Gateway, name: str | None, model: str) -> Cached | None:
    """What a request to this model goes on with. Raises ApiError in Google's words."""
    if not name:
        return None
    found = gateway.caches.find(current_owner(), name.removeprefix(PREFIX))
    if found is None or not name.startswith(PREFIX):
        raise ApiError("forbidden", "CachedContent not found (or permission denied)")
    if split_alias(model)[0] != found.model:
        raise ApiError(
            "invalid",
            f"Model used by GenerateContent request (models/{model[:100]}) and CachedContent "
            f"(models/{found.model}) has to be the same.",
            param="cachedContent",
        )
    return found


def shown(cached: Cached) -> dict[str, Any]:
    named = {} if cached.display_name is None else {"displayName": cached.display_name}
    return {
        "name": PREFIX + cached.id,
        "model": f"models/{cached.model}",
        **named,
        "createTime": timestamp(cached.created),
        "updateTime": timestamp(cached.updated),
        "expireTime": timestamp(cached.expires),
        "usageMetadata": {"totalTokenCount": cached.tokens},
    }


def _kept(request: Request, name: str) -> Cached:
    found = gateway_of(request).caches.find(current_owner(), name)
    if found is None:
        raise ApiError("not_found", f"there is no cached content {name[:100]!r} here")
    return found
