"""KV pages on the host: who holds which, by reference count. No jax.

A pool hands out the pages of one layer kind (global, or one sliding window). Page 0 of every
pool is the null page: padding is written there and nothing reads it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

NULL_PAGE = 0


class OutOfPages(Exception):
    """The pool has fewer free pages than asked for; nothing was taken."""


class PagePool:
    """Reference-counted pages 1..capacity."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._references = [0] * (capacity + 1)
        # A stack: the page freed last is the one most likely still in a cache.
        self._free = list(range(capacity, 0, -1))

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def used(self) -> int:
        return self.capacity - len(self._free)

    def allocate(self) -> int:
        if not self._free:
            raise OutOfPages
        page = self._free.pop()
        self._references[page] = 1
        return page

    def share(self, page: int) -> int:
        """One more holder of a page in use. The null page is everybody's and is not counted."""
        if page != NULL_PAGE:
            assert self._references[page] > 0, f"page {page} is free"
            self._references[page] += 1
        return page

    def release(self, page: int) -> None:
        if page == NULL_PAGE:
            return
        assert self._references[page] > 0, f"page {page} is free"
        self._references[page] -= 1
        if self._references[page] == 0:
            self._free.append(page)

    def holders(self, page: int) -> int:
        return self._references[page]


@dataclass(frozen=True)
class PageCopy:
    """A page that the device must copy before the next step, within one layer kind."""

    kind: int
    source: int
    target: int


@dataclass
class BlockTables:
    """The pages of one sequence: for each kind, page i holds positions [i*size, (i+1)*size)."""

    tables: list[list[int]]

    @classmethod
    def empty(cls, kinds: int) -> "BlockTables":
        return cls([[] for _ in range(kinds)])


@dataclass
class PagedMemory:
    """All pools of a worker, one per layer kind, and the rules that sequences obey.

    windows: per kind, how many positions a query sees (None is all): see ModelSpec.windows.
    """

    page_size: int
    windows: tuple[int | None, ...]
    pools: list[PagePool]
    copies: list[PageCopy] = field(default_factory=list)

    @classmethod
    def of(
        cls, page_size: int, windows: tuple[int | None, ...], capacities: Iterable[int]
    ) -> "PagedMemory":
        return cls(page_size, windows, [PagePool(capacity) for capacity in capacities])

    @property
    def used(self) -> int:
        return sum(pool.used for pool in self.pools)

    @property
    def total(self) -> int:
        return sum(pool.capacity for pool in self.pools)

    def pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_size)

    def grow(self, tables: BlockTables, length: int) -> None:
        """Gives the sequence pages up to `length` positions. Raises OutOfPages, taking nothing."""
        wanted = self.pages_for(length)
        missing = [max(0, wanted - len(table)) for table in tables.tables]
        if any(n > pool.free for n, pool in zip(missing, self.pools, strict=True)):
            raise OutOfPages
        for count, table, pool in zip(missing, tables.tables, self.pools, strict=True):
            table.extend(pool.allocate() for _ in range(count))

    def slide(self, tables: BlockTables, computed: int) -> None:
        """Drops pages that no later query sees, once positions below `computed` are written."""
        for window, table, pool in zip(self.windows, tables.tables, self.pools, strict=True):
            if window is None:
                continue
            # The next query stands at `computed` and sees positions above computed - window.
            unseen = min(max(0, (computed - window + 1) // self.page_size), len(table))
            for i in range(unseen - 1, -1, -1):
                if table[i] == NULL_PAGE:
                    break
                pool.release(table[i])
                table[i] = NULL_PAGE

    def fork(self, parent: BlockTables, length: int) -> BlockTables:
        """A child that starts with the parent's first `length` positions.

        Full pages are shared, a partial last page is copied (on the device, before the next
        step). Raises OutOfPages, taking nothing.
        """
        full, partial = divmod(length, self.page_size)
        if partial and any(pool.free < 1 for pool in self.pools):
            raise OutOfPages
        child = BlockTables.empty(len(self.pools))
        for kind, (table, pool) in enumerate(zip(parent.tables, self.pools, strict=True)):
            child.tables[kind] = [pool.share(page) for page in table[:full]]
            if not partial:
                continue
            target = pool.allocate()
            child.tables[kind].append(target)
            self.copies.append(PageCopy(kind, table[full], target))
        return child

    def release(self, tables: BlockTables) -> None:
        for table, pool in zip(tables.tables, self.pools, strict=True):
            for page in table:
                pool.release(page)
            table.clear()

    def take_copies(self) -> list[PageCopy]:
        """Copies due before the next step. A target taken twice since then is copied once."""
        latest = {(copy.kind, copy.target): copy for copy in self.copies}
        self.copies = []
        return list(latest.values())
