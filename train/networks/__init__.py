"""Networks by name: a network is a configuration dataclass and a module built from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from ...runtime.errors import CheckpointError
from .edge import EdgeConfig, EdgeNet

NETWORKS: Mapping[str, tuple[type[EdgeConfig], type[EdgeNet]]] = MappingProxyType({"edge": (EdgeConfig, EdgeNet)})


def build_network(name: str, config: Mapping[str, Any]) -> nn.Module:
    """Build the network `name` from the fields of its configuration.

    Raises:
        CheckpointError: an unknown network, or fields it does not have.
    """
    if name not in NETWORKS:
        raise CheckpointError(f"got network {name!r}, expected one of {', '.join(NETWORKS)}")
    config_type, network_type = NETWORKS[name]
    try:
        return network_type(config_type(**config))
    except TypeError as error:
        raise CheckpointError(f"network {name!r}: got configuration {dict(config)}: {error}") from error
