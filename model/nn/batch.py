"""The flat, ragged batch of a step, as the layers see it."""

from dataclasses import dataclass, field

import jax


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """T tokens: `rows` decode tokens, then prompt tokens in blocks (`model.nn.blocks`).

    positions: [T] int32, -1 is padding. owner: [T] int32, whose row of the tables a token reads.
    tables: per layer kind (in the order of spec.windows) [S, W] int32 pages. sees: [T] int32, the
    last position that a token sees; None where that is its own, as in text.
    """

    positions: jax.Array
    owner: jax.Array
    tables: tuple[jax.Array, ...]
    rows: int = field(metadata={"static": True})
    sees: jax.Array | None = None
