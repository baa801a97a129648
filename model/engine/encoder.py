"""Images on the device: encoded once, kept as soft tokens for every step that reads them."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Compiled

from model.checkpoints.base import Checkpoint
from model.contract import MediaSegment
from model.engine.images import Image
from model.engine.slots import Slots
from model.nn.vision.params import VisionParams, load_vision
from model.nn.vision.tower import soft_tokens
from model.parallel.cost import cost_of
from model.parallel.mesh import Placement
from model.spec import VisionSpec

_LARGEST_BATCH = 4
"""Images encoded together. More of them would fill no device better: one has thousands of rows."""


class ImageEncoder:
    """The encoder of one model and a buffer of soft tokens [slots, tokens, D] on the device.

    at_once: most images that one step reads. buffer_bytes: of the buffer, which holds `at_once`
    images at least. Runs ahead of the steps that read the buffer, in their order: a slot may be
    filled anew while a step that reads it is on its way.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: jnp.dtype,
        at_once: int,
        buffer_bytes: int,
        placement: Placement | None,
    ) -> None:
        spec = checkpoint.spec
        assert spec.vision is not None
        self._vision: VisionSpec = spec.vision
        each = self._vision.tokens * spec.d_model * dtype.itemsize
        count = max(at_once, buffer_bytes // each)
        self._precision = "highest" if dtype == jnp.float32 else "default"
        self._sizes = [n for n in (1, 2, _LARGEST_BATCH) if n <= at_once]
        self._programs: dict[int, Compiled] = {}
        self._run = jax.jit(partial(_encode, self._vision), donate_argnums=(1,))
        params: VisionParams = load_vision(checkpoint, dtype)
        buffer = jnp.zeros((count, self._vision.tokens, spec.d_model), dtype)
        if placement is not None:
            params, buffer = jax.device_put((params, buffer), placement.everywhere)
        self._params, self.buffer = params, buffer
        self.slots = Slots(count)

    @property
    def beside(self) -> int:
        """Bytes that the largest batch needs beside weights and buffer."""
        return cost_of(self._program(self._sizes[-1])).beside

    def warm_up(self) -> None:
        """Compiles and runs every batch size once, on black images that no slot is taken for."""
        for size in self._sizes:
            shape = (size, self._vision.image_size, self._vision.image_size, 3)
            self._fill(np.zeros(shape, np.float32), list(range(size)))
        jax.block_until_ready(self.buffer)

    def place(self, images: Sequence[Image]) -> dict[bytes, int]:
        """Encodes those that are not in the buffer. images: all that one step reads. Returns for
        each key which of the buffer's rows, counted in tokens, is the image's first."""
        segments = {image.key: image.segment for image in images}
        new = list(self.slots.place([image.key for image in images]).items())
        while new:
            size = max(n for n in self._sizes if n <= len(new))
            batch, new = new[:size], new[size:]
            pixels = np.stack([normalised(segments[key]) for key, _ in batch])
            self._fill(pixels, [slot for _, slot in batch])
        return {key: self.slots[key] * self._vision.tokens for key in segments}

    def _fill(self, pixels: np.ndarray, slots: list[int]) -> None:
        run = self._program(len(slots))
        self.buffer = run(self._params, self.buffer, pixels, np.array(slots, np.int32))

    def _program(self, size: int) -> Compiled:
        if size not in self._programs:
            pixels = np.zeros((size, *(self._vision.image_size,) * 2, 3), np.float32)
            with jax.default_matmul_precision(self._precision):
                lowered = self._run.lower(
                    self._params, self.buffer, pixels, np.zeros(size, np.int32)
                )
            self._programs[size] = lowered.compile()
        return self._programs[size]


def normalised(segment: MediaSegment) -> np.ndarray:
    """An image's pixels as the encoder was trained on them, [H, H, 3] float32 in [-1, 1]."""
    if segment.dtype == "float32":
        return np.frombuffer(segment.data, "<f4").reshape(segment.shape)
    levels = np.frombuffer(segment.data, np.uint8).reshape(segment.shape)
    return levels.astype(np.float32) / 127.5 - 1


def _encode(
    spec: VisionSpec, params: VisionParams, buffer: jax.Array, pixels: jax.Array, slots: jax.Array
) -> jax.Array:
    encoded = soft_tokens(spec, params, pixels).astype(buffer.dtype)
    return buffer.at[slots].set(encoded, mode="promise_in_bounds")
