"""What is done with files that are there. `/v1/files` speaks both protocols: credentials tell."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from service.api.common import gateway_of
from service.api.dialect import Dialect, dialect_of
from service.api.files import openai
from service.api.files.download import Download
from service.api.files.shapes import (
    GEMINI_PREFIX,
    gemini_file,
    id_of_gemini,
    id_of_openai,
    no_such_file,
    openai_file,
)
from service.api.gemini.paging import page_of
from service.api.parsing import parse_query
from service.api.replies import JSONReply
from service.errors import ApiError
from service.files.records import FileRecord
from service.guard.visits import current_owner


class OpenAIList(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(10_000, ge=1, le=10_000)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    purpose: str | None = None


class GeminiList(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    page_size: int = Field(10, ge=0, le=100, alias="pageSize")
    page_token: str = Field("", max_length=100, alias="pageToken")


async def create(request: Request) -> Response:
    if dialect_of(request.scope) is Dialect.GEMINI:
        raise ApiError("invalid", "files are uploaded at /upload/v1beta/files")
    return await openai.create(request)


async def list_files(request: Request) -> Response:
    records = gateway_of(request).files.newest(current_owner())
    if dialect_of(request.scope) is Dialect.GEMINI:
        return _gemini_page(records, parse_query(request, GeminiList))
    return _openai_page(records, parse_query(request, OpenAIList))


async def get_file(request: Request, name: str) -> Response:
    if dialect_of(request.scope) is not Dialect.GEMINI:
        return JSONReply(openai_file(_openai_record(request, name)))
    plain, _, verb = name.partition(":")
    record = _gemini_record(request, plain)
    if verb == "download":
        return await _content(request, record)
    if verb:
        raise ApiError("not_found", f"files have no method {verb[:40]!r} here; there is download")
    return JSONReply(gemini_file(record))


async def delete_file(request: Request, name: str) -> Response:
    gemini = dialect_of(request.scope) is Dialect.GEMINI
    record = _gemini_record(request, name) if gemini else _openai_record(request, name)
    if not await gateway_of(request).files.delete(record.owner, record.id):
        raise no_such_file(name)
    return JSONReply({} if gemini else {"id": name, "object": "file", "deleted": True})


async def content(request: Request, name: str) -> Response:
    return await _content(request, _openai_record(request, name))


async def register(_: Request) -> Response:
    raise ApiError("invalid", "files of Google Cloud Storage cannot be registered: upload them")


async def _content(request: Request, record: FileRecord) -> Response:
    gateway = gateway_of(request)
    file = await gateway.files.open(record)
    return Download(file, record, gateway.settings.request_timeout)


def _gemini_record(request: Request, name: str) -> FileRecord:
    file_id = id_of_gemini(GEMINI_PREFIX + name)
    record = file_id and gateway_of(request).files.find(current_owner(), file_id)
    if not record:
        raise no_such_file(GEMINI_PREFIX + name)
    return record


def _openai_record(request: Request, name: str) -> FileRecord:
    file_id = id_of_openai(name)
    record = file_id and gateway_of(request).files.find(current_owner(), file_id)
    if not record:
        raise no_such_file(name)
    return record


def _gemini_page(records: list[FileRecord], query: GeminiList) -> Response:
    page, more = page_of(records, query.page_token, query.page_size or 10)
    listed = {"files": [gemini_file(one) for one in page]} if page else {}
    return JSONReply({**listed, **more})


def _openai_page(records: list[FileRecord], query: OpenAIList) -> Response:
    if query.order == "asc":
        records.reverse()
    if query.after is not None:
        ids = [one.id for one in records]
        after = id_of_openai(query.after)
        if after not in ids:
            raise ApiError("invalid", "after is none of your files", param="after")
        records = records[ids.index(after) + 1 :]
    if query.purpose is not None:
        records = [one for one in records if one.purpose == query.purpose]
    page = [openai_file(one) for one in records[: query.limit]]
    return JSONReply(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(page) < len(records),
        }
    )
