"""TensorRT over a model that keeps its tensors: a plan of its own, built for the comparison and never stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ...runtime.errors import EngineUnavailableError
from ..tensorrt.target import Target, find_target

if TYPE_CHECKING:
    from polygraphy.backend.base import BaseRunner


def find_tensorrt() -> tuple[Target | None, str]:
    """A TensorRT that computes in the types of a file, and its GPU; or None, and why there is none."""
    try:
        target = find_target()
    except EngineUnavailableError as error:
        return None, str(error)
    if target.gpu is None:
        return None, f"{target.tensorrt} is here, but no NVIDIA GPU to run it on"
    if not target.tensorrt.typed:
        return None, f"{target.tensorrt} has flags in place of typed networks: it may compute a kept tensor in any type"
    return target, ""


class TensorRTRunner:
    """Builds with one TensorRT, and runs on its GPU."""

    def __init__(self, flavour: str) -> None:
        """`flavour` is of `trt_library.FLAVOURS`; Polygraphy takes one a process, the first."""
        self._rtx = flavour == "tensorrt-rtx"

    def __call__(self, model: bytes, pictures: NDArray[np.uint8]) -> BaseRunner:
        self._choose()
        from polygraphy.backend.trt import EngineFromBytes, TrtRunner

        here = {"use_gpu": True} if self._rtx else {}
        return TrtRunner(EngineFromBytes(self.plan(model, pictures, **here)), name="tensorrt")

    def plan(self, model: bytes, pictures: NDArray[np.uint8], **config: Any) -> Callable[[], bytes]:
        """What builds the plan when it is called; `config` is Polygraphy's for the builder."""
        self._choose()
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
        from polygraphy.backend.trt import CreateConfig, EngineBytesFromNetwork, NetworkFromOnnxBytes, Profile

        image = onnx.load_model_from_string(model).graph.input[0].name
        shape = pictures.shape
        profiles = [Profile().add(image, min=shape, opt=shape, max=shape)]
        if self._rtx:  # its networks are all typed, and nothing says so
            return EngineBytesFromNetwork(NetworkFromOnnxBytes(model), CreateConfigRTX(profiles=profiles, **config))
        network = NetworkFromOnnxBytes(model, strongly_typed=True)
        return EngineBytesFromNetwork(network, CreateConfig(profiles=profiles, **config))

    def _choose(self) -> None:
        """Before Polygraphy imports either."""
        from polygraphy import config

        config.USE_TENSORRT_RTX = self._rtx
