"""Networks by name: a network is a configuration dataclass and a module built from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from ...runtime.errors import CheckpointError
from .compact import CompactConfig, CompactNet
from .edge import EdgeConfig, EdgeNet
from .kdfsrnet import KdfsrConfig, KdfsrNet

NETWORKS: Mapping[str, tuple[type[Any], type[nn.Module]]] = MappingProxyType(
    {"edge": (EdgeConfig, EdgeNet), "compact": (CompactConfig, CompactNet), "kdfsrnet": (KdfsrConfig, KdfsrNet)}
)


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


def name_of(network: nn.Module) -> tuple[str, dict[str, Any]]:
    """The name of a network in `NETWORKS` and the fields of its configuration."""
    (name,) = [name for name, (_, network_type) in NETWORKS.items() if type(network) is network_type]
    config: Any = network.config
    return name, config.to_json()
