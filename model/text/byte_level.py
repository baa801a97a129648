"""The byte alphabet of GPT-2: every byte has a printable character, so that merges are text.

Bytes that print as themselves in Latin-1 keep their character; the others take U+0100 onwards in
order (space is U+0120). Source: the encoder published with GPT-2.
"""

_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]

BYTE_OF_CHARACTER: dict[str, int] = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + index): byte for index, byte in enumerate(_OTHERS)
}


def bytes_of_piece(piece: str) -> bytes:
    """The bytes that a byte-level piece spells; a piece outside the alphabet is literal text."""
    try:
        return bytes([BYTE_OF_CHARACTER[character] for character in piece])
    except KeyError:
        return piece.encode()
