"""Paged attention where plain numbers do not reach."""

import jax.numpy as jnp
import numpy as np

from model.nn.attention import paged_attention
from model.nn.cache import LayerCache, write_pages


def test_an_overflow_in_one_request_does_not_reach_the_next_holder_of_its_page():
    pages = jnp.zeros((2, 1, 4, 8), jnp.float32)
    slots = (jnp.ones(4, jnp.int32), jnp.arange(4))
    overflown = jnp.full((4, 1, 8), jnp.nan).at[2].set(jnp.inf)
    pages = write_pages(pages, overflown, slots)
    fresh = jnp.ones((2, 1, 8), jnp.float32)
    pages = write_pages(pages, fresh, (slots[0][:2], slots[1][:2]))
    out = paged_attention(
        jnp.ones((1, 1, 2, 8), jnp.float32),
        LayerCache(pages, pages),
        jnp.array([[1]], jnp.int32),
        jnp.array([[1]], jnp.int32),
        scale=1.0,
        window=None,
    )
    np.testing.assert_allclose(np.asarray(out), 1.0)


def test_padding_rows_are_finite():
    pages = jnp.ones((3, 2, 4, 8), jnp.float32)
    out = paged_attention(
        jnp.ones((2, 1, 4, 8), jnp.float32),
        LayerCache(pages, pages),
        jnp.zeros((2, 2), jnp.int32),
        jnp.full((2, 1), -1, jnp.int32),
        scale=1.0,
        window=3,
    )
    assert np.isfinite(np.asarray(out)).all()
