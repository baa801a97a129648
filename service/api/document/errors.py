"""The two shapes of an error, for the OpenAPI document."""

from typing import Any

from pydantic import BaseModel


class OpenAIError(BaseModel):
    """type and code: docs/api.md, "Errors"."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorReply(BaseModel):
    error: OpenAIError


class GoogleError(BaseModel):
    """google.rpc.Status. details: BadRequest, RetryInfo."""

    code: int
    message: str
    status: str
    details: list[dict[str, Any]]


class GoogleErrorReply(BaseModel):
    error: GoogleError
