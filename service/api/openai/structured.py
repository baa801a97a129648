"""Structured output in OpenAI's words (`response_format`) and in vLLM's (`structured_outputs`,
`guided_*`). Chat and completions take it; at most one form at a time."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from model.contract import Constraint
from service.api.openai.sampling_fields import SamplingFields
from service.api.parsing import refused
from service.api.structured import (
    ANY_JSON,
    ANY_OBJECT,
    choice_form,
    grammar_form,
    json_form,
    regex_form,
)


def _read_schema(given: Any) -> Any:
    """vLLM's clients send a schema as an object or as its JSON text."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        raise ValueError("the schema is not valid JSON") from None


Schema = Annotated[
    dict[str, Any],
    BeforeValidator(_read_schema, json_schema_input_type=str | dict[str, Any]),
]


class JsonSchemaFormat(BaseModel):
    """strict is always honoured: there is no looser way of writing an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, strict=True)

    name: str | None = Field(None, max_length=256)
    description: str | None = None
    json_schema: Schema = Field(ANY_JSON, alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _complete(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise refused("json_schema", "json_schema goes with the type json_schema, and only so")
        return self

    def form(self) -> Constraint | None:
        if self.type == "text":
            return None
        if self.json_schema is None:
            return json_form(ANY_OBJECT)
        return json_form(self.json_schema.json_schema)


class StructuredOutputs(BaseModel):
    """vLLM's: exactly one of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    json_: Schema | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: Literal[True] | None = None

    @model_validator(mode="after")
    def _one(self) -> "StructuredOutputs":
        if len(self.model_fields_set) != 1:
            raise ValueError("give exactly one of json, regex, choice, grammar and json_object")
        return self

    def form(self) -> Constraint:
        if self.json_ is not None:
            return json_form(self.json_)
        if self.regex is not None:
            return regex_form(self.regex)
        if self.choice is not None:
            return choice_form(self.choice)
        if self.grammar is not None:
            return grammar_form(self.grammar)
        return json_form(ANY_OBJECT)


class StructuredFields(SamplingFields):
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: Schema | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "StructuredFields":
        given = [name for name in _FORMS if getattr(self, name) is not None]
        if len(given) > 1:
            raise refused(given[1], f"{given[1]} and {given[0]} exclude each other")
        return self

    def form(self) -> Constraint | None:
        """What the answer must look like. Raises InvalidParameter."""
        if self.response_format is not None:
            return self.response_format.form()
        if self.structured_outputs is not None:
            return self.structured_outputs.form()
        if self.guided_json is not None:
            return json_form(self.guided_json)
        if self.guided_regex is not None:
            return regex_form(self.guided_regex)
        if self.guided_choice is not None:
            return choice_form(self.guided_choice)
        if self.guided_grammar is not None:
            return grammar_form(self.guided_grammar)
        return None


_FORMS = (
    "response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice",
    "guided_grammar",
)  # fmt: skip
