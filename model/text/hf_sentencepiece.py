"""tokenizer.model of a Hugging Face folder, with the tokens that its configuration adds."""

from typing import Any

from model.text.hf_bpe import TokenizerFile
from model.text.sentencepiece_proto import Piece, PieceType, read_model
from model.text.special import Special
from model.text.tokenizer import DamagedTokenizer

_MAX_ADDED = 65536


def read_tokenizer_model(data: bytes, config: dict[str, Any], special: Special) -> TokenizerFile:
    """config: tokenizer_config.json. special: what is a control token whatever the
    vocabulary says of it. Raises DamagedTokenizer."""
    model = read_model(data)
    pieces = model.pieces
    declared = len(pieces)
    for token, added in _added_tokens(config).items():
        if token - declared > _MAX_ADDED:
            raise DamagedTokenizer(f"tokenizer_config.json adds a token with id {token}")
        while len(pieces) <= token:
            pieces.append(Piece(f"[unused{len(pieces)}]", 0.0, PieceType.UNUSED))
        piece = pieces[token]
        if token >= declared:
            piece.text, piece.type = added["content"], PieceType.USER_DEFINED
        if added.get("special") and piece.type is not PieceType.UNKNOWN:
            piece.type = PieceType.CONTROL
    for token, piece in enumerate(pieces):
        plain = piece.type in (PieceType.NORMAL, PieceType.USER_DEFINED)
        if plain and special.has(piece.text, token):
            piece.type = PieceType.CONTROL
    control = {
        piece.text: token for token, piece in enumerate(pieces) if piece.type is PieceType.CONTROL
    }
    if sum(piece.type is PieceType.BYTE for piece in pieces) == 256:  # text has no unknowns then
        control |= {p.text: i for i, p in enumerate(pieces) if p.type is PieceType.UNKNOWN}
    bos = control.get("<s>", control.get("<bos>"))
    return TokenizerFile(
        "sentencepiece", model.serialise(), len(pieces), control, bos, bos is not None
    )


def _added_tokens(config: dict[str, Any]) -> dict[int, dict[str, Any]]:
    tokens = config.get("added_tokens_decoder") or {}
    try:
        added = {int(token): item for token, item in tokens.items()}
        valid = all(token >= 0 and isinstance(added[token]["content"], str) for token in added)
    except (AttributeError, KeyError, TypeError, ValueError):
        valid = False
    if not valid:
        raise DamagedTokenizer("tokenizer_config.json has a damaged added_tokens_decoder")
    return dict(sorted(added.items()))
