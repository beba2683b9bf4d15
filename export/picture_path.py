"""The parts of a graph where a tensor holds grey levels, which int8 holds exactly: one level a step, 128 as 0.

Those are the picture on its way around the network, the enlarged picture that comes of it, and the sum with what the
network says, up to where 128 is added and the levels become uint8 again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from ..calibration.int8 import fits_steps, power_of_two_steps
from .graph import Graph

MIDDLE = 128
"""The grey level that is 0 in int8."""
PICKS = frozenset({"Gather", "Reshape", "Transpose"})
"""Operators that move or repeat pixels."""


@dataclass(frozen=True, eq=False)
class PicturePath:
    """From the picture around the network to the result."""

    skip: NodeProto
    """The convolution that enlarges."""
    added: NodeProto
    """The sum of what it makes and what the network says."""
    moved: list[str]
    """That sum, and what it is on its way to the result, moved only."""
    to_uint8: list[NodeProto]
    """Clip and Round: nothing is left to them of levels that int8 has held."""


def picture_path(graph: Graph) -> PicturePath | None:
    """As export's `Deployed` makes it; None in other graphs."""
    skip = next((conv for conv in graph.nodes("Conv") if _centred(graph, conv.input[0])), None)
    if skip is None or [user.op_type for user in graph.users(skip.output[0])] != ["Add"]:
        return None
    added = graph.users(skip.output[0])[0]
    moved = [added.output[0]]
    while len(users := graph.users(moved[-1])) == 1 and users[0].op_type in PICKS:
        moved.append(users[0].output[0])
    behind = list(_behind(graph, moved[-1]))
    if [node.op_type for node in behind] != ["Add", "Clip", "Round", "Cast"] or not _adds_middle(graph, behind[0]):
        return None
    return PicturePath(skip, added, moved, behind[1:3])


def fits_int8(weights: NDArray[np.float32]) -> bool:
    """Whether int8 may hold weights (K, C, h, w) that enlarge a picture, as those that do by 4 and by 8."""
    return bool(fits_steps(weights, power_of_two_steps(weights)).all())


def _centred(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is moved from grey levels less 128."""
    maker = graph.maker(tensor)
    while maker is not None and maker.op_type in PICKS:
        maker = graph.maker(maker.input[0])
    if maker is None or maker.op_type not in ("Add", "Sub"):
        return False
    cast = graph.maker(maker.input[0])
    shift = graph.constants.get(maker.input[1])
    wanted = MIDDLE if maker.op_type == "Sub" else -MIDDLE
    return cast is not None and cast.op_type == "Cast" and cast.input[0] == graph.input and _is(shift, wanted)


def _behind(graph: Graph, tensor: str) -> Iterator[NodeProto]:
    """What follows a tensor, one by one."""
    while len(users := graph.users(tensor)) == 1:
        yield users[0]
        tensor = users[0].output[0]


def _adds_middle(graph: Graph, node: NodeProto) -> bool:
    return any(_is(graph.constants.get(name), MIDDLE) for name in node.input)


def _is(constant: NDArray[np.generic] | None, value: int) -> bool:
    return constant is not None and constant.size == 1 and float(constant) == value
