"""Typed, bounded access to the key-value metadata of a checkpoint, whose author is not trusted."""

from collections.abc import Mapping, Sequence
from typing import Any

from model.checkpoints.base import DamagedCheckpoint

_NUMBER_NAMES = {int: "a whole number", float: "a number"}


class Values:
    """A mapping from a file. Missing keys without a default, wrong types and values out of
    bounds raise DamagedCheckpoint with the key's name. An explicit null counts as missing."""

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def has(self, key: str) -> bool:
        return self._values.get(self._prefix + key) is not None

    @property
    def names(self) -> list[str]:
        """All keys, as they are asked for."""
        return [key.removeprefix(self._prefix) for key in self._values]

    def raw(self, key: str) -> Any:
        return self._values.get(self._prefix + key)

    def integer(self, key: str, default: int | None = None, *, low: int = 1, high: int) -> int:
        value = self._get(key, default)
        return int(self._bounded(key, value, int, low, high))

    def number(
        self, key: str, default: float | None = None, *, low: float = 0.0, high: float = 1e12
    ) -> float:
        value = self._get(key, default)
        return float(self._bounded(key, value, float, low, high))

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise DamagedCheckpoint(
                f"{self._prefix}{key} must be true or false, not {short(value)}"
            )
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise DamagedCheckpoint(f"{self._prefix}{key} must be a text, not {short(value)}")
        return value

    def per_layer(
        self, key: str, layers: int, default: int | None = None, *, low: int = 1, high: int
    ) -> tuple[int, ...]:
        """One whole number for all layers, or a list with one for each."""
        value = self._get(key, default)
        if not isinstance(value, list):
            return (int(self._bounded(key, value, int, low, high)),) * layers
        if len(value) != layers:
            raise DamagedCheckpoint(
                f"{self._prefix}{key} has {len(value)} entries for {layers} layers"
            )
        return tuple(int(self._bounded(key, item, int, low, high)) for item in value)

    def sequence(self, key: str, length: int) -> Sequence[Any]:
        value = self._get(key, None)
        if not isinstance(value, list) or len(value) != length:
            raise DamagedCheckpoint(f"{self._prefix}{key} must be a list of {length}")
        return value

    def nested(self, key: str) -> "Values":
        """The object under `key`; an empty one when it is missing."""
        value = self.raw(key)
        if value is None:
            return Values({})
        if not isinstance(value, dict):
            raise DamagedCheckpoint(f"{self._prefix}{key} must be an object, not {short(value)}")
        return Values(value)

    def _get(self, key: str, default: Any) -> Any:
        value = self._values.get(self._prefix + key)
        if value is not None:
            return value
        if default is None:
            raise DamagedCheckpoint(f"{self._prefix}{key} is missing")
        return default

    def _bounded(
        self, key: str, value: Any, kind: type[int] | type[float], low: float, high: float
    ) -> float:
        accepted = (int, float) if kind is float else int
        if not isinstance(value, accepted) or isinstance(value, bool) or value != value:
            raise DamagedCheckpoint(
                f"{self._prefix}{key} must be {_NUMBER_NAMES[kind]}, not {short(value)}"
            )
        if not low <= value <= high:
            raise DamagedCheckpoint(
                f"{self._prefix}{key} is {short(value)}, outside [{low}, {high}]"
            )
        return value


def short(value: object) -> str:
    """A value from a file, fit for one line of an error message."""
    text = repr(value) if isinstance(value, (str, int, float)) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
