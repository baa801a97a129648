"""POST /upload/{version}/files and /{version}/files: Gemini's Files API.

https://ai.google.dev/api/files. Bytes come by the resumable protocol, or with their description in
one multipart request.
"""

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from service.api.common import gateway_of
from service.api.files.address import base_url
from service.api.files.capability import upload_id_of
from service.api.files.incoming import chunks_of, gathered, small_body
from service.api.files.multipart import MultipartReader, Parts, as_text
from service.api.files.sessions import Sessions
from service.api.files.shapes import gemini_file, id_of_gemini
from service.api.gemini.wire import Wire
from service.api.parsing import parse_json
from service.api.replies import JSONReply
from service.errors import ApiError
from service.files.mime import UNKNOWN, guessed, parse_mime
from service.files.records import MAX_NAME, FileRecord
from service.files.store import FileStore
from service.files.uploads import Upload, Wanted
from service.guard.visits import current_owner

COMMAND = "x-goog-upload-command"
STATUS = "x-goog-upload-status"


class FileMetadata(Wire):
    """What a caller may say of a file; the rest is the server's, and changes nothing."""

    ignored = frozenset(
        ("sizeBytes", "createTime", "updateTime", "expirationTime", "sha256Hash", "uri",
         "downloadUri", "state", "source", "error", "videoMetadata")
    )  # fmt: skip

    name: str | None = Field(None, max_length=64)
    display_name: str | None = Field(None, max_length=MAX_NAME)
    mime_type: str | None = Field(None, max_length=256)

    def file_id(self) -> str | None:
        """Raises ApiError."""
        if self.name is None:
            return None
        found = id_of_gemini(self.name)
        if found is None:
            raise ApiError(
                "invalid",
                "a name is files/ and up to 40 lower case letters, digits and dashes, none of "
                "them at an end",
                param="file.name",
            )
        return found


class CreateFileRequest(Wire):
    file: FileMetadata = Field(default_factory=lambda: FileMetadata.model_validate({}))


class GeminiUploads:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def upload(self, request: Request) -> Response:
        upload_id = upload_id_of(request.scope)
        if upload_id is not None:
            return await self._go_on(request, upload_id)
        if request.query_params.get("uploadType") == "multipart":
            return await _whole(request)
        commands = _commands(request)
        if request.headers.get("x-goog-upload-protocol", "").lower() != "resumable":
            raise ApiError(
                "invalid",
                "uploads are resumable (X-Goog-Upload-Protocol: resumable) or uploadType=multipart",
            )
        if commands != ["start"]:
            raise ApiError(
                "invalid", "an upload begins with X-Goog-Upload-Command: start and nothing else"
            )
        return await self._start(request)

    async def _start(self, request: Request) -> Response:
        gateway = gateway_of(request)
        raw = await small_body(request)
        body = parse_json(raw or b"{}", CreateFileRequest)
        base = base_url(request, gateway.settings)
        filename = _header(request, "x-goog-upload-file-name")
        mime = request.headers.get("x-goog-upload-header-content-type")
        size = _count(request, "x-goog-upload-header-content-length")
        wanted = wanted_of(body.file, base, filename, mime, size)
        upload = await gateway.files.begin(current_owner(), wanted)
        upload_id = self._sessions.add(upload)
        path = request.scope["path"]
        address = f"{base}{path}?upload_id={upload_id}&upload_protocol=resumable"
        headers = {
            "x-goog-upload-url": address,
            "x-goog-upload-control-url": address,
            "x-goog-upload-chunk-granularity": "1",
            STATUS: "active",
        }
        return Response(headers=headers, media_type="application/json")

    async def _go_on(self, request: Request, upload_id: str) -> Response:
        """Errors say by a header how the upload stands: clients without it try in vain."""
        files = gateway_of(request).files
        try:
            upload = self._sessions.find(upload_id)
        except ApiError as error:
            error.headers = {STATUS: "final"}
            raise
        try:
            return await self._obey(request, files, upload)
        except ApiError as error:
            error.headers = _standing(upload)
            raise

    async def _obey(self, request: Request, files: FileStore, upload: Upload) -> Response:
        commands = _commands(request)
        if commands == ["query"]:
            return _final(upload.file) if upload.file else _active(upload)
        if upload.file is not None:
            raise ApiError("invalid", "this upload is finished")
        if commands == ["cancel"]:
            if upload.busy:
                raise ApiError("conflict", "another request is sending bytes of this upload")
            await files.abandon(upload)
            return Response(headers={STATUS: "cancelled"})
        if commands not in (["upload"], ["finalize"], ["upload", "finalize"]):
            raise ApiError(
                "invalid",
                "X-Goog-Upload-Command must be upload, finalize, both, query or cancel",
            )
        if "upload" in commands:
            await self._receive(request, files, upload)
        if "finalize" in commands:
            return _final(await files.finish(upload))
        return _active(upload)

    async def _receive(self, request: Request, files: FileStore, upload: Upload) -> None:
        offset = _count(request, "x-goog-upload-offset")
        if upload.busy:
            raise ApiError("conflict", "another request is sending bytes of this upload")
        if offset is None or offset != upload.offset:
            raise ApiError(
                "invalid",
                f"the next byte of this upload is that at {upload.offset}, not at "
                f"{'an unnamed place' if offset is None else offset}",
            )
        await files.receive(upload, chunks_of(request))


async def _whole(request: Request) -> Response:
    """multipart/related: the description, then the content."""
    gateway = gateway_of(request)
    files, base = gateway.files, base_url(request, gateway.settings)
    content_type = request.headers.get("content-type")
    reader = MultipartReader(content_type, ("multipart/related", "multipart/form-data"))
    parts = Parts(reader, chunks_of(request))
    first = await parts.next_part()
    if first is None:
        raise ApiError("invalid", "the description of the file is missing")
    body = parse_json(await gathered(parts.content()), CreateFileRequest)
    second = await parts.next_part()
    if second is None:
        raise ApiError("invalid", "the content of the file is missing")
    if second.headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit"):
        raise ApiError("invalid", "the content must be sent as it is, in binary")
    wanted = wanted_of(body.file, base, second.filename, second.mime, None)
    upload = await files.begin(current_owner(), wanted)
    try:
        await files.receive(upload, parts.content())
        if await parts.next_part() is not None:
            raise ApiError("invalid", "there are more than two parts")
        record = await files.finish(upload)
    except BaseException:
        await files.abandon(upload)
        raise
    return JSONReply({"file": gemini_file(record)})


def wanted_of(
    file: FileMetadata, base: str, filename: str | None, mime: str | None, size: int | None
) -> Wanted:
    """Raises ApiError."""
    given = file.mime_type or mime or guessed(filename or file.display_name)
    try:
        essence = parse_mime(given).essence
    except ValueError as error:
        raise ApiError("invalid", f"the MIME type is {error}", param="file.mimeType") from None
    if essence == UNKNOWN:
        given = guessed(filename or file.display_name)
    return Wanted(
        base=base,
        mime=given.strip(),
        id=file.file_id(),
        filename=filename,
        display_name=file.display_name,
        size=size,
    )


def _commands(request: Request) -> list[str]:
    return [part.strip().lower() for part in request.headers.get(COMMAND, "").split(",")]


def _count(request: Request, name: str) -> int | None:
    """Raises ApiError."""
    written = request.headers.get(name)
    if written is None:
        return None
    if not (written.isascii() and written.isdigit() and len(written) <= 18):
        raise ApiError("invalid", f"{name} must be a number of bytes", param=name)
    return int(written)


def _header(request: Request, name: str) -> str | None:
    """Clients send UTF-8 where HTTP has Latin-1."""
    written = request.headers.get(name)
    return None if written is None else as_text(written.encode("latin-1"))[:MAX_NAME] or None


def _standing(upload: Upload) -> dict[str, str]:
    if upload.file is not None:
        return {STATUS: "final"}
    if upload.gone:
        return {STATUS: "cancelled"}
    return {STATUS: "active", "x-goog-upload-size-received": str(upload.offset)}


def _active(upload: Upload) -> Response:
    return Response(headers=_standing(upload))


def _final(record: FileRecord) -> Response:
    reply = JSONReply({"file": gemini_file(record)})
    reply.headers[STATUS] = "final"
    return reply
