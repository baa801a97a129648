"""Bodies and headers into request models; what is wrong becomes one line with its place."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.errors import ApiError

M = TypeVar("M", bound=BaseModel)


async def parse_body(request: Request, model: type[M]) -> M:
    """Raises ApiError: "too_large" while reading, "invalid" with the field's path."""
    return parse_json(await request.body(), model)


def parse_json(raw: bytes | str, model: type[M], *, param: str | None = None) -> M:
    """param: what the JSON itself is called, for headers."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise invalid(error, param) from None


def invalid(error: ValidationError, prefix: str | None = None) -> ApiError:
    """The first complaint, and how many more there are."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    first = details[0]
    param = path(first["loc"])
    if prefix is not None:
        param = f"{prefix}.{param}" if param else prefix
    code = None
    if first["type"] == "json_invalid":
        message = f"the request is not valid JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
    elif first["type"] == "extra_forbidden":
        message, code = f"unknown parameter: {param!r}", "unknown_parameter"
    elif first["type"] == "missing":
        message, code = f"missing required parameter: {param!r}", "missing_required_parameter"
    else:
        message = f"{param}: {first['msg']}" if param else first["msg"]
    if len(details) > 1:
        message += f" (and {len(details) - 1} more)"
    return ApiError("invalid", message[:500], param=param or None, code=code)


def path(loc: Sequence[int | str]) -> str:
    """`messages[0].content`. Parts in angle brackets are tags of our unions, not fields."""
    written = ""
    for part in loc:
        if isinstance(part, int):
            written += f"[{part}]"
        elif not part.startswith("<"):
            written += f".{part}" if written else part
    return written[:200]


def drop_neutral(data: Any, ignored: frozenset[str], neutral: Mapping[str, Sequence[Any]]) -> Any:
    """Takes out fields that change nothing, and refuses those that ask for what is not there.

    ignored: names that never change an answer. neutral: names with the values that ask for
    nothing. Raises ApiError.
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
            raise ApiError(
                "invalid",
                f"{name} is not supported here; leave it out",
                param=name,
                code="unsupported_parameter",
            )
    return kept


def _same(value: Any, allowed: Any) -> bool:
    """Equal, and not 0 for False."""
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)
