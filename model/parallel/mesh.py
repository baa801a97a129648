"""Where parameters, pages and step arrays lie: on one device, or cut over several."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from model.nn.cache import Cache
from model.nn.params import LayerParams, Params
from model.parallel.axes import CACHE_AXES, LAYER_AXES, PARAM_AXES, TENSOR, partition


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
        fields = {name: self._of(getattr(params, name), axes) for name, axes in PARAM_AXES.items()}
        return Params(layers=tuple(map(self.layer, params.layers)), **fields)

    def layer(self, layer: LayerParams) -> LayerParams:
        """The shardings of one layer's parameters; what a family does not have is None."""
        return LayerParams(
            **{name: self._of(getattr(layer, name), axes) for name, axes in LAYER_AXES.items()}
        )

    def cache(self, cache: Cache) -> Cache:
        """The shardings of the pages."""
        return jax.tree.map(lambda pages: self._of(pages, CACHE_AXES), cache)

    def _of(self, array: Any, axes: tuple[str, ...]) -> Any:
        if array is None:
            return None
        return NamedSharding(self.mesh, partition(self.mesh, axes, array.shape))


def placement_of(devices: int) -> Placement | None:
    """Over the first so many devices of the default platform; None where there is one to use.

    Raises TooFewDevices.
    """
    if devices == 1:
        return None
    found = jax.devices()
    if len(found) < devices:
        raise TooFewDevices(
            f"tensor_parallel is {devices}, but there are {len(found)} {found[0].platform} devices"
        )
    return over(found[:devices])


def over(devices: list[Any]) -> Placement:
    """Over these devices, in their order."""
    return Placement(Mesh(np.array(devices), (TENSOR,)))
