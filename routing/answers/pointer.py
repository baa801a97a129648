"""JSON Pointers (RFC 6901): `/answers/0/value`."""

from typing import Any

MAX_POINTER_CHARS = 256


def parsed(pointer: str) -> tuple[str, ...]:
    """The pointer's steps. Raises ValueError for what is no pointer."""
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise ValueError('pointer must be empty or begin with "/", such as /answer')
    steps = pointer.split("/")[1:]
    if any("~" in step.replace("~0", "").replace("~1", "") for step in steps):
        raise ValueError('pointer: "~" is written ~0, and "/" inside of a name ~1')
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def resolve(value: Any, pointer: str) -> Any:
    """What the pointer points at. Raises LookupError when there is nothing, ValueError as above."""
    for step in parsed(pointer):
        if isinstance(value, dict):
            value = value[step]
        elif isinstance(value, list) and _is_index(step):
            value = value[int(step)]
        else:
            raise LookupError(step)
    return value


def _is_index(step: str) -> bool:
    digits = step.isascii() and step.isdigit() and len(step) <= 9
    return digits and (step == "0" or not step.startswith("0"))
