"""Files in both protocols' words, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class FileReply(BaseModel):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["processed"]


class FileListReply(BaseModel):
    object: Literal["list"]
    data: list[FileReply]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeletedReply(BaseModel):
    id: str
    object: Literal["file"]
    deleted: bool


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class GeminiFileReply(_Camel):
    """display_name: where one was given."""

    name: str
    display_name: str | None = None
    mime_type: str
    size_bytes: str
    create_time: str
    update_time: str
    expiration_time: str
    sha256_hash: str
    uri: str
    download_uri: str
    state: Literal["ACTIVE"]
    source: Literal["UPLOADED"]


class GeminiFileListReply(_Camel):
    files: list[GeminiFileReply] | None = None
    next_page_token: str | None = None


class GeminiFileDeletedReply(_Camel):
    """Nothing."""
