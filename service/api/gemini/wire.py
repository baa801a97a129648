"""What all of Gemini's request objects share."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from service.api.parsing import drop_neutral, refused

Neutral = Mapping[str, tuple[Any, ...]]
"""Names of fields with the values that ask for nothing."""


class Wire(BaseModel):
    """Base of all: snake_case keys become camelCase ones, null is absent, unknown is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    ignored: ClassVar[frozenset[str]] = frozenset()
    neutral: ClassVar[Neutral] = {}

    @model_validator(mode="before")
    @classmethod
    def _normal(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        present: dict[str, Any] = {}
        for name, value in data.items():
            camel = camel_case(name)
            if camel in present:
                raise refused(camel, f"{camel} is given twice, in both spellings")
            if value is not None:
                present[camel] = value
        return drop_neutral(present, cls.ignored, cls.neutral)


def camel_case(name: str) -> str:
    return to_camel(name) if "_" in name else name
