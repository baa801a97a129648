"""Bodies and headers into request models; what is wrong becomes one line with its place."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticCustomError
from starlette.requests import ClientDisconnect, Request

from service.errors import ApiError, ClientGone

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

LARGE_BYTES = 64 * 1024
"""Some milliseconds of parsing, at worst."""

MAX_PARTS = 50_000
"""Objects, arrays and members of one request. A long text is read in no time; what takes a
validator long is how many parts there are, each some microseconds."""


async def parse_body(request: Request, model: type[M]) -> M:
    """Raises ApiError: "too_large" or "slow" while reading, "invalid" with the field's path."""
    try:
        raw = await request.body()
    except ClientDisconnect:
        raise ClientGone from None
    return await parse(raw, model)


async def parse(raw: bytes | str, model: type[M]) -> M:
    """Raises ApiError("invalid")."""
    return await off_loop(raw, lambda given: parse_json(given, model))


async def off_loop(raw: bytes | str, read: Callable[[bytes | str], T]) -> T:
    """Reads JSON, a large one on a thread, so that nobody else waits for it. Raises
    ApiError("invalid") for one of too many parts, and what `read` does."""
    if len(raw) <= LARGE_BYTES:
        return read(raw)
    return await asyncio.to_thread(_read_large, raw, read)


def _read_large(raw: bytes | str, read: Callable[[bytes | str], T]) -> T:
    given = raw.encode() if isinstance(raw, str) else raw
    if _parts(given) > MAX_PARTS and parts_outside_strings(given) > MAX_PARTS:
        raise ApiError(
            "invalid", f"the request has more than {MAX_PARTS} objects, arrays and members"
        )
    return read(raw)


def _parts(raw: bytes) -> int:
    return raw.count(b"{") + raw.count(b"[") + raw.count(b":")


def parts_outside_strings(raw: bytes) -> int:
    """Objects, arrays and members of JSON."""
    unescaped = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    return _parts(b"".join(unescaped.split(b'"')[::2]))


def parse_json(raw: bytes | str, model: type[M], *, param: str | None = None) -> M:
    """param: what the JSON itself is called, for headers."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid(error, param) from None


def parse_query(request: Request, model: type[M]) -> M:
    """Raises ApiError. `key` is a credential and no parameter; of two values the last counts."""
    given = {name: value for name, value in request.query_params.items() if name != "key"}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError, prefix: str | None = None) -> ApiError:
    """The first complaint, and how many more there are."""
    details = error.errors(include_url=False, include_input=False)
    first = details[0]
    context = first.get("ctx", {})
    param = path((*first["loc"], *([context["param"]] if "param" in context else [])))
    if prefix is not None:
        param = f"{prefix}.{param}" if param else prefix
    code = None
    if first["type"] == "json_invalid":
        problem = first["msg"].removeprefix("Invalid JSON: ")
        message = f"{prefix or 'the request'} is not valid JSON: {problem}"
    elif first["type"] == "extra_forbidden":
        message, code = f"unknown parameter: {param!r}", "unknown_parameter"
    elif first["type"] == "missing":
        message, code = f"missing required parameter: {param!r}", "missing_required_parameter"
    elif first["type"] == "unsupported_parameter":
        message, code = f"{param} is not supported here; leave it out", "unsupported_parameter"
    elif first["type"] == "refused":
        message = first["msg"]
    else:
        said = first["msg"].removeprefix("Value error, ")
        message = f"{param}: {said}" if param else said
    if len(details) > 1:
        message += f" (and {len(details) - 1} more)"
    return ApiError("invalid", message[:500], param=param or None, code=code)


def path(loc: Sequence[int | str]) -> str:
    """`messages[0].content`. Parts in brackets are tags of our unions and pydantic's own marks."""
    written = ""
    for part in loc:
        if isinstance(part, int):
            written += f"[{part}]"
        elif not part.startswith(("<", "[")):
            written += f".{part}" if written else part
    return written[:200]


def whole(given: Any) -> Any:
    """JSON has one kind of number: 16.0 is an integer. Raises ValueError for one that 64 bits do
    not hold: Python would go on with it, and fail where it is to be written."""
    number = int(given) if isinstance(given, float) and given.is_integer() else given
    if isinstance(number, int) and not -(2**63) <= number < 2**64:
        raise ValueError("must be a number of 64 bits")
    return number


def refused(param: str, message: str) -> PydanticCustomError:
    """For validators that see a whole object: which of its fields is at fault, and why."""
    return PydanticCustomError("refused", "{message}", {"param": param, "message": message})


def drop_neutral(data: Any, ignored: frozenset[str], neutral: Mapping[str, Sequence[Any]]) -> Any:
    """Takes out fields that change nothing, and refuses those that ask for what is not there.

    ignored: names that never change an answer. neutral: names with the values that ask for
    nothing. For validators: raises PydanticCustomError.
    """
    if not isinstance(data, dict):
        return data
    kept: dict[str, Any] = {}
    for name, value in data.items():
        if name in ignored:
            continue
        if name not in neutral:
            kept[name] = value
            continue
        if value is not None and not any(_same(value, allowed) for allowed in neutral[name]):
            raise PydanticCustomError(
                "unsupported_parameter", "{param} is not supported here", {"param": name}
            )
    return kept


def _same(value: Any, allowed: Any) -> bool:
    """Equal, and not 0 for False."""
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)
