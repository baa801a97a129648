"""POST /v1/embeddings: texts or token ids in, unit vectors out."""

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from service.api.common import gateway_of
from service.api.document.openai_replies import EmbeddingsReply
from service.api.document.operations import operation
from service.api.embedding import EmbeddingInput, embed, plan_embeddings, written
from service.api.openai.completions import inputs_of
from service.api.openai.given import Given
from service.api.openai.sampling_fields import Integer
from service.api.openai.schemas import CompletionPrompt
from service.api.parsing import parse_body
from service.api.replies import JSONReply, answer

router = APIRouter()


class EmbeddingRequest(Given):
    """input: a string, a list of strings, token ids, or a list of lists of token ids.

    truncate_prompt_tokens: vLLM's, -1 is the context; the first tokens are kept.
    """

    ignored: ClassVar[frozenset[str]] = frozenset(("user", "priority", "request_id"))
    neutral: ClassVar[Mapping[str, Sequence[Any]]] = {
        "normalize": (True,),
        "embed_dtype": ("float32",),
        "endianness": ("native", "little"),
        "uncertainty_routing": (),
    }

    model: str
    input: CompletionPrompt
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Integer | None = Field(None, ge=1)
    truncate_prompt_tokens: Annotated[Integer, Field(ge=1)] | Literal[-1] | None = None
    add_special_tokens: bool = True

    def inputs(self, context: int) -> list[EmbeddingInput]:
        many = isinstance(self.input, list) and not isinstance(next(iter(self.input), None), int)
        truncate = context if self.truncate_prompt_tokens == -1 else self.truncate_prompt_tokens
        return [
            EmbeddingInput(
                given,
                f"input[{place}]" if many else "input",
                truncate,
                self.add_special_tokens,
            )
            for place, given in enumerate(inputs_of(self.input))
        ]


@router.post(
    "/embeddings",
    summary="Vectors of texts",
    **operation("openai", body=EmbeddingRequest, reply=EmbeddingsReply),
)
async def embeddings(request: Request) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, EmbeddingRequest)
    card, _ = gateway.model()
    plan = await plan_embeddings(
        gateway,
        body.model,
        body.inputs(card.context),
        request.headers,
        param="input",
        dimensions=body.dimensions,
    )
    vectors = await answer(request, embed(gateway, plan), plan.timeout)
    write = _base64 if body.encoding_format == "base64" else _numbers
    texts = await written(vectors, write)
    return JSONReply(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": text}
                for index, text in enumerate(texts)
            ],
            "model": body.model,
            "usage": {"prompt_tokens": plan.prompt_tokens, "total_tokens": plan.prompt_tokens},
        }
    )


def _numbers(vector: np.ndarray) -> Any:
    return vector.tolist()


def _base64(vector: np.ndarray) -> str:
    """Of little-endian float32, which is what the vector is."""
    return base64.b64encode(vector.tobytes()).decode()
