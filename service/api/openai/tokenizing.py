"""/tokenize, /detokenize and /tokenizer_info: vLLM's endpoints, which clients size prompts with."""

from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from service.api.common import gateway_of
from service.api.document.openai_replies import DetokenizeReply, TokenizeReply, TokenizerReply
from service.api.document.operations import operation
from service.api.internal import Chat, PlainText
from service.api.openai.messages import Message, conversation
from service.api.openai.sampling_fields import Integer
from service.api.parsing import parse_body, refused
from service.api.parts import check_parts
from service.api.replies import JSONReply
from service.api.tokens import token_text
from service.errors import ApiError

router = APIRouter()


class TokenizeRequest(BaseModel):
    """A plain prompt, or a conversation as the chat endpoint would put it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Field(fail_fast=True)] | None = None
    add_special_tokens: bool = True
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise refused("prompt", "give either prompt or messages")
        check_parts((message.content for message in self.messages or ()), "messages")
        if self.add_generation_prompt and self.continue_final_message:
            raise refused(
                "continue_final_message",
                "add_generation_prompt and continue_final_message exclude each other",
            )
        return self

    @property
    def input(self) -> PlainText | Chat:
        if self.messages is None:
            return PlainText(self.prompt or "")
        return Chat(conversation(self.messages), continue_final=self.continue_final_message)


class DetokenizeRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: str | None = None
    tokens: Annotated[list[Integer], Field(fail_fast=True)] = Field(max_length=1 << 20)


@router.post(
    "/tokenize",
    summary="Text or a conversation to token ids",
    **operation("openai", body=TokenizeRequest, reply=TokenizeReply),
)
async def tokenize(request: Request) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, TokenizeRequest)
    card, text = gateway.model()
    model = body.model or card.name
    control = text.assets.control.get(body.prompt or "")
    if control is not None:
        # Clients learn ids of the tokens in /tokenizer_info like this. Prompts that are generated
        # from are read otherwise: no text in them is a control token.
        gateway.served(model)
        ids: tuple[int, ...] = (control,)
    else:
        ids = await gateway.tokens(
            model,
            body.input,
            add_bos=body.add_special_tokens,
            add_generation_prompt=body.add_generation_prompt,
        )
    reply: dict[str, Any] = {"count": len(ids), "max_model_len": card.context, "tokens": ids}
    if body.return_token_strs:
        reply["token_strs"] = [token_text(token, text.tokenizer) for token in ids]
    return JSONReply(reply)


@router.post(
    "/detokenize",
    summary="Token ids to text",
    **operation("openai", body=DetokenizeRequest, reply=DetokenizeReply),
)
async def detokenize(request: Request) -> Response:
    gateway = gateway_of(request)
    body = await parse_body(request, DetokenizeRequest)
    card, text = gateway.model()
    if body.model is not None:
        gateway.served(body.model)
    if any(not 0 <= token < card.vocab_size for token in body.tokens):
        raise ApiError(
            "invalid", f"token ids must be in [0, {card.vocab_size - 1}]", param="tokens"
        )
    return JSONReply({"prompt": text.tokenizer.decode(body.tokens)})


@router.get(
    "/tokenizer_info",
    summary="The tokenizer's special tokens and chat template",
    **operation("openai", reply=TokenizerReply),
)
async def tokenizer_info(request: Request) -> Response:
    card, text = gateway_of(request).model()
    assets = text.assets
    pieces: dict[int | None, str] = {token: piece for piece, token in assets.control.items()}
    return JSONReply(
        {
            "bos_token": pieces.get(assets.bos),
            "eos_token": pieces.get(next(iter(assets.eos), None)),
            "pad_token": pieces.get(assets.pad),
            "tokenizer_class": assets.kind,
            "vocab_size": assets.vocab_size,
            "model_max_length": card.context,
            "chat_template": assets.chat_template,
        }
    )
