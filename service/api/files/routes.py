"""Where the Files APIs are found, and what the OpenAPI document says of them."""

from collections.abc import Sequence
from typing import Any, get_args

from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from service.api.document.file_replies import (
    FileDeletedReply,
    FileListReply,
    FileReply,
    GeminiFileDeletedReply,
    GeminiFileListReply,
    GeminiFileReply,
)
from service.api.document.operations import Protocol, operation
from service.api.files import endpoints
from service.api.files.gemini import GeminiUploads
from service.api.files.openai import Purpose
from service.api.files.sessions import Sessions

_REPLIES: dict[Protocol, tuple[Any, Any, Any]] = {
    "openai": (FileListReply, FileReply, FileDeletedReply),
    "gemini": (GeminiFileListReply, GeminiFileReply, GeminiFileDeletedReply),
    "either": (
        FileListReply | GeminiFileListReply,
        FileReply | GeminiFileReply,
        FileDeletedReply | GeminiFileDeletedReply,
    ),
}

_OPENAI_PAGES: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
    "order": {"enum": ["asc", "desc"]},
    "after": {"type": "string"},
    "purpose": {"type": "string"},
}
_GEMINI_PAGES: dict[str, dict[str, Any]] = {
    "pageSize": {"type": "integer", "minimum": 0, "maximum": 100},
    "pageToken": {"type": "string", "maxLength": 100},
}
_LINKS = {"files_get_file": "name", "files_delete_file": "name", "files_content": "name"}
"""Operations of `/v1/files/{name}`."""

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"enum": list(get_args(Purpose))},
                    "expires_after[anchor]": {"enum": ["created_at"]},
                    "expires_after[seconds]": {
                        "type": "integer",
                        "minimum": 3600,
                        "maximum": 2_592_000,
                    },
                },
                "required": ["file", "purpose"],
                "additionalProperties": False,
            }
        }
    },
}


def add_files(app: FastAPI, versions: Sequence[str]) -> None:
    """Under every prefix of both protocols; `/v1/files` is in the document for either."""
    uploads = uploads_router(Sessions())
    app.include_router(files_router("openai"), prefix="/openai/v1", include_in_schema=False)
    for version in versions:
        protocol: Protocol = "either" if version == "v1" else "gemini"
        app.include_router(
            files_router(protocol),
            prefix=f"/{version}",
            tags=["files" if version == "v1" else "gemini"],
            include_in_schema=version in ("v1", "v1beta"),
        )
        for prefix in ("", "/gemini"):
            app.include_router(uploads, prefix=f"{prefix}/upload/{version}")
        app.include_router(
            files_router("gemini"), prefix=f"/gemini/{version}", include_in_schema=False
        )


def uploads_router(sessions: Sessions) -> APIRouter:
    """Not in the document, which has no words for commands in headers."""
    router = APIRouter()
    upload = GeminiUploads(sessions).upload
    router.add_api_route("/files", upload, methods=["POST"], include_in_schema=False)
    return router


def files_router(protocol: Protocol) -> APIRouter:
    """protocol: that of the paths below which it is mounted, or "either"."""
    listed, one, deleted = _REPLIES[protocol]
    pages = _GEMINI_PAGES if protocol == "gemini" else _OPENAI_PAGES
    router = APIRouter()
    router.add_api_route(
        "/files",
        endpoints.list_files,
        methods=["GET"],
        summary="Files that are kept",
        **operation(protocol, reply=listed, query=pages),
    )
    router.add_api_route(
        "/files/{name}",
        endpoints.get_file,
        methods=["GET"],
        summary="One of them (Gemini: its content with :download)",
        **operation(protocol, reply=one),
    )
    router.add_api_route(
        "/files/{name}",
        endpoints.delete_file,
        methods=["DELETE"],
        summary="Delete a file",
        **operation(protocol, reply=deleted),
    )
    if protocol != "openai":
        router.add_api_route(
            "/files:register", endpoints.register, methods=["POST"], include_in_schema=False
        )
    if protocol != "gemini":
        created = operation(protocol, reply=FileReply, links=_LINKS)
        created["openapi_extra"]["requestBody"] = _FORM
        router.add_api_route(
            "/files", endpoints.create, methods=["POST"], summary="Upload a file", **created
        )
        content = operation(protocol)
        content["responses"][200] = {
            "description": "Success",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        }
        router.add_api_route(
            "/files/{name}/content",
            endpoints.content,
            methods=["GET"],
            summary="What is in a file",
            response_class=Response,
            **content,
        )
    return router
