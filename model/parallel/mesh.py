"""Where parameters, pages and step arrays lie: on one device, or cut over several."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental.layout import Format, Layout
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from model.nn.cache import Cache
from model.nn.params import LayerParams, Params
from model.parallel.axes import (
    CACHE_AXES,
    LAYER_AXES,
    LOGITS_AXES,
    PARAM_AXES,
    TENSOR,
    TPU_ORDER,
    partition,
)


class TooFewDevices(ValueError):
    """There are fewer devices than the model is to be cut over. One line, for a person."""


@dataclass(frozen=True)
class Placement:
    """mesh: of all devices that compute together."""

    mesh: Mesh

    @property
    def everywhere(self) -> NamedSharding:
        """Whole on each device."""
        return NamedSharding(self.mesh, PartitionSpec())

    def params(self, params: Params) -> Params:
        """The shardings of parameters (arrays, or their shapes and dtypes)."""
        fields: dict[str, Any] = {
            name: self.field(name, getattr(params, name)) for name in PARAM_AXES
        }
        return Params(layers=tuple(map(self.layer, params.layers)), **fields)

    def field(self, name: str, array: Any) -> NamedSharding:
        """The sharding of a field of Params that is not layers."""
        return self._of(array, PARAM_AXES[name])

    def layer(self, layer: LayerParams) -> LayerParams:
        """The shardings of one layer's parameters; what a family does not have is None."""
        fields: dict[str, Any] = {
            name: self._of(getattr(layer, name), axes) for name, axes in LAYER_AXES.items()
        }
        if self.mesh.devices.flat[0].platform == "tpu":
            for name, order in TPU_ORDER.items():
                fields[name] = Format(Layout(major_to_minor=order), fields[name])
        return LayerParams(**fields)

    def logits(self, logits: jax.Array) -> NamedSharding:
        """Of logits [R, V]: as the head makes them."""
        return self._of(logits, LOGITS_AXES)

    def cache(self, cache: Cache) -> Cache:
        """The shardings of the pages, and of their scales, which have no entries of a head."""
        return jax.tree.map(lambda pages: self._of(pages, CACHE_AXES[: pages.ndim]), cache)

    @staticmethod
    def describe(tree: Any, shardings: Any) -> Any:
        """Shapes and dtypes with shardings: one for all leaves, or a tree of them."""
        if isinstance(shardings, NamedSharding):
            return jax.tree.map(lambda leaf: _described(leaf, shardings), tree)
        return jax.tree.map(_described, tree, shardings)

    def _of(self, array: Any, axes: tuple[str, ...]) -> Any:
        if array is None:
            return None
        return NamedSharding(self.mesh, partition(self.mesh, axes, array.shape))


@dataclass(frozen=True)
class Placing:
    """Moves a model's parameters to where they lie, as they are loaded."""

    placement: Placement

    def layer(self, layer: LayerParams) -> LayerParams:
        return jax.device_put(layer, self.placement.layer(layer))

    def field(self, name: str, array: jax.Array) -> jax.Array:
        return jax.device_put(array, self.placement.field(name, array))


def placement_of(devices: int) -> Placement | None:
    """Over the first so many devices of the default platform. None where there is nothing to say:
    one device, which is no TPU.

    Raises TooFewDevices.
    """
    found = jax.devices()
    if devices == 1 and found[0].platform != "tpu":
        return None
    if len(found) < devices:
        raise TooFewDevices(
            f"tensor_parallel is {devices}, but there are {len(found)} {found[0].platform} devices"
        )
    return over(found[:devices])


def over(devices: list[Any]) -> Placement:
    """Over these devices, in their order."""
    return Placement(Mesh(np.array(devices), (TENSOR,)))


def _described(leaf: Any, sharding: NamedSharding | Format) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
