"""What machines that watch are told, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel


class AliveReply(BaseModel):
    status: Literal["ok"]


class ReadyReply(BaseModel):
    """progress: 0 to 1, where it is known."""

    state: Literal["starting", "ready", "draining", "failed", "stopped"]
    detail: str
    progress: float | None


class VersionReply(BaseModel):
    version: str
