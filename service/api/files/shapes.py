"""A file in both protocols' words. Its id is the same in both, behind another prefix."""

import base64
from typing import Any

from service.errors import ApiError
from service.files.records import ID, FileRecord, timestamp

GEMINI_PREFIX = "files/"
OPENAI_PREFIX = "file-"


def gemini_file(record: FileRecord) -> dict[str, Any]:
    """Google's API lets nobody download what was uploaded and has no `downloadUri` then; this one
    does, and its clients ask for it."""
    shown = {} if record.display_name is None else {"displayName": record.display_name}
    created = timestamp(record.created)
    return {
        "name": GEMINI_PREFIX + record.id,
        **shown,
        "mimeType": record.mime,
        "sizeBytes": str(record.size),
        "createTime": created,
        "updateTime": created,
        "expirationTime": timestamp(record.expires),
        "sha256Hash": base64.b64encode(bytes.fromhex(record.sha256)).decode(),
        "uri": record.uri,
        "downloadUri": f"{record.uri}:download?alt=media",
        "state": "ACTIVE",
        "source": "UPLOADED",
    }


def openai_file(record: FileRecord) -> dict[str, Any]:
    return {
        "id": OPENAI_PREFIX + record.id,
        "object": "file",
        "bytes": record.size,
        "created_at": record.created // 1_000_000,
        "expires_at": record.expires // 1_000_000,
        "filename": record.filename,
        "purpose": record.purpose,
        "status": "processed",
    }


def id_of_openai(given: str) -> str | None:
    return _id(given, OPENAI_PREFIX)


def id_of_gemini(given: str) -> str | None:
    return _id(given, GEMINI_PREFIX)


def _id(given: str, prefix: str) -> str | None:
    found = given.removeprefix(prefix)
    return found if given.startswith(prefix) and ID.fullmatch(found) else None


def no_such_file(given: str, param: str | None = None) -> ApiError:
    """The same for one that never was, has expired or is another's."""
    return ApiError("not_found", f"there is no file {given[:100]!r} here", param=param)
