"""Files in a conversation, read as text before the prompt is made."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from service.api.planning import CHARS_PER_TOKEN
from service.errors import ApiError
from service.files.mime import MAX_CHAR_BYTES, text_of
from service.files.resolver import FileMissing, Reference, Resolver
from service.gateway import Gateway
from service.guard.visits import current_owner

MAX_ATTACHMENTS = 256
"""Of one request."""

Texts = Mapping[Reference, str]
"""What was read, by what was referred to."""
NO_TEXTS: Texts = MappingProxyType({})


async def read_texts(
    gateway: Gateway,
    model: str,
    references: Sequence[Reference],
    missing: Callable[[Reference], ApiError],
    param: str,
) -> Texts:
    """missing: the error for a file that the caller does not have. Sizes are summed up, a file
    that occurs twice twice, before anything is read. Raises ApiError."""
    if not references:
        return {}
    if len(references) > MAX_ATTACHMENTS:
        raise ApiError("invalid", f"a request may have {MAX_ATTACHMENTS} files", param=param)
    context = gateway.served(model).card.context
    resolver = Resolver(gateway.files, current_owner())
    texts: dict[Reference, str] = {}
    try:
        for reference in references:
            _require_text(resolver, reference, param)
        size = sum(resolver.size(reference) for reference in references)
        if size > context * CHARS_PER_TOKEN * MAX_CHAR_BYTES:
            raise ApiError(
                "invalid",
                f"the files have {size} bytes, too many for a context of {context} tokens",
                param=param,
                code="context_length_exceeded",
            )
        for reference in references:
            if reference not in texts:
                content = await resolver.load(reference)
                texts[reference] = text_of(content.data, content.mime, param)
    except FileMissing:
        raise missing(reference) from None
    return texts


def text_in(texts: Texts, reference: Reference) -> str:
    """Raises ApiError where files were not read: the endpoint takes none."""
    found = texts.get(reference)
    if found is None:
        raise ApiError("invalid", "files are not read here, only text")
    return found


def joined(pieces: Iterable[tuple[str, bool]]) -> str:
    """Texts one after the other; those marked True, of files, on lines of their own."""
    whole = ""
    after_file = False
    for text, is_file in pieces:
        if whole and (is_file or after_file) and not whole.endswith("\n"):
            whole += "\n"
        whole += text
        after_file = is_file
    return whole


def _require_text(resolver: Resolver, reference: Reference, param: str) -> None:
    """Raises ApiError, FileMissing."""
    try:
        mime = resolver.mime(reference)
    except ValueError as error:
        raise ApiError("invalid", f"the MIME type is {error}", param=param) from None
    if not mime.is_text:
        raise ApiError("invalid", f"this model reads no {mime.essence}", param=param)
