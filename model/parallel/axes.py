"""What each axis of a parameter or buffer is, and which axis of the mesh it is cut along.

Two tables say it all. A dimension is cut only where it divides evenly among the devices;
otherwise it is whole on each of them, as the one KV head of multi-query attention is.
"""

from jax.sharding import Mesh, PartitionSpec

TENSOR = "tensor"

MESH_AXES: dict[str, str] = {"vocabulary": TENSOR, "kv_heads": TENSOR, "hidden": TENSOR}
"""Logical axes that are cut, and along what. All others are whole everywhere."""

LAYER_AXES: dict[str, tuple[str, ...]] = {
    "attn_norm": ("width",),
    "qkv": ("width", "kv_heads", "group", "head"),
    "o": ("kv_heads", "queries", "head", "width"),
    "mlp_norm": ("width",),
    "gate_up": ("width", "gate_or_up", "hidden"),
    "down": ("hidden", "width"),
    "qkv_bias": ("kv_heads", "group", "head"),
    "q_norm": ("head",),
    "k_norm": ("head",),
    "post_attn_norm": ("width",),
    "post_mlp_norm": ("width",),
    "layer_scale": (),
    "input_gate": ("width", "input"),
    "input_out": ("input", "width"),
    "input_norm": ("width",),
    "dense_post_norm": ("width",),
    "router": ("width", "expert"),
    "router_norm": ("width",),
    "expert_scale": ("expert",),
    "expert_norm": ("width",),
    "expert_gate": ("expert", "width", "hidden"),
    "expert_up": ("expert", "width", "hidden"),
    "expert_down": ("expert", "hidden", "width"),
    "expert_post_norm": ("width",),
}
"""Of the fields of `model.nn.params.LayerParams`."""

PARAM_AXES: dict[str, tuple[str, ...]] = {
    "embed": ("vocabulary", "width"),
    "head": ("vocabulary", "width"),
    "final_norm": ("width",),
    "inputs_embed": ("vocabulary", "input"),
    "inputs_project": ("width", "input"),
    "inputs_norm": ("input",),
}
"""Of the fields of `model.nn.params.Params` that are not layers."""

TPU_ORDER: dict[str, tuple[int, ...]] = {"qkv": (1, 2, 3, 0), "gate_up": (1, 0, 2)}
"""Dimensions of a layer's weights as they lie in a TPU's memory, outermost first. It keeps the last
two in tiles, and would otherwise turn these weights around in every step."""

CACHE_AXES: tuple[str, ...] = ("pages", "kv_heads", "offset", "head")

LOGITS_AXES: tuple[str, ...] = ("row", "vocabulary")


def partition(mesh: Mesh, axes: tuple[str, ...], shape: tuple[int, ...]) -> PartitionSpec:
    """How an array with these logical axes lies on the mesh."""
    return PartitionSpec(*(_cut(mesh, axis, size) for axis, size in zip(axes, shape, strict=True)))


def heads_axis(mesh: Mesh, kv_heads: int) -> str | None:
    """The mesh axis that KV heads are cut along, if they are."""
    return _cut(mesh, "kv_heads", kv_heads)


def _cut(mesh: Mesh, axis: str, size: int) -> str | None:
    name = MESH_AXES.get(axis)
    return name if name is not None and size % mesh.shape[name] == 0 else None
