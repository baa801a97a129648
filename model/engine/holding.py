"""Prefixes that stay until they are let go, and how much they may take.

What is held and complete gives its pages to nobody. So a hold is let in only while all of them
together leave, in every pool, what one path of full context and its trunk need: the oldest that
runs can then still take the pages of everything else and finish. A hold that is not complete is a
prompt like any other and gives way by its age.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Self

from model.contract import Group
from model.engine.images import image_around, images_of
from model.engine.pages import BlockTables, PagedMemory, scope_key
from model.engine.sequences import Trunk

SPARE_PAGES = 1
"""Prompts that go on from the last page but so many of a held prefix are served too: text that
follows may change the prefix's last tokens."""

_NEXT = 0
"""Stands for the token behind a held prefix; it is never computed."""


class CannotHold(Exception):
    """There is no room for one more held prefix. One line, for the caller."""


def trunk_of(group: Group, memory: PagedMemory) -> Trunk:
    """A trunk is computed up to its last token: that of a hold is made of its full pages, as many
    as split no image, with one token behind them."""
    tokens = list(group.prompt.token_ids())
    first_key = scope_key(group.scope)
    images = images_of(group.prompt, first_key)
    if group.hold:
        full = len(tokens) // memory.page_size
        while split := image_around(images, full * memory.page_size):
            full = split.start // memory.page_size
        tokens = [*tokens[: full * memory.page_size], _NEXT]
        images = tuple(image for image in images if image.end < len(tokens))
    return Trunk(
        tokens=tokens,
        tables=BlockTables.empty(len(memory.pools)),
        first_key=first_key,
        images=images,
        alternatives=group.prompt_logprobs or 0,
        spare_pages=SPARE_PAGES if group.hold else 0,
        spare=SPARE_PAGES * memory.page_size if group.hold else 0,
    )


class HeldPages:
    """Counts the pages of holds. Those that several begin with are one page, and count once.

    most: pages per layer kind that holds may take together.
    """

    def __init__(self, memory: PagedMemory, most: Sequence[int]) -> None:
        self._memory = memory
        self._most = tuple(most)
        self._wanted: dict[str, list[list[bytes]]] = {}
        self._holders: list[Counter[bytes]] = [Counter() for _ in memory.pools]

    @classmethod
    def of(cls, memory: PagedMemory, least: Sequence[int], share: float) -> Self:
        """least: pages per kind that must stay for everything else (`memory.least_pages`)."""
        return cls(
            memory,
            [
                max(0, min(int(pool.capacity * share), pool.capacity - low))
                for pool, low in zip(memory.pools, least, strict=True)
            ],
        )

    def __len__(self) -> int:
        return len(self._wanted)

    @property
    def pages(self) -> int:
        """Of all kinds; those of holds that are not complete yet count as well."""
        return sum(len(holders) for holders in self._holders)

    def admit(self, group_id: str, trunk: Trunk) -> None:
        """Raises CannotHold, and nothing is held then."""
        if not self._memory.reuse:
            raise CannotHold("nothing can be held: the prefix cache is turned off")
        wanted = self._pages_of(trunk)
        for kind, keys in enumerate(wanted):
            holders, most = self._holders[kind], self._most[kind]
            more = sum(key not in holders for key in keys)
            if len(holders) + more > most:
                raise CannotHold(
                    f"this prefix takes {more} more KV pages and {len(holders)} of the {most} "
                    "that may be held are taken"
                )
        self._wanted[group_id] = wanted
        for holders, keys in zip(self._holders, wanted, strict=True):
            holders.update(keys)

    def release(self, group_id: str) -> None:
        """Of a group that holds nothing, does nothing."""
        for holders, keys in zip(self._holders, self._wanted.pop(group_id, ()), strict=False):
            holders.subtract(keys)
            for key in keys:
                if holders[key] <= 0:
                    del holders[key]

    def _pages_of(self, trunk: Trunk) -> list[list[bytes]]:
        """Per kind, keys of the pages that stay once the prefix is complete."""
        size = self._memory.page_size
        pages = (len(trunk.tokens) - 1) // size
        keys = trunk.page_keys(pages, size)
        return [
            keys[self._memory.first_needed(window, max(0, pages - SPARE_PAGES)) : pages]
            for window in self._memory.windows
        ]
