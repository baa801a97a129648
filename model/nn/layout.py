"""How KV pages are kept on a device, as numbers. No jax."""

from dataclasses import dataclass

from model.spec import LayerSpec


@dataclass(frozen=True)
class KvLayout:
    """itemsize: bytes of one entry. scales: entries are bytes, with a float32 scale for each
    position and head. lanes: a head's entries are padded to a multiple of so many.
    shards: devices that share a layer's KV heads, where there is an equal number for each."""

    itemsize: int
    lanes: int = 1
    shards: int = 1
    scales: bool = False

    def width(self, head_dim: int) -> int:
        """Entries kept for a head at one position."""
        return -(-head_dim // self.lanes) * self.lanes

    def page_bytes(self, layer: LayerSpec, page_size: int) -> int:
        """Of one page of one layer on one device, keys and values."""
        heads = layer.kv_heads
        if heads % self.shards == 0:
            heads //= self.shards
        position = self.width(layer.head_dim) * self.itemsize + 4 * self.scales
        return 2 * page_size * heads * position
