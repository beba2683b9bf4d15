"""A plan on the GPU that it was built for: is it still the network that was trained, and how fast is it?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from ...runtime.bundle import Bundle, ModelEntry, check_file
from ...runtime.detect import Detector
from ...runtime.engines.cuda import open_cuda
from ...runtime.engines.cuda_device import Gpu
from ...runtime.engines.plan_record import Plan, PlanParity
from ...runtime.engines.plans import checked_bytes, record_figures
from ...runtime.engines.tensorrt import TensorRtNetwork
from ...runtime.engines.trt_library import TensorRT
from ...runtime.engines.upscaler import Upscaler
from ...runtime.media.images import read_image
from ..detector_parity import at_sizes, gate_detector, measure_detector
from ..parity import gate, measure
from ..parity_faces import stored_faces

REFERENCE = "onnxruntime"
RUNS = 100
"""Of each batch size; the median is kept."""


def measure_plan(plan: Plan, bundle: Bundle, model: ModelEntry | None, tensorrt: TensorRT, gpu: Gpu) -> Plan:
    """Open it, hold it against the bundle's parity set, time it, and write both down beside it.

    Raises:
        EngineUnavailableError: CUDA's bindings are missing, or TensorRT or the GPU refuses.
    """
    precision = plan.record.key.precision
    with TensorRtNetwork(checked_bytes(plan, tensorrt, gpu), tensorrt, open_cuda(), precision) as network:
        if model is None:
            parity, times = _detector_parity(network, bundle), _detector_times(network, plan)
        else:
            parity, times = _parity(network, bundle, model, precision), _times(network, model.input_size, plan)
    return record_figures(plan, parity, times, f"{gpu}; {tensorrt}")


def _parity(network: TensorRtNetwork, bundle: Bundle, model: ModelEntry, precision: str) -> PlanParity:
    figures = measure(Upscaler(network), stored_faces(bundle, model))
    psnr = round(figures.psnr, 2) if math.isfinite(figures.psnr) else None
    return PlanParity(figures.faces, gate(figures, precision), psnr, figures.max_difference)


def _detector_parity(network: TensorRtNetwork, bundle: Bundle) -> PlanParity:
    """On the sheets of the parity set, against float32 by ONNX Runtime."""
    reference = Detector.open(check_file(bundle.folder, bundle.manifest.detector.files["fp32"]), REFERENCE)
    sheets = [read_image(bundle.path(entry)) for entry in bundle.manifest.parity_set.high.values()]
    figures = measure_detector(reference, Detector(network), at_sizes(min(sheets, key=lambda sheet: sheet.size)))
    return PlanParity(figures.faces, gate_detector(figures))


def _times(network: TensorRtNetwork, side: int, plan: Plan) -> dict[str, float]:
    sizes = sorted({shapes[0] for profile in plan.record.key.profiles for shapes in profile})
    return {str(size): _median(network, (size, side, side, 3)) for size in sizes}


def _detector_times(network: TensorRtNetwork, plan: Plan) -> dict[str, float]:
    frames = plan.record.key.profiles[0]
    return {"1": _median(network, frames[1])}


def _median(network: Callable[[np.ndarray], object], shape: Sequence[int]) -> float:
    """Milliseconds from host to host; the first runs, in which graphs are captured, do not count."""
    batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        network(batch)
        times.append((perf_counter() - start) * 1e3)
    return round(float(np.median(times[RUNS // 10 :])), 4)
