"""The TensorRT engine over a strict fake of CUDA and TensorRT: batches, buffers, graphs, and the way out of trouble."""

from __future__ import annotations

import gc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fake_cuda import FakeCuda, Memory
from fake_trt_runtime import FakeTensorRT, doubled, fixed_plan, plan_bytes
from numpy.typing import NDArray

from fsr.runtime.engines import Upscaler
from fsr.runtime.engines.tensorrt import MAX_LANES, TensorRtNetwork, buckets
from fsr.runtime.errors import EngineUnavailableError, InputError

SIDE = 4


@pytest.fixture
def cuda() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def fake(cuda: FakeCuda) -> FakeTensorRT:
    return FakeTensorRT(
        lambda handle, work: cuda.put(cuda.streams[handle], work),
        cuda.view,
        lambda handle: cuda.streams[handle].capturing is not None,
        cuda.log,
    )


def opened(fake: FakeTensorRT, cuda: FakeCuda, plan: bytes = fixed_plan(SIDE), graphs: bool = True) -> TensorRtNetwork:
    return TensorRtNetwork(plan, fake.library(), cuda, "fp16", graphs=graphs)


def faces(rng: np.random.Generator, count: int, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (count, height, width, 3), np.uint8)


def any_size(most_pictures: int = 4, longest: int = 64) -> bytes:
    limits = [(1, 1, 1, 3), (1, 32, 32, 3), (most_pictures, longest, longest, 3)]
    return plan_bytes((-1, -1, -1, 3), [limits])


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((1, 1), (1,)),
        ((1, 16), (1, 2, 4, 8, 16)),
        ((1, 24), (1, 2, 4, 8, 16, 24)),
        ((4, 4), (4,)),
        ((3, 8), (3, 4, 8)),
    ],
)
def test_batch_sizes_double_up_to_what_the_plan_takes(limits: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert buckets(*limits) == expected


@pytest.mark.parametrize(
    ("count", "runs"),
    [
        (0, [1]),
        (1, [1]),
        (2, [2]),
        (3, [4]),
        (5, [8]),
        (16, [16]),
        (17, [16, 1]),
        (37, [16, 16, 8]),
    ],
)
def test_batches_are_padded_up_and_split(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator, count: int, runs: list[int]
) -> None:
    with opened(fake, cuda) as network:
        fake.runs.clear()
        batch = faces(rng, count)
        restored = network(batch)["restored"]
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, doubled(batch))
    assert [shape[0] for shape in fake.runs] == runs


def test_what_pads_a_batch_is_never_returned(fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator) -> None:
    with opened(fake, cuda) as network:
        network(faces(rng, 4))
        assert network(faces(rng, 3))["restored"].shape == (3, 2 * SIDE, 2 * SIDE, 3)


def test_every_batch_size_is_captured_while_opening_and_only_launched_after(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda) as network:
        assert cuda.log.count("capture") == cuda.log.count("context") == 5
        cuda.log.clear()
        for count in (1, 3, 16, 20):
            network(faces(rng, count))
        assert set(cuda.log) == {"launch", "synchronise"}
        assert cuda.log.count("launch") == 5


def test_without_graphs_every_step_is_put_into_the_stream(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, graphs=False) as network:
        assert "capture" not in cuda.log
        cuda.log.clear()
        batch = faces(rng, 2)
        np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))
        assert cuda.log == ["copy_in", "copy_out", "synchronise"]


def test_buffers_are_allocated_once(fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator) -> None:
    with opened(fake, cuda) as network:
        before = list(map(id, cuda.held))
        for count in (1, 7, 16, 40):
            network(faces(rng, count))
        assert list(map(id, cuda.held)) == before


def test_each_size_takes_the_narrowest_profile_that_fits(fake: FakeTensorRT, cuda: FakeCuda) -> None:
    profiles = [[(n, SIDE, SIDE, 3)] * 3 for n in (8, 1, 4)] + [[(1, SIDE, SIDE, 3)] * 2 + [(8, SIDE, SIDE, 3)]]
    with opened(fake, cuda, plan_bytes((-1, SIDE, SIDE, 3), profiles)) as network:
        assert {shape[0]: lane.profile for shape, lane in network._lanes.items()} == {1: 1, 2: 3, 4: 2, 8: 0}


def test_a_plan_of_one_fixed_batch_is_padded_and_split_too(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, plan_bytes((4, SIDE, SIDE, 3), [[(4, SIDE, SIDE, 3)] * 3])) as network:
        assert network.input_shape == (None, SIDE, SIDE, 3)
        batch = faces(rng, 6)
        np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))


def test_pictures_of_any_size_go_through_and_what_comes_twice_is_captured(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, any_size()) as network:
        assert network.input_shape == (None, None, None, 3) and "context" not in cuda.log
        for height, width, captures in ((8, 8, 0), (8, 8, 1), (8, 16, 1), (8, 8, 1), (8, 16, 2), (8, 16, 2)):
            batch = faces(rng, 1, height, width)
            np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))
            assert cuda.log.count("capture") == captures


def test_no_more_than_a_few_sizes_are_held_and_the_longest_unused_makes_way(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, any_size()) as network:
        for side in (*range(1, MAX_LANES + 1), 1, 40):
            for _ in range(2):  # the second is captured
                batch = faces(rng, 1, side, side)
                np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))
        assert [shape[1] for shape in network._lanes] == [*range(3, MAX_LANES + 1), 1, 40]
        assert cuda.log.count("context") == MAX_LANES
        small = faces(rng, 1, 2, 2)  # through buffers that have become larger
        np.testing.assert_array_equal(network(small)["restored"], doubled(small))


def test_profiles_may_take_one_large_picture_or_several_small_ones(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    frames = [(1, 4, 4, 3), (1, 32, 32, 3), (1, 64, 64, 3)]
    looks = [(1, 8, 8, 3), (4, 8, 8, 3), (4, 8, 8, 3)]
    with opened(fake, cuda, plan_bytes((-1, -1, -1, 3), [frames, looks])) as network:
        for count, side in ((3, 64), (3, 8), (7, 8), (1, 8)):
            batch = faces(rng, count, side, side)
            np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))
        assert fake.runs == [*[(1, 64, 64, 3)] * 3, (4, 8, 8, 3), *[(4, 8, 8, 3)] * 2, (1, 8, 8, 3)]
        assert [lane.profile for lane in network._lanes.values()] == [0, 1, 1]


def test_pictures_beyond_the_plan_are_refused_with_its_limits(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, any_size(longest=64)) as network:
        with pytest.raises(InputError, match=r"got pictures \(65, 8, 3\), this plan takes \(1, 1, 1, 3\) to .*64"):
            network(faces(rng, 1, 65, 8))
        batch = faces(rng, 9, 8, 8)
        np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))


def test_what_a_call_returned_belongs_to_the_caller(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    batches = [faces(rng, 2) for _ in range(3)]
    with opened(fake, cuda) as network:
        restored = [network(batch)["restored"] for batch in batches]
    for batch, result in zip(batches, restored, strict=True):
        np.testing.assert_array_equal(result, doubled(batch))


def test_threads_that_share_a_network_get_what_they_asked_for(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    batches = [faces(rng, int(count)) for count in rng.integers(0, 24, 60)]
    cuda.pause = 0.0005
    with opened(fake, cuda) as network, ThreadPoolExecutor(4) as threads:
        for batch, result in zip(batches, threads.map(network, batches), strict=True):
            np.testing.assert_array_equal(result["restored"], doubled(batch))


def test_everything_is_freed_in_its_order(fake: FakeTensorRT, cuda: FakeCuda) -> None:
    network = opened(fake, cuda, fixed_plan(SIDE, 1))
    cuda.log.clear()
    network.close()
    assert cuda.log == [
        *("synchronise", "free_graph", "~context", "unpin", "unpin", "free", "free"),
        *("~engine", "~runtime", "free_stream"),
    ]
    network.close()
    assert cuda.held == []
    with pytest.raises(EngineUnavailableError, match="after this engine was closed"):
        network(np.zeros((1, SIDE, SIDE, 3), np.uint8))


def test_a_network_that_nobody_holds_is_freed(fake: FakeTensorRT, cuda: FakeCuda) -> None:
    network = opened(fake, cuda)
    assert cuda.held
    del network
    gc.collect()
    assert cuda.held == []


def test_an_upscaler_frees_the_gpu_even_after_an_error(fake: FakeTensorRT, cuda: FakeCuda) -> None:
    network = opened(fake, cuda)
    with pytest.raises(ValueError, match="from the body"), Upscaler(network) as engine:
        assert (engine.name, engine.device, engine.precision) == ("tensorrt", "cuda", "fp16")
        raise ValueError("from the body")
    assert cuda.held == []


def test_several_models_share_the_gpu_and_close_apart(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    first, second = opened(fake, cuda), opened(fake, cuda, fixed_plan(8))
    first.close()
    with second:
        batch = faces(rng, 3, 8, 8)
        np.testing.assert_array_equal(second(batch)["restored"], doubled(batch))
    assert cuda.held == []


CALLS = [(name, n) for name in ("allocate", "pin", "synchronise", "copy_in", "copy_out") for n in (1, 2, 5)]


@pytest.mark.parametrize(("function", "call"), [("new_stream", 1), *CALLS])
def test_an_engine_that_fails_while_opening_leaves_nothing(
    fake: FakeTensorRT, cuda: FakeCuda, function: str, call: int
) -> None:
    cuda.fail[function] = call
    with pytest.raises(EngineUnavailableError, match=f"{function} failed"):
        opened(fake, cuda, graphs=False)
    gc.collect()
    assert [each for each in cuda.held if isinstance(each, Memory)] == [] and cuda.held == []


@pytest.mark.parametrize("function", ["free_graph", "free", "unpin", "free_stream"])
def test_a_gpu_that_refuses_to_free_one_thing_is_asked_for_the_next(
    fake: FakeTensorRT, cuda: FakeCuda, function: str
) -> None:
    network = opened(fake, cuda)
    cuda.fail[function] = 1
    network.close()
    assert cuda.held == [] and cuda.log[-1] == "free_stream"


@pytest.mark.parametrize("function", ["launch", "synchronise"])
def test_a_call_that_fails_says_so_and_the_next_works(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator, function: str
) -> None:
    with opened(fake, cuda) as network:
        cuda.fail[function] = 2  # in the second of three pieces
        batch = faces(rng, 33)
        with pytest.raises(EngineUnavailableError, match=f"{function} failed: CUDA_ERROR_FAKE"):
            network(batch)
        cuda.fail.clear()
        np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))


def test_an_execution_that_tensorrt_refuses_has_its_reason(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, graphs=False) as network:
        fake.fail_execute = 1
        with pytest.raises(EngineUnavailableError, match=r"tensorrt 8\.6\.0 did not run: enqueue refused"):
            network(faces(rng, 1))


def test_a_capture_that_fails_is_told_and_the_engine_runs_without(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    cuda.fail["capture"] = 1
    with pytest.warns(RuntimeWarning, match="without a CUDA graph, which is slower: CUDA: capture failed"):
        network = opened(fake, cuda)
    with network, warnings.catch_warnings():
        warnings.simplefilter("error")  # said once a batch size
        batch = faces(rng, 2)
        np.testing.assert_array_equal(network(batch)["restored"], doubled(batch))


def test_every_output_is_returned_from_a_place_of_its_own(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, fixed_plan(SIDE, first=True)) as network:
        assert network.outputs == ("first", "restored")
        batch = faces(rng, 21)
        values = network(batch)
    np.testing.assert_array_equal(values["first"], batch[:, 0, 0, :1])
    np.testing.assert_array_equal(values["restored"], doubled(batch))


def test_a_size_that_tensorrt_refuses_loses_nothing_of_the_gpu(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, any_size()) as network:
        for side in range(1, MAX_LANES + 1):
            network(faces(rng, 1, side, side))
        fake.fail_shape = True
        with pytest.raises(EngineUnavailableError, match=r"refuses pictures \(1, 9, 9, 3\): shape outside the profile"):
            network(faces(rng, 1, 9, 9))
    assert cuda.held == []


def test_memory_that_runs_out_at_a_new_size_spoils_no_other(
    fake: FakeTensorRT, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    with opened(fake, cuda, any_size()) as network:
        small = faces(rng, 1, 8, 8)
        network(small)
        cuda.fail["pin"] = 2  # the last of four buffers
        with pytest.raises(EngineUnavailableError, match="pin failed"):
            network(faces(rng, 1, 64, 64))
        cuda.fail.clear()
        np.testing.assert_array_equal(network(small)["restored"], doubled(small))
    assert cuda.held == []


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (b"not a plan", r"tensorrt 8\.6\.0 cannot open the plan: magic tag does not match; build it anew"),
        (fixed_plan(SIDE, dtype="float32"), r"got a model that takes float32 .*, expected uint8"),
        (plan_bytes((-1, 3, 4, 4), [[(1, 3, 4, 4)] * 3]), "expected uint8"),
        (fixed_plan(SIDE, rows=2), "got a plan whose restored is .* for 1 pictures, expected a row for each"),
    ],
    ids=["damaged", "float", "nchw", "other rows"],
)
def test_plans_of_another_kind_are_refused(fake: FakeTensorRT, cuda: FakeCuda, plan: bytes, sentence: str) -> None:
    with pytest.raises(EngineUnavailableError, match=sentence):
        opened(fake, cuda, plan)
    gc.collect()
    assert cuda.held == []


def test_a_context_that_tensorrt_refuses_has_its_reason(fake: FakeTensorRT, cuda: FakeCuda) -> None:
    fake.fail_context = True
    with pytest.raises(EngineUnavailableError, match="cannot open the plan: out of memory"):
        opened(fake, cuda)
    gc.collect()
    assert cuda.held == []


def test_a_plan_whose_profile_serves_one_context_alone_is_to_be_built_anew(fake: FakeTensorRT, cuda: FakeCuda) -> None:
    fake.share_profiles = False
    with pytest.raises(EngineUnavailableError, match=r"does not share profile 0 .*: profile in use; build it anew"):
        opened(fake, cuda)
    with opened(fake, cuda, fixed_plan(SIDE, 1)):
        pass
