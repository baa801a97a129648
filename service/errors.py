"""What can go wrong with a request, before any protocol puts it in its own words.

ApiError
├── raised with kind "invalid" | "not_found" | "too_large" ...   by whoever understands it
└── ClientGone                                                   nobody is left to tell
"""

from collections.abc import Mapping
from typing import Literal

from model.contract import GroupFailed, InvalidParameter, WorkerUnavailable
from model.text.language import TemplateError

Kind = Literal[
    "invalid",
    "unauthenticated",
    "forbidden",
    "not_found",
    "unknown_model",
    "method",
    "conflict",
    "slow",
    "too_large",
    "rate_limited",
    "overloaded",
    "unavailable",
    "deadline",
    "aborted",
    "internal",
]

STATUS: dict[Kind, int] = {
    "invalid": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_model": 404,
    "method": 405,
    "slow": 408,
    "conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "overloaded": 429,
    "unavailable": 503,
    "deadline": 504,
    "aborted": 499,
    "internal": 500,
}

FAILURES: dict[str, Kind] = {
    "invalid": "invalid",
    "capacity": "overloaded",
    "unavailable": "unavailable",
    "deadline": "deadline",
    "internal": "internal",
}


class ApiError(Exception):
    """One line for the caller.

    param: the field at fault, in the words of the internal request; protocols rename it.
    code: a machine-readable word, where a protocol has one. retry_after: seconds. headers: of the
    reply.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.headers = headers or {}

    @property
    def status(self) -> int:
        return STATUS[self.kind]


class ClientGone(ApiError):
    """The caller left; its work is aborted and there is nobody to answer."""

    def __init__(self) -> None:
        super().__init__("aborted", "the client closed the request")


def shutting_down() -> ApiError:
    """For what still runs when the grace of a shutdown is over."""
    return ApiError("unavailable", "the server is shutting down", retry_after=1.0)


def of_failure(failed: GroupFailed) -> ApiError:
    kind = FAILURES.get(failed.code, "internal")
    retry_after = 1.0 if kind in ("overloaded", "unavailable") else None
    return ApiError(kind, failed.message, param=failed.param, retry_after=retry_after)


def as_api_error(error: Exception) -> ApiError:
    """Any exception as something that may be shown. Unknown ones say nothing of the inside."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, InvalidParameter):
        return ApiError("invalid", str(error), param=error.param)
    if isinstance(error, TemplateError):
        return ApiError("invalid", str(error), param="messages")
    if isinstance(error, WorkerUnavailable):
        return ApiError("unavailable", str(error), retry_after=error.retry_after)
    if isinstance(error, TimeoutError):
        return ApiError("deadline", "the request took longer than it may")
    return ApiError("internal", "the server failed to answer this request; its log says why")
