"""What all contract types are made of."""

import msgspec


class InvalidParameter(ValueError):
    """A value that no worker accepts. `param` names it in the contract's words."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all contract types: immutable, compared by value, unknown fields ignored."""


def require(condition: bool, param: str, message: str) -> None:
    """Raises InvalidParameter unless the condition holds."""
    if not condition:
        raise InvalidParameter(param, message)
