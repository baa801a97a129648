"""What is served, in both protocols' words, for the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ModelReply(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    max_model_len: int


class ModelListReply(BaseModel):
    object: Literal["list"]
    data: list[ModelReply]


class GeminiModelReply(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    name: str
    display_name: str
    version: str
    description: str
    input_token_limit: int
    output_token_limit: int
    supported_generation_methods: list[str]
    temperature: float
    top_p: float


class GeminiModelListReply(BaseModel):
    models: list[GeminiModelReply]
