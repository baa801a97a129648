"""Single tokens and their scores, as every protocol shows them."""

from model.text.tokenizer import Tokenizer

LOWEST_LOGPROB = -9999.0
"""What OpenAI says for a token of no probability: JSON has no infinity."""


def token_text(token: int, tokenizer: Tokenizer) -> str:
    """A token alone as text; control tokens by their name, broken characters marked."""
    raw = tokenizer.token_bytes(token)
    return raw.decode("utf-8", errors="replace") if raw else tokenizer.piece(token)


def finite(logprob: float) -> float:
    return max(logprob, LOWEST_LOGPROB)
