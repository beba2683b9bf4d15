"""What every super-resolution engine promises, held against all of them; those that cannot run here say why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_cuda import FakeCuda
from fake_trt_runtime import FakeTensorRT, fixed_plan
from numpy.typing import NDArray

from fsr.runtime.bundle import default_folder, open_bundle
from fsr.runtime.engines import OPENERS, Engine, FakeEngine, Upscaler, open_engine
from fsr.runtime.engines.tensorrt import TensorRtNetwork
from fsr.runtime.errors import EngineUnavailableError, InputError

NEAR = 1
"""Grey levels between a face alone and the same face in a batch, where another kernel may serve another batch."""


def over_fake_cuda() -> Engine:
    """The TensorRT engine itself; only CUDA and TensorRT are not the real ones."""
    cuda = FakeCuda()
    fake = FakeTensorRT(
        lambda handle, work: cuda.put(cuda.streams[handle], work),
        cuda.view,
        lambda handle: cuda.streams[handle].capturing is not None,
    )
    return Upscaler(TensorRtNetwork(fixed_plan(16), fake.library(), cuda, "fp32"))


STAND_INS: dict[str, Callable[[], Engine]] = {
    "fake": lambda: FakeEngine(16, 8),
    "tensorrt-over-fake-cuda": over_fake_cuda,
}


@pytest.fixture(scope="module", params=[*STAND_INS, *(pytest.param(name, id=name) for name in OPENERS)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """With the default bundle's quickest model, where it is no stand-in."""
    if request.param in STAND_INS:
        with STAND_INS[request.param]() as opened:
            yield opened
        return
    bundle = open_bundle(default_folder())
    model = min(bundle.manifest.models, key=lambda model: model.multiply_accumulates)
    try:
        real = open_engine(request.param, bundle.path(model.files["fp32"]))
    except EngineUnavailableError as error:
        pytest.skip(f"{request.param}: {error}")
    with real:
        yield real


def faces(engine: Engine, count: int, seed: int = 0) -> NDArray[np.uint8]:
    shape = (count, engine.input_size, engine.input_size, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def alone(engine: Engine, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([engine(face[None]) for face in batch])


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b).max(initial=0))


def test_it_says_what_it_is(engine: Engine) -> None:
    assert engine.name and engine.precision == "fp32" and engine.device in ("cpu", "cuda")
    assert engine.output_size % engine.input_size == 0


@pytest.mark.parametrize("count", [0, 1, 3, 16, 21])
def test_any_number_of_faces_gives_what_each_gives_alone(engine: Engine, count: int) -> None:
    batch = faces(engine, count)
    restored = engine(batch)
    assert restored.dtype == np.uint8
    assert restored.shape == (count, engine.output_size, engine.output_size, 3)
    if count:
        assert difference(restored, alone(engine, batch)) <= NEAR


def test_what_was_given_is_left_and_what_was_returned_stays(engine: Engine) -> None:
    batch = faces(engine, 3)
    before = batch.copy()
    first = engine(batch)
    kept = first.copy()
    engine(faces(engine, 3, seed=1))
    np.testing.assert_array_equal(batch, before)
    np.testing.assert_array_equal(first, kept)


def test_strided_and_read_only_batches_give_the_same(engine: Engine) -> None:
    batch = faces(engine, 4)[::2]
    fixed = batch.copy()
    fixed.flags.writeable = False
    np.testing.assert_array_equal(engine(batch), engine(fixed))


def test_the_same_faces_give_the_same_pixels(engine: Engine) -> None:
    batch = faces(engine, 5)
    np.testing.assert_array_equal(engine(batch), engine(batch))


def test_threads_may_share_it(engine: Engine) -> None:
    batches = [faces(engine, count, seed) for seed, count in enumerate((1, 3, 17, 2, 8, 5, 1, 16))]
    expected = [engine(batch) for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        for got, wanted in zip(threads.map(engine, batches), expected, strict=True):
            assert difference(got, wanted) <= NEAR


@pytest.mark.parametrize("spoil", [lambda b: b.astype(np.float32), lambda b: b[0], lambda b: b[:, :, :-1]])
def test_other_batches_are_refused(engine: Engine, spoil: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    with pytest.raises(InputError, match="got a batch of"):
        engine(spoil(faces(engine, 2)))
    assert len(engine(faces(engine, 1))) == 1  # and the next is served
