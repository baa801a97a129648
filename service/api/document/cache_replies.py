"""Cached contents in Gemini's words, for the OpenAPI document."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class CachedUsageReply(_Camel):
    total_token_count: int


class CachedContentReply(_Camel):
    """display_name: where one was given."""

    name: str
    model: str
    display_name: str | None = None
    create_time: str
    update_time: str
    expire_time: str
    usage_metadata: CachedUsageReply


class CachedContentListReply(_Camel):
    cached_contents: list[CachedContentReply] | None = None
    next_page_token: str | None = None


class NothingReply(_Camel):
    pass
