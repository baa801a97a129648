"""Full logits of a prompt, through the same decoder and pages that the engine uses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoints.base import Checkpoint
from model.engine.step import zero_cache
from model.nn.attention import attend
from model.nn.batch import Batch
from model.nn.cache import storage_dtype
from model.nn.decoder import decode, head_logits
from model.nn.params import load_params

PAGE = 32


class Logits:
    """A checkpoint in float32 on the default device."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.spec = checkpoint.spec
        self.params = load_params(checkpoint, jnp.dtype(jnp.float32))

    def of(self, tokens: list[int], chunk: int = 256) -> np.ndarray:
        """[T, V] float32, prefilled `chunk` positions at a time into freshly numbered pages."""
        pages = -(-len(tokens) // PAGE)
        kinds = len(self.spec.windows)
        storage = storage_dtype(jnp.dtype(jnp.float32), jax.default_backend())
        cache = zero_cache(self.spec, (pages + 1,) * kinds, PAGE, storage)
        # Not in order: a page's number says nothing about its place.
        table = np.random.default_rng(0).permutation(np.arange(1, pages + 1)).astype(np.int32)
        tables = tuple(table[None] for _ in range(kinds))
        run = jax.jit(partial(self._chunk, self.spec), donate_argnums=(1,))
        rows = []
        with jax.default_matmul_precision("highest"):
            for start in range(0, len(tokens), chunk):
                part = tokens[start : start + chunk]
                ids = np.zeros(chunk, np.int32)
                positions = np.full(chunk, -1, np.int32)
                ids[: len(part)] = part
                positions[: len(part)] = np.arange(start, start + len(part))
                batch = Batch(positions, np.zeros(chunk, np.int32), tables, 0)
                cache, logits = run(self.params, cache, ids, batch)
                rows.append(np.asarray(logits)[: len(part)])
        return np.concatenate(rows)

    @staticmethod
    def _chunk(spec, params, cache, ids, batch):
        x, cache = decode(spec, attend, jnp.dtype(jnp.float32), params, cache, ids, batch)
        return cache, head_logits(spec, params, x, batch.positions)
