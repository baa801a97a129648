"""What all of Gemini's request objects share."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from service.api.document.shapes import Told
from service.api.parsing import drop_neutral, refused, whole

Neutral = Mapping[str, tuple[Any, ...]]
"""Names of fields with the values that ask for nothing."""


class Wire(Told):
    """Base of all: snake_case keys become camelCase ones, null is absent, unknown is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, strict=True)

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


def _number(given: Any) -> Any:
    """Google's JSON writes a number as such or as a string, and whole ones with a fraction too."""
    if isinstance(given, str) and _NUMERAL.fullmatch(given):
        return float(given) if "." in given else int(given)
    return whole(given)


_NUMERAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_WRITTEN = BeforeValidator(_number, json_schema_input_type=float | str)
Integer = Annotated[int, _WRITTEN]
Number = Annotated[float, _WRITTEN]


def camel_case(name: str) -> str:
    return to_camel(name) if "_" in name else name
