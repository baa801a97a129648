"""What the request objects in OpenAI's words share."""

from typing import Any

from pydantic import ConfigDict, model_validator

from service.api.document.shapes import Told
from service.api.parsing import drop_neutral


class Given(Told):
    """Unknown fields are errors, values are JSON's own. Clients send objects back as they came,
    with nulls for what is not there."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, data: Any) -> Any:
        kept = drop_neutral(data, cls.ignored, cls.neutral)
        if not isinstance(kept, dict):
            return kept
        return {name: value for name, value in kept.items() if value is not None}
