"""KV pages on the host: who holds which, by reference count, and what they can be found by. No jax.

A pool hands out the pages of one layer kind (global, or one sliding window). Page 0 of every
pool is the null page: padding is written there and nothing reads it.

A full page is named by a key that says all tokens up to its end, so that a later prompt which
begins alike finds it. A named page that nobody holds stays until its room is needed; the one that
was let go longest ago gives way first.
"""

import hashlib
import struct
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NULL_PAGE = 0
FIRST_KEY = b""
"""What comes before the first page."""


class OutOfPages(Exception):
    """The pool has fewer free pages than asked for; nothing was taken."""


def page_key(before: bytes, tokens: Sequence[int], media: bytes = b"") -> bytes:
    """The key of a full page of `tokens` behind the page whose key is `before`. media: what tokens
    do not say (`images.page_content`)."""
    digest = hashlib.blake2b(before, digest_size=16)
    digest.update(struct.pack(f"<{len(tokens)}I", *tokens))
    digest.update(media)
    return digest.digest()


def scope_key(scope: str) -> bytes:
    """What comes before the first page in a scope, so that no other scope finds its pages."""
    if not scope:
        return FIRST_KEY
    return hashlib.blake2b(scope.encode(), digest_size=16, person=b"pollux-scope").digest()


class PagePool:
    """Reference-counted pages 1..capacity."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._references = [0] * (capacity + 1)
        # A stack: the page freed last is the one most likely still in a cache.
        self._free = list(range(capacity, 0, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._page_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}
        self.evictions = 0

    @property
    def free(self) -> int:
        """Pages that nobody holds, those that can still be found by a key included."""
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        return self.capacity - self.free

    def allocate(self) -> int:
        if self._free:
            page = self._free.pop()
        elif self._idle:
            page, _ = self._idle.popitem(last=False)
            del self._page_of[self._key_of.pop(page)]
            self.evictions += 1
        else:
            raise OutOfPages
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
        if self._references[page] > 0:
            return
        if page in self._key_of:
            self._idle[page] = None
        else:
            self._free.append(page)

    def holders(self, page: int) -> int:
        return self._references[page]

    def name(self, page: int, key: bytes) -> int:
        """Lets the page, which is full and is held, be found by `key`. Where another is found by
        it already, the holder has that one instead: the page to go on with is returned."""
        assert self._references[page] > 0, f"page {page} is free"
        other = self._page_of.setdefault(key, page)
        if other == page:
            self._key_of[page] = key
            return page
        self.take(key)
        self.release(page)
        return other

    def has(self, key: bytes) -> bool:
        return key in self._page_of

    def take(self, key: bytes) -> int:
        """One more holder of the page of this key, which must be there."""
        page = self._page_of[key]
        self._idle.pop(page, None)
        self._references[page] += 1
        return page


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
    reuse: bool = True

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
            # The next query stands at `computed`.
            unseen = min(self._first_seen(window, computed), len(table))
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
            # From the end: of a prefix that can be found, its beginning gives way last.
            for page in reversed(table):
                pool.release(page)
            table.clear()

    # --- reuse by key ------------------------------------------------------------------------

    def publish(self, tables: BlockTables, keys: Sequence[bytes], first: int) -> None:
        """Lets pages from `first` on be found by their keys: they are full and written.

        No two pages with one key stay in use: two prompts that are alike, or a prompt and a path
        that came back to it, hold the same ones, so what is enough for one is enough for both.
        """
        if not self.reuse:
            return
        for table, pool in zip(tables.tables, self.pools, strict=True):
            for index in range(first, len(keys)):
                if table[index] != NULL_PAGE:
                    table[index] = pool.name(table[index], keys[index])

    def find(self, keys: Sequence[bytes]) -> int:
        """How many of the pages with these keys a sequence could begin with: every layer kind has
        all that the next position sees."""
        if not self.reuse:
            return 0
        reach = len(keys)
        for window, pool in zip(self.windows, self.pools, strict=True):
            if window is None:
                reach = next((i for i in range(reach) if not pool.has(keys[i])), reach)
        while reach > 0:
            missing = self._last_missing(keys, reach)
            if missing is None:
                return reach
            reach = missing
        return 0

    def _last_missing(self, keys: Sequence[bytes], reach: int) -> int | None:
        """The last page that the position behind `reach` pages sees and a window kind lacks."""
        last = None
        for window, pool in zip(self.windows, self.pools, strict=True):
            if window is None:
                continue
            first = self._first_seen(window, reach * self.page_size)
            for i in range(reach - 1, first - 1, -1):
                if not pool.has(keys[i]):
                    last = i if last is None else max(last, i)
                    break
        return last

    def attach(self, keys: Sequence[bytes], spare: int = 0) -> BlockTables:
        """Tables that begin with the pages of these keys, which `find` said are there.

        spare: of window kinds also what a position so many pages earlier sees, where it is there.
        """
        tables = BlockTables.empty(len(self.pools))
        for window, table, pool in zip(self.windows, tables.tables, self.pools, strict=True):
            first = self.first_needed(window, len(keys))
            while first > self.first_needed(window, len(keys) - spare) and pool.has(
                keys[first - 1]
            ):
                first -= 1
            table.extend([NULL_PAGE] * first)
            table.extend(pool.take(key) for key in keys[first:])
        return tables

    def first_needed(self, window: int | None, pages: int) -> int:
        """The first page that a sequence going on behind so many pages needs."""
        return 0 if window is None else self._first_seen(window, pages * self.page_size)

    def _first_seen(self, window: int, position: int) -> int:
        """The first page that a query at `position` sees."""
        return max(0, position - window + 1) // self.page_size

    def take_copies(self) -> list[PageCopy]:
        """Copies due before the next step. A target taken twice since then is copied once."""
        latest = {(copy.kind, copy.target): copy for copy in self.copies}
        self.copies = []
        return list(latest.values())
