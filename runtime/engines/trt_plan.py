"""A plan that TensorRT deserialised: its tensors, the sizes it takes, and contexts to run it in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import EngineUnavailableError
from .network import check_input_shape
from .plans import BUILD_ANEW
from .trt_library import TensorRT, remedy

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Output:
    """An output of a plan; its first axis is that of the pictures."""

    name: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Profile:
    """The shapes, (N, H, W, 3), that one optimisation profile of a plan takes."""

    least: Shape
    usual: Shape
    most: Shape

    def takes(self, shape: Shape) -> bool:
        return all(low <= length <= high for low, length, high in zip(self.least, shape, self.most, strict=True))


class OpenedPlan:
    """Holds TensorRT's runtime and engine; `close` lets go of them, which must come after that of every context.

    Only with the CUDA context current, and only with bytes that `plans.checked_bytes` returned: TensorRT crashes the
    process over a plan of another version, and without a driver over any.
    """

    def __init__(self, tensorrt: TensorRT, data: bytes) -> None:
        """Deserialise.

        Raises:
            EngineUnavailableError: TensorRT refuses, or the network does not take one uint8 picture batch.
        """
        self.tensorrt = tensorrt
        self.log = new_log(tensorrt.module)
        self._runtime = self._asked(lambda: tensorrt.module.Runtime(self.log))
        self._engine = self._asked(lambda: self._runtime.deserialize_cuda_engine(data))
        names = [self._engine.get_tensor_name(n) for n in range(self._engine.num_io_tensors)]
        mode = tensorrt.module.TensorIOMode
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == mode.INPUT]
        if len(inputs) != 1:
            raise EngineUnavailableError(f"got a plan with the inputs {', '.join(inputs)}, expected one; {BUILD_ANEW}")
        (self.input,) = inputs
        shape = [length if length >= 0 else "?" for length in self._engine.get_tensor_shape(self.input)]
        _, *rest = check_input_shape(str(self._dtype(self.input)), shape)
        self.input_shape: tuple[int | None, ...] = (None, *rest)  # batches are split and padded to what it takes
        self.outputs = [Output(name, self._dtype(name)) for name in names if name != self.input]
        self.profiles = self._profiles(shape)

    def new_context(self, profile: int, stream: int) -> Any:
        """An execution context for shapes of that profile; what the stream does for it must end before it is used."""
        context = self._asked(self._create_context)
        if not context.set_optimization_profile_async(profile, stream):
            raise EngineUnavailableError(
                f"{self.tensorrt} does not share profile {profile} of the plan between batch sizes: "
                f"{self.log.last}; {BUILD_ANEW}"
            )
        return context

    def close(self) -> None:
        del self._engine, self._runtime

    def _create_context(self) -> Any:
        if not hasattr(self._engine, "create_runtime_config"):
            return self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
            # TensorRT-RTX compiles kernels for a shape in the background; a graph would keep the stand-ins for ever.
            strategy = self.tensorrt.module.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategy.EAGER
        return self._engine.create_execution_context(config)

    def _dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(self.tensorrt.module.nptype(self._engine.get_tensor_dtype(name)))

    def _profiles(self, shape: list[Any]) -> list[Profile]:
        if "?" not in shape:
            return [Profile(*[tuple(shape)] * 3)]
        found = (
            self._engine.get_tensor_profile_shape(self.input, n) for n in range(self._engine.num_optimization_profiles)
        )
        return [Profile(*(tuple(limit) for limit in limits)) for limits in found]

    def _asked(self, ask: Any) -> Any:
        """What TensorRT returns; where it returns nothing or throws, its last words as an error."""
        try:
            answer = ask()
        except (RuntimeError, TypeError) as error:  # TypeError: a constructor that TensorRT answered with nothing
            raise EngineUnavailableError(self._refusal(str(error))) from error
        if answer is None:
            raise EngineUnavailableError(self._refusal("no reason given"))
        return answer

    def _refusal(self, reason: str) -> str:
        reason = self.log.last or reason
        return f"{self.tensorrt} cannot open the plan: {reason}; {remedy(reason) or BUILD_ANEW}"


def new_log(module: Any) -> Any:
    """A logger for that library that prints nothing and keeps the last error in `last`."""

    class Log(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, msg: str) -> None:
            if severity in (module.ILogger.Severity.ERROR, module.ILogger.Severity.INTERNAL_ERROR):
                self.last = msg.strip().partition("\n")[0]

    return Log()
