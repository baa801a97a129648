"""Which images' soft tokens the device keeps. No jax."""

from collections import OrderedDict
from collections.abc import Sequence


class Slots:
    """So many slots, each for one image; the image that was wanted longest ago gives way."""

    def __init__(self, count: int) -> None:
        self._slots: OrderedDict[bytes, int] = OrderedDict()
        self._free = list(range(count - 1, -1, -1))
        self.queries = 0
        self.hits = 0

    def place(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Slots for images that have none yet, to be filled now. keys: of all images that one step
        reads, at most as many different ones as there are slots: they do not displace each other.
        """
        self.queries += len(keys)
        wanted = list(dict.fromkeys(keys))
        new = [key for key in wanted if key not in self._slots]
        self.hits += len(keys) - len(new)
        # First what is there, so that nothing of it gives way to what is not.
        for key in wanted:
            if key in self._slots:
                self._slots.move_to_end(key)
        placed = {}
        for key in new:
            slot = self._free.pop() if self._free else self._slots.popitem(last=False)[1]
            self._slots[key] = placed[key] = slot
        return placed

    def __getitem__(self, key: bytes) -> int:
        return self._slots[key]

    def __len__(self) -> int:
        return len(self._slots)
