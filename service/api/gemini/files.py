"""`inlineData` and `fileData`: files in a turn."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pydantic import Field, PrivateAttr, model_validator

from service.api.attachments import Texts, read_texts
from service.api.gemini.wire import Wire
from service.api.parsing import refused
from service.errors import ApiError
from service.files.inline import base64_bytes
from service.files.records import ID
from service.files.resolver import Inline, Reference, Stored
from service.gateway import Gateway

if TYPE_CHECKING:
    from service.api.gemini.contents import Content

MAX_MIME = 256

_URI = re.compile(rf"(?:https?://[^/?#\s]+(?:/[^?#\s]*)?/v1(?:beta|alpha)?/)?files/({ID.pattern})")


class Blob(Wire):
    """Content in the request. A name is for people."""

    ignored = frozenset(("displayName",))

    mime_type: str = Field(max_length=MAX_MIME)
    data: str
    _bytes: bytes = PrivateAttr(b"")

    @model_validator(mode="after")
    def _decoded(self) -> Self:
        try:
            self._bytes = base64_bytes(self.data)
        except ValueError:
            raise refused("data", "data must be base64") from None
        return self

    @property
    def reference(self) -> Reference:
        return Inline(self.mime_type, self._bytes)


class FileData(Wire):
    """An uploaded file by its `uri`, or by its name. Nothing is fetched from elsewhere."""

    ignored = frozenset(("displayName",))

    file_uri: str = Field(max_length=1024)
    mime_type: str | None = Field(None, max_length=MAX_MIME)

    @model_validator(mode="after")
    def _ours(self) -> Self:
        if _URI.fullmatch(self.file_uri) is None:
            raise refused(
                "fileUri",
                "a fileUri is the uri of a file that was uploaded to this server; nothing is "
                "fetched from elsewhere",
            )
        return self

    @property
    def reference(self) -> Reference:
        match = _URI.fullmatch(self.file_uri)
        assert match is not None
        uri = self.file_uri if "://" in self.file_uri else None
        return Stored(match[1], uri, self.mime_type)


def references_in(contents: Sequence["Content"]) -> list[Reference]:
    """Of the files, as often as they occur."""
    found = (part.reference for content in contents for part in content.parts)
    return [reference for reference in found if reference is not None]


async def texts_of(gateway: Gateway, model: str, references: Sequence[Reference]) -> Texts:
    """Raises ApiError."""
    return await read_texts(gateway, model, references, _no_permission, "messages")


def _no_permission(reference: Reference) -> ApiError:
    """As Google's API says it, which tells nobody whether another has the file."""
    name = reference.file_id if isinstance(reference, Stored) else ""
    return ApiError(
        "forbidden",
        f"You do not have permission to access the File {name} or it may not exist.",
    )
