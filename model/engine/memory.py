"""How many KV pages there are of each layer kind. Arithmetic only, no jax."""

from collections.abc import Callable
from dataclasses import dataclass

from model.engine.config import EngineConfig
from model.nn.layout import KvLayout
from model.spec import ModelSpec


class NotEnoughMemory(ValueError):
    """The device cannot hold even one sequence of the wanted context. One line, for a person."""


@dataclass(frozen=True)
class MemoryPlan:
    """pages: usable pages per layer kind (the null page comes on top). bytes: of all of them."""

    pages: tuple[int, ...]
    bytes: int

    @property
    def with_null_pages(self) -> tuple[int, ...]:
        """Pages per layer kind that the device keeps."""
        return tuple(pages + 1 for pages in self.pages)


def page_bytes(spec: ModelSpec, config: EngineConfig, layout: KvLayout) -> tuple[int, ...]:
    """Bytes on one device of one page, keys and values over all layers of the kind, per kind."""
    return tuple(
        sum(
            layout.page_bytes(layer, config.page_size)
            for layer in spec.kv_layers
            if layer.window == window
        )
        for window in spec.windows
    )


def plan_memory(
    spec: ModelSpec,
    config: EngineConfig,
    rows: int,
    context: int,
    layout: KvLayout,
    budget: int,
    most: int | None = None,
) -> MemoryPlan:
    """Shares `budget` bytes among the layer kinds in proportion to what full use would need.

    most: when not even one sequence fits the budget, up to so many bytes are taken for it.

    Full use is each of `rows` paths at full context; a window kind never needs more than its
    window and a prefill chunk a row. Each kind gets at least what one path and its trunk need:
    they share all full pages but those that slid out of a window.

    Raises NotEnoughMemory when that minimum exceeds the budget.
    """
    sizes = page_bytes(spec, config, layout)
    page_size, chunk = config.page_size, config.prefill_chunk
    pages_of = [_pages_of_sequence(window, page_size, chunk, context) for window in spec.windows]
    minimum = least_pages(spec.windows, page_size, chunk, context)
    full = [(rows + 2) * pages + 2 for pages in pages_of]
    least = sum(count * size for count, size in zip(minimum, sizes, strict=True))
    budget = max(budget, min(least, most or budget))
    if least > budget:
        raise NotEnoughMemory(
            f"a context of {context} tokens needs {least / 2**20:.0f} MiB of KV memory, "
            f"{budget / 2**20:.0f} MiB are given: lower --context or raise --kv-memory"
        )
    wanted = sum(count * size for count, size in zip(full, sizes, strict=True))
    share = min(1.0, (budget - least) / max(1, wanted - least))
    pages = tuple(low + int((high - low) * share) for low, high in zip(minimum, full, strict=True))
    return MemoryPlan(pages, sum(count * size for count, size in zip(pages, sizes, strict=True)))


def fitting_plan(
    free: int,
    plan: Callable[[int], MemoryPlan],
    need: Callable[[MemoryPlan], int],
) -> MemoryPlan:
    """The plan of what is left of `free` bytes once the largest step has what it needs.

    plan: shares a budget out. need: bytes that the largest step takes beside weights and pages,
    which is told by compiling it. Nine tenths go to pages first: that is right in nearly every
    case, and then nothing is compiled twice. A twentieth stays for what no step accounts for.

    Raises NotEnoughMemory when one sequence does not fit.
    """
    usable = free - free // 20
    first = plan(free * 9 // 10)
    left = usable - need(first)
    return first if first.bytes <= left else plan(left)


def least_pages(
    windows: tuple[int | None, ...], page_size: int, chunk: int, context: int
) -> tuple[int, ...]:
    """Pages per layer kind with which one path of full context and its trunk always finish.

    chunk: most prompt tokens of one step.
    """
    pages_of = [_pages_of_sequence(window, page_size, chunk, context) for window in windows]
    return tuple(
        pages + 2 if window is None else 2 * pages + 2
        for window, pages in zip(windows, pages_of, strict=True)
    )


def _pages_of_sequence(window: int | None, page_size: int, chunk: int, context: int) -> int:
    tokens = context if window is None else min(context, window + chunk)
    return -(-tokens // page_size) + 1
