"""`tools` and `toolConfig` in Gemini's words, and calls in its answers."""

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from model.text.tools.calls import MAX_CALLS, Call
from service.api.gemini.contents import NAME
from service.api.gemini.structured import converted
from service.api.gemini.wire import Neutral, Wire
from service.api.parsing import refused
from service.api.tools.offer import MAX_FUNCTIONS, NO_PARAMETERS, Function, Offer, make_offer
from service.errors import ApiError


def _parameters(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        return converted(schema)
    except PydanticCustomError as error:
        raise refused("parameters", error.message()) from None


class FunctionDeclaration(Wire):
    """What a function returns is the caller's affair: nothing here reads it."""

    ignored = frozenset(("response", "responseJsonSchema"))
    neutral: ClassVar[Neutral] = {"behavior": ("UNSPECIFIED", "BLOCKING")}

    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None
    _schema: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.parameters is not None and self.parameters_json_schema is not None:
            raise refused("parametersJsonSchema", "give parameters or parametersJsonSchema")
        if self.parameters is not None:
            self._schema = _parameters(self.parameters)
        else:
            self._schema = self.parameters_json_schema or {}
        return self

    def offered(self, strict: bool) -> Function:
        return Function(self.name, self.description, self._schema or NO_PARAMETERS, strict)


class Tool(Wire):
    """Functions; of Google's own tools there are none here."""

    neutral: ClassVar[Neutral] = dict.fromkeys(
        (
            "retrieval", "googleSearch", "googleSearchRetrieval", "googleMaps", "codeExecution",
            "urlContext", "computerUse", "enterpriseWebSearch", "fileSearch", "mcpServers",
        ),
        (),
    )  # fmt: skip

    function_declarations: list[FunctionDeclaration] = Field([], max_length=MAX_FUNCTIONS)


class FunctionCallingConfig(Wire):
    neutral: ClassVar[Neutral] = {"streamFunctionCallArguments": (False,)}

    mode: Literal["MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"] = "AUTO"
    allowed_function_names: list[str] = Field([], max_length=MAX_FUNCTIONS)


class ToolConfig(Wire):
    neutral: ClassVar[Neutral] = {
        "retrievalConfig": ({},),
        "includeServerSideToolInvocations": (False,),
    }

    function_calling_config: FunctionCallingConfig | None = None


def offer_of(tools: Sequence[Tool], config: ToolConfig | None) -> Offer | None:
    """What the model is shown; None without functions, and in the mode NONE. Raises ApiError."""
    calling = (config and config.function_calling_config) or FunctionCallingConfig.model_validate(
        {}
    )
    only, mode = calling.allowed_function_names, calling.mode
    if only and mode not in ("ANY", "VALIDATED"):
        raise ApiError(
            "invalid",
            "allowedFunctionNames needs the mode ANY or VALIDATED",
            param="toolConfig.functionCallingConfig.allowedFunctionNames",
        )
    declared = [function for tool in tools for function in tool.function_declarations]
    if not declared:
        if mode == "ANY":
            raise ApiError("invalid", "the mode ANY needs functions", param="tool_choice")
        return None
    offer = make_offer(
        [function.offered(mode == "VALIDATED") for function in declared],
        only=only,
        must_call=mode == "ANY",
        most=MAX_CALLS,
    )
    return None if mode == "NONE" else offer


def call_part(call: Call) -> dict[str, Any]:
    """The arguments are sent as the JSON that they are, whatever their numbers' size."""
    arguments = msgspec.Raw(call.arguments.encode())
    return {"functionCall": {"id": uuid.uuid4().hex, "name": call.name, "args": arguments}}
