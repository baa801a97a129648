"""Files in a message: `file` parts of chat, `input_file` parts of responses."""

import re
from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from service.api.attachments import Texts, read_texts
from service.api.files.shapes import OPENAI_PREFIX, id_of_openai, no_such_file
from service.api.parsing import refused
from service.errors import ApiError
from service.files.inline import base64_bytes
from service.files.mime import UNKNOWN, guessed
from service.files.records import MAX_NAME
from service.files.resolver import Inline, Reference, Stored
from service.gateway import Gateway

_DATA_URL = re.compile(r"data:([^;,]{1,100}(?:;[^;,]{1,100})*)?;base64,", re.IGNORECASE)


class GivenFile(BaseModel):
    """By its id, or as base64, alone (the kind is known by the name) or in a data: URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file_id: str | None = Field(None, max_length=64)
    file_data: str | None = None
    filename: str | None = Field(None, max_length=MAX_NAME)
    _reference: Reference | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _here(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = {name: value for name, value in data.items() if value is not None}
        if "file_url" in given:
            raise refused("file_url", "files are not fetched from elsewhere: upload it")
        return given

    @model_validator(mode="after")
    def _read(self) -> Self:
        if (self.file_id is None) == (self.file_data is None):
            raise refused("file_id", "a file has either file_id or file_data")
        if self.file_id is not None:
            found = id_of_openai(self.file_id)
            if found is None:
                raise refused("file_id", f"a file_id begins with {OPENAI_PREFIX}")
            self._reference = Stored(found)
        else:
            self._reference = self._inline(self.file_data or "")
        return self

    def _inline(self, written: str) -> Inline:
        # Not `partition`: what has no such head is base64 as a whole.
        head = _DATA_URL.match(written[:512])
        mime = (head[1] if head else None) or UNKNOWN
        try:
            data = base64_bytes(written[head.end() :] if head else written)
        except ValueError:
            raise refused("file_data", "file_data must be base64, or a data: URL of it") from None
        return Inline(guessed(self.filename) if mime == UNKNOWN else mime, data)

    @property
    def reference(self) -> Reference:
        assert self._reference is not None
        return self._reference


async def texts_of(
    gateway: Gateway, model: str, references: Sequence[Reference], param: str
) -> Texts:
    """Raises ApiError."""

    def missing(reference: Reference) -> ApiError:
        found = reference.file_id if isinstance(reference, Stored) else ""
        return no_such_file(OPENAI_PREFIX + found, param)

    return await read_texts(gateway, model, references, missing, param)
