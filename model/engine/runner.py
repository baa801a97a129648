"""Plans on the device: parameters, pages, compiled steps."""

import ctypes
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoints.base import Checkpoint
from model.engine.advance import guides_of
from model.engine.arrays import StepArrays
from model.engine.batch import empty_arrays, fill_arrays
from model.engine.choices import Format, choose, packable
from model.engine.compilations import compilations
from model.engine.config import EngineConfig
from model.engine.device import free_device_bytes, host_kv_bytes
from model.engine.encoder import ImageEncoder
from model.engine.guide import Masks
from model.engine.memory import MemoryPlan, fitting_plan, plan_memory
from model.engine.pages import PageCopy
from model.engine.plan import Chunk, Output, RowResult, StepPlan
from model.engine.program import Program, Sizes
from model.engine.resampling import Resampled, Resampler
from model.engine.sampling import Sampled
from model.engine.scheduler import Limits
from model.engine.shapes import StepShape, StepShapes
from model.engine.step import Chosen
from model.engine.wishes import WishFiller
from model.kernels.backend import backend_for
from model.kernels.library import load_kernels
from model.kernels.packed import Bits, PackedParams, load_packed
from model.nn.blocks import blocks_of
from model.nn.params import Params, Place, load_params
from model.parallel.mesh import Placing, placement_of

_log = logging.getLogger(__name__)

Progress = Callable[[str, float | None], None]
"""Told what is being done, and how far it is (0 to 1) where that is known."""


class JaxRunner:
    """Holds the model on the default device and runs planned steps over it.

    Construction loads weights; `warm_up` compiles every shape. Not thread-safe.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EngineConfig,
        context: int,
        progress: Progress = lambda detail, fraction: None,
    ) -> None:
        choices = choose(config, checkpoint)
        if config.weights in ("int8", "int4") and not packable(checkpoint.spec):
            _log.warning("weights stay in %s: there are no kernels for experts", choices.dtype)
        library = load_kernels(config.kernel_cache) if choices.kernels else None
        if library is None:
            choices = choices.without_kernels()
        packed = choices.weights != "dense"
        self.spec = checkpoint.spec
        self._config = config
        self.choices = choices
        # In plain JAX on a CPU, products of other sizes round otherwise, and rows beside a chunk
        # are no cheaper: steps of either kind take turns there.
        mixed = packed or jax.default_backend() != "cpu"
        self.shapes = StepShapes.of(
            config, context, self.choices.max_rows, live_rows=packed, mixed=mixed
        )
        vision = self.spec.vision
        if vision is not None:
            self.shapes = self.shapes.with_images(vision.tokens)
        self.compilations_after_warmup = 0
        self._compiled: int | None = None
        self._table_width = -(-context // config.page_size)
        self._copies = max(4, self.choices.max_rows)
        placement = placement_of(config.tensor_parallel)
        self._backend = backend_for(
            jax.default_backend(),
            self.spec,
            choices.dtype,
            config.page_size,
            compiled=library is not None,
            kv_bytes=choices.kv == "int8",
            mesh=None if placement is None else placement.mesh,
        )
        self._program = Program(
            self.spec,
            self._backend,
            jnp.dtype(jnp.float32) if packed else choices.dtype,
            library is not None,
            placement,
            Sizes(self.choices.max_rows, config.page_size, self._table_width),
        )
        vocab, eos = self.spec.vocab_size, checkpoint.text.eos
        self._wishes = WishFiller(vocab, eos)
        self._masks = Masks()
        self._resampler = Resampler(
            vocab,
            eos,
            compiled=library is not None,
            used=min(vocab, checkpoint.text.vocab_size),
        )
        progress("loading weights", 0.0)
        self.params = _load(
            checkpoint,
            choices.dtype,
            library,
            choices.weights,
            None if placement is None else Placing(placement),
            lambda done: progress("loading weights", done),
        )
        self.images: ImageEncoder | None = None
        if vision is not None:
            self.images = ImageEncoder(
                checkpoint,
                jnp.dtype(choices.dtype),
                self.shapes.chunk // vision.tokens,
                config.media_cache_bytes,
                placement,
            )
        self.memory = self._plan_memory(context)
        self._cache, self._carry = self._program.empty_state(self.memory.with_null_pages)

    def _plan_memory(self, context: int) -> MemoryPlan:
        """As the operator says; else what the device has room for beside the largest step."""

        def plan(budget: int, most: int | None = None) -> MemoryPlan:
            return plan_memory(
                self.spec,
                self._config,
                self.choices.max_rows,
                context,
                self._backend.layout,
                budget,
                most,
            )

        if self._config.kv_bytes:
            return plan(self._config.kv_bytes)
        free = free_device_bytes(self._config.tensor_parallel)
        if free is None:
            return plan(*host_kv_bytes())
        largest = self.shapes.largest
        images = 0 if self.images is None else self.images.beside

        def need(memory: MemoryPlan) -> int:
            return max(images, self._program.cost(largest, memory.with_null_pages).beside)

        return fitting_plan(free, plan, need)

    @property
    def limits(self) -> Limits:
        """What the scheduler may put into a step."""
        chunk = self.shapes.chunk
        widest = max(self.shapes.all, key=lambda shape: shape.chunk)
        return Limits(
            rows=self.choices.max_rows,
            chunk=chunk,
            busy_chunk=min(chunk, self.choices.busy_chunk) if self.shapes.mixed else 0,
            prompts=widest.prompts,
            score_chunk=self.shapes.score.outputs,
            pooled_prompts=max(shape.prompts for shape in self.shapes.pooled),
        )

    def warm_up(self, progress: Progress = lambda detail, fraction: None) -> None:
        """Compiles and runs every shape once, on padding."""
        shapes = (*self.shapes.all, *self.shapes.images, *self.shapes.pooled)
        kinds = len(self.spec.windows)
        for index, shape in enumerate(shapes):
            progress(f"compiling step {index + 1} of {len(shapes)} ({shape})", index / len(shapes))
            arrays = empty_arrays(shape, kinds, self._table_width)
            if shape.pooled:
                self._cache, _ = self._program.pool(self.params, self._cache, arrays)
                continue
            chosen = self._dispatch(shape, arrays)
            if chosen is not None:
                self._resampler.warm_up(*self._program.on_one(self._carry, chosen), arrays.rows)
        if self.images is not None:
            progress("compiling the image encoder", None)
            self.images.warm_up()
        self._copy_pages([])
        jax.block_until_ready(self._cache)
        self._compiled = compilations()

    def run(self, plan: StepPlan) -> Callable[[], list[RowResult]]:
        """Sends the step on its way; what is returned waits for its results."""
        if plan.copies:
            self._copy_pages(plan.copies)
        images = plan.images
        soft = self.images.place(images) if self.images is not None and images else None
        shape = self.shapes.pick(
            len(plan.rows),
            plan.chunk_tokens,
            len(plan.chunks),
            len(plan.outputs),
            images=soft is not None,
        )
        kinds = len(self.spec.windows)
        arrays = fill_arrays(plan, shape, kinds, self._table_width, soft)
        chosen = self._dispatch(shape, arrays)
        sampled: Sampled | Resampled | None = None
        if chosen is not None:
            sampled = chosen.sampled
            # The device computes logits meanwhile.
            masks = self._masks.of(guides_of(plan.outputs))
            wishes = self._wishes.fill(plan.outputs, shape.outputs, masks)
            if wishes is not None:
                sampled, self._carry = self._resampler(
                    *self._program.on_one(self._carry, chosen), arrays.rows, wishes
                )
        self._count_compilations()
        return partial(_collect, sampled, plan.outputs)

    def pool(self, plan: StepPlan) -> Callable[[], list[np.ndarray]]:
        """Sends a pooled step on its way; what is returned waits for the sums of each chunk's
        blocks, [blocks, D] float32."""
        if plan.copies:
            self._copy_pages(plan.copies)
        shape = self.shapes.pick_pooled(plan.chunk_tokens, len(plan.chunks))
        arrays = fill_arrays(plan, shape, len(self.spec.windows), self._table_width)
        self._cache, sums = self._program.pool(self.params, self._cache, arrays)
        self._count_compilations()
        return partial(_by_chunk, sums, plan.chunks)

    def _count_compilations(self) -> None:
        if self._compiled is not None:
            self.compilations_after_warmup = compilations() - self._compiled

    def logits(self, plan: StepPlan) -> jax.Array:
        """Runs the step and returns logits [n, V] float32 of its n outputs, for whoever studies
        the model's distribution itself. There must be outputs, and no images."""
        assert not plan.images
        shape = self.shapes.pick(0, plan.chunk_tokens, len(plan.chunks), len(plan.outputs))
        kinds = len(self.spec.windows)
        chosen = self._dispatch(shape, fill_arrays(plan, shape, kinds, self._table_width))
        assert chosen is not None
        return chosen.logits[: len(plan.outputs)]

    @property
    def kv_bytes_per_token(self) -> int:
        """Over all layers and devices, as if no layer had a window."""
        layout = replace(self._backend.layout, shards=1)
        return sum(layout.page_bytes(layer, 1) for layer in self.spec.kv_layers)

    def _dispatch(self, shape: StepShape, arrays: StepArrays) -> Chosen | None:
        self._cache, self._carry, chosen = self._program(
            shape,
            self.memory.with_null_pages,
            self.params,
            self._cache,
            self._carry,
            arrays,
            self.images.buffer if self.images is not None and shape.images else None,
        )
        return chosen

    def _copy_pages(self, copies: list[PageCopy]) -> None:
        for first in range(0, max(1, len(copies)), self._copies):
            part = copies[first : first + self._copies]
            arrays = []
            for kind in range(len(self.spec.windows)):
                pairs = np.zeros((2, self._copies), np.int32)
                for at, copy in enumerate(c for c in part if c.kind == kind):
                    pairs[:, at] = copy.source, copy.target
                arrays.append((pairs[0], pairs[1]))
            self._cache = self._program.copy_pages(self._cache, tuple(arrays))


def _collect(sampled: Sampled | Resampled | None, outputs: list[Output]) -> list[RowResult]:
    if sampled is None or not outputs:
        return []
    tokens, logprobs = np.asarray(sampled.token), _finite(sampled.logprob)
    results = [RowResult(int(tokens[i]), float(logprobs[i])) for i in range(len(outputs))]
    if not isinstance(sampled, Resampled):
        return results
    wanted = [_alternatives_of(output) for output in outputs]
    if any(wanted):
        ids, values = np.asarray(sampled.top_ids), _finite(sampled.top_logprobs)
        for row, n in enumerate(wanted):
            pairs = zip(ids[row, :n].tolist(), values[row, :n].tolist(), strict=True)
            results[row] = replace(results[row], top=tuple(pairs))
    certain = [row for row, output in enumerate(outputs) if _wants_certainty(output)]
    if certain:
        certainty = np.asarray(sampled.certainty)
        for row in certain:
            results[row] = replace(results[row], certainty=float(certainty[row]))
    return results


def _by_chunk(sums: jax.Array, chunks: list[Chunk]) -> list[np.ndarray]:
    ends = np.cumsum([blocks_of(chunk.count) for chunk in chunks])
    return np.split(np.asarray(sums)[: ends[-1]], ends[:-1])


def _alternatives_of(output: Output) -> int:
    if output.path is not None:
        return output.path.request.sampling.logprobs or 0
    return output.trunk.alternatives if output.trunk is not None else 0


def _wants_certainty(output: Output) -> bool:
    return output.path is not None and output.path.request.sampling.certainty


def _load(
    checkpoint: Checkpoint,
    dtype: jnp.dtype,
    library: ctypes.CDLL | None,
    weights: Format,
    place: Place | None,
    progress: Callable[[float], None],
) -> Params | PackedParams:
    if library is None or weights == "dense":
        return load_params(checkpoint, dtype, progress, place)
    bits: dict[Format, Bits] = {"int8": 8, "int4": 4}
    return load_packed(library, checkpoint, bits.get(weights), progress)


def _finite(logprobs: jax.Array | np.ndarray) -> np.ndarray:
    """JSON has no infinities: what cannot be is -9999, as other servers say it."""
    return np.nan_to_num(np.asarray(logprobs), nan=-9999.0, posinf=0.0, neginf=-9999.0)
