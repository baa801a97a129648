"""How prompt tokens lie in a step: in blocks of one sequence each. No jax."""

QUERY_BLOCK = 16


def blocks_of(tokens: int) -> int:
    """Blocks that hold so many tokens of a sequence."""
    return -(-tokens // QUERY_BLOCK)


def in_blocks(tokens: int) -> int:
    """So many tokens, in whole blocks."""
    return blocks_of(tokens) * QUERY_BLOCK
