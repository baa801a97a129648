"""POST /v1/files: OpenAI's Files API. The body is read once, as it comes, in any order of parts."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from service.api.common import gateway_of
from service.api.files.address import base_url
from service.api.files.incoming import chunks_of, gathered
from service.api.files.multipart import MultipartReader, Part, Parts
from service.api.files.shapes import openai_file
from service.api.parsing import invalid
from service.api.replies import JSONReply
from service.errors import ApiError
from service.files.mime import UNKNOWN, guessed, parse_mime
from service.files.records import MAX_NAME, FileRecord
from service.files.store import FileStore
from service.files.uploads import Upload, Wanted
from service.guard.visits import current_owner

Purpose = Literal["user_data", "assistants", "vision", "evals"]

REFUSED_PURPOSES = {
    "batch": "there is no Batch API here",
    "fine-tune": "nothing is trained here",
}


class Form(BaseModel):
    """The fields beside the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: Purpose
    anchor: Literal["created_at"] | None = Field(None, alias="expires_after[anchor]")
    seconds: int | None = Field(None, ge=3600, le=2_592_000, alias="expires_after[seconds]")


async def create(request: Request) -> Response:
    gateway = gateway_of(request)
    files, base = gateway.files, base_url(request, gateway.settings)
    reader = MultipartReader(request.headers.get("content-type"), ("multipart/form-data",))
    form = _FormReader(files, base)
    try:
        record = await form.read(Parts(reader, chunks_of(request)))
    except BaseException:
        await form.abandon()
        raise
    return JSONReply(openai_file(record))


class _FormReader:
    def __init__(self, files: FileStore, base: str) -> None:
        self._files = files
        self._base = base
        self._fields: dict[str, str] = {}
        self._upload: Upload | None = None

    async def read(self, parts: Parts) -> FileRecord:
        """The fields may come after the file: its purpose and lifetime are set at the end. Raises
        ApiError."""
        while (part := await parts.next_part()) is not None:
            if part.name == "file":
                await self._receive(part, parts)
            elif part.name in self._fields:
                raise ApiError("invalid", f"{part.name} is given twice", param=part.name[:64])
            else:
                value = await gathered(parts.content())
                self._fields[part.name] = value.decode("utf-8", "replace")
                _check_purpose(self._fields)
        form = _form(self._fields)
        if self._upload is None:
            raise ApiError("invalid", "missing required parameter: 'file'", param="file")
        self._upload.describe(form.purpose, form.seconds)
        return await self._files.finish(self._upload)

    async def abandon(self) -> None:
        if self._upload is not None:
            await self._files.abandon(self._upload)

    async def _receive(self, part: Part, parts: Parts) -> None:
        if self._upload is not None:
            raise ApiError("invalid", "one file is uploaded at a time", param="file")
        filename = part.filename
        if not filename or len(filename) > MAX_NAME:
            raise ApiError(
                "invalid", f"a file has a name of at most {MAX_NAME} characters", param="file"
            )
        wanted = Wanted(base=self._base, mime=_mime(part.mime, filename), filename=filename)
        self._upload = await self._files.begin(current_owner(), wanted)
        await self._files.receive(self._upload, parts.content())


def _check_purpose(fields: Mapping[str, str]) -> None:
    """As soon as it is known."""
    purpose = fields.get("purpose", "")
    if purpose in REFUSED_PURPOSES:
        raise ApiError(
            "invalid",
            f"files for the purpose {purpose!r} are of no use: {REFUSED_PURPOSES[purpose]}",
            param="purpose",
            code="unsupported_parameter",
        )


def _form(fields: Mapping[str, str]) -> Form:
    try:
        form = Form.model_validate(fields)
    except ValidationError as error:
        raise invalid(error) from None
    if (form.anchor is None) != (form.seconds is None):
        raise ApiError("invalid", "expires_after has an anchor and seconds", param="expires_after")
    return form


def _mime(given: str | None, filename: str) -> str:
    try:
        known = given is not None and parse_mime(given).essence != UNKNOWN
    except ValueError as error:
        raise ApiError(
            "invalid", f"the content type of the file is {error}", param="file"
        ) from None
    return given.strip() if known and given is not None else guessed(filename)
