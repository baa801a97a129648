"""Lists of what a caller keeps here, newest first, in Gemini's pages."""

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

from service.errors import ApiError


class _Kept(Protocol):
    @property
    def created(self) -> int: ...

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_Kept)


def page_of(kept: Sequence[T], token: str | None, size: int) -> tuple[list[T], dict[str, str]]:
    """A page, and what says how to go on, if there is more. A token names the last one of the page
    before: it holds when that one is deleted. Raises ApiError for a token that is none."""
    rest = list(kept)
    if token:
        last = _place(token)
        rest = [one for one in rest if (one.created, one.id) < last]
    page = rest[:size]
    if len(page) == len(rest):
        return page, {}
    return page, {"nextPageToken": f"{page[-1].created}-{page[-1].id}"}


def _place(token: str) -> tuple[int, str]:
    match = re.fullmatch(r"([0-9]{1,20})-([0-9a-f]{1,64})", token)
    if match is None:
        raise ApiError("invalid", "pageToken is none of this server's", param="pageToken")
    return int(match[1]), match[2]
