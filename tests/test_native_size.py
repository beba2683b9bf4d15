"""The curve is what the chain gives face by face; ranges and choices of models follow from it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fsr.runtime.errors import InputError, OutputError, UsageError
from fsr.runtime.geometry import resize
from fsr.runtime.media.images import read_image
from fsr.runtime.pixels import RgbBatch, RgbImage
from fsr.train.metrics import psnr
from fsr.train.native_size import NativeSizeCurve, native_size_curve, save_curve, select_models

INPUT, OUTPUT = 16, 64
SIZES = (8, 16, 24, 32)


@pytest.fixture
def faces(astronaut: RgbImage) -> RgbBatch:
    """uint8 (3, 64, 64, 3): the portrait, framed three ways."""
    crops = [astronaut[60:188, 160:288], astronaut[10:210, 120:320], astronaut[:, :]]
    return np.stack([resize(crop, (OUTPUT, OUTPUT)) for crop in crops])


def bicubic(batch: RgbBatch) -> RgbBatch:
    return np.stack([resize(face, (OUTPUT, OUTPUT)) for face in batch])


def curve_of(
    gains: list[float], sizes: tuple[float, ...] = SIZES, worse: tuple[float, ...] | None = None
) -> NativeSizeCurve:
    """A curve that rises 1 dB every 4 px, with these gains over bicubic; worse: shares of the faces, 0 by default."""
    native = np.array(sizes, np.float64)
    bicubic_db, worse_share = 20 + native / 4, np.array(worse or (0,) * len(native), np.float64)
    return NativeSizeCurve("sparnet", OUTPUT, native, bicubic_db, bicubic_db + gains, worse_share)


def test_bicubic_gains_nothing_at_its_input_size_and_loses_above(faces: RgbBatch) -> None:
    curve = native_size_curve(bicubic, faces, INPUT, OUTPUT, SIZES)
    at_input = list(SIZES).index(INPUT)
    assert curve.gain_db[at_input] == 0
    assert curve.worse_share[at_input] == 0
    assert (curve.gain_db[at_input + 1 :] < -0.5).all()
    assert (curve.worse_share[at_input + 1 :] == 1).all()
    assert (np.diff(curve.bicubic_db) > 0).all()
    assert curve.useful_range() is None


@pytest.mark.parametrize("protocol", ["sparnet", "rgb"])
def test_each_row_is_what_the_chain_gives_face_by_face(faces: RgbBatch, protocol: str) -> None:
    curve = native_size_curve(bicubic, faces, INPUT, OUTPUT, (24, 10), protocol)
    assert curve.native_size.tolist() == [10, 24]
    for row, native in enumerate((10, 24)):
        seen = [resize(face, (native, native)) for face in faces]
        enlarged = [resize(small, (OUTPUT, OUTPUT)) for small in seen]
        restored = [resize(resize(small, (INPUT, INPUT)), (OUTPUT, OUTPUT)) for small in seen]
        plain = [psnr(protocol, sr, hr) for sr, hr in zip(enlarged, faces, strict=True)]
        model = [psnr(protocol, sr, hr) for sr, hr in zip(restored, faces, strict=True)]
        assert curve.bicubic_db[row] == pytest.approx(np.mean(plain))
        assert curve.model_db[row] == pytest.approx(np.mean(model))
        assert curve.worse_share[row] == pytest.approx(np.less(model, plain).mean())


def test_a_cheat_that_knows_hr_gains_everywhere(faces: RgbBatch) -> None:
    nearly_hr = faces ^ np.uint8(1)
    curve = native_size_curve(lambda batch: nearly_hr, faces, INPUT, OUTPUT, SIZES)
    assert (curve.gain_db > 10).all()
    assert (curve.worse_share == 0).all()
    assert curve.useful_range() == (8, 32)


def test_hr_itself_gains_inf_and_a_flat_face_gains_nothing(faces: RgbBatch, tmp_path: Path) -> None:
    curve = native_size_curve(lambda batch: faces, faces, INPUT, OUTPUT, SIZES)
    assert np.isposinf(curve.gain_db).all()
    assert curve.useful_range() == (8, 32)
    save_curve({"cheat": curve}, tmp_path / "curve.png")
    flat = np.full_like(faces, 90)
    curve = native_size_curve(lambda batch: flat[: len(batch)], flat, INPUT, OUTPUT, SIZES)
    assert (curve.gain_db == 0).all()


def test_the_model_sees_batches_of_its_input_size_and_every_face_once(faces: RgbBatch) -> None:
    many = np.concatenate([faces] * 30)
    shapes: list[tuple[int, ...]] = []

    def restore(batch: RgbBatch) -> RgbBatch:
        shapes.append(batch.shape)
        return bicubic(batch)

    native_size_curve(restore, many, INPUT, OUTPUT, (8, 32))
    assert {shape[1:] for shape in shapes} == {(INPUT, INPUT, 3)}
    assert sum(shape[0] for shape in shapes) == 2 * len(many)
    assert max(shape[0] for shape in shapes) <= 64


def test_the_range_is_interpolated_between_measured_sizes() -> None:
    curve = curve_of([-0.9, 1.1, 0.6, -0.4])
    assert curve.useful_range() == (pytest.approx(12), pytest.approx(28))  # halfway from -.9 to 1.1 lies .1
    assert curve.useful_range(min_gain=0.6) == (pytest.approx(14), pytest.approx(24))
    assert curve.useful_range(min_gain=2) is None


def test_the_range_is_the_one_around_the_largest_gain() -> None:
    curve = curve_of([0.5, -1.0, 2.0, 1.0])
    assert curve.useful_range(min_gain=0) == (pytest.approx(16 + 8 / 3), 32)


def test_each_size_goes_to_the_best_model_and_to_none_where_none_helps() -> None:
    small = curve_of([1.0, 1.0, -1.0, -3.0])
    large = curve_of([-1.0, 0.0, 1.0, -0.8])
    # Small 1 - 2t and large t meet at t = 1/3 past 16 px; large falls to .1 halfway from 24 to 32.
    assert select_models({"small": small, "large": large}) == [
        (8, pytest.approx(16 + 8 / 3), "small"),
        (pytest.approx(16 + 8 / 3), pytest.approx(28), "large"),
    ]


def test_a_range_ends_where_too_many_faces_come_out_worse() -> None:
    """Whatever is gained on average: at a third of the way from 24 to 32 px one in twenty is left worse."""
    curve = curve_of([1.0, 1.0, 1.0, 1.0], worse=(0.0, 0.0, 0.04, 0.07))
    assert curve.useful_range() == (8, pytest.approx(24 + 8 / 3))
    other = curve_of([0.5, 0.5, 0.5, 0.5])
    assert select_models({"a": curve, "b": other}) == [
        (8, pytest.approx(24 + 8 / 3), "a"),
        (pytest.approx(24 + 8 / 3), 32, "b"),
    ]


def test_a_gap_between_models_is_left_to_bicubic() -> None:
    small = curve_of([1.1, -0.9, -2.0, -2.0])
    large = curve_of([-2.0, -2.0, -0.9, 1.1])
    found = select_models({"small": small, "large": large})
    assert found == [(8, pytest.approx(12), "small"), (pytest.approx(28), 32, "large")]


def test_no_model_is_selected_where_all_stay_below_the_gain_asked_for() -> None:
    curves = {"a": curve_of([0.05, 0.09, 0.0, -1.0]), "b": curve_of([0.0] * 4)}
    assert select_models(curves) == []
    assert [name for _, _, name in select_models(curves, min_gain=0.0)] == ["a"]


@pytest.mark.parametrize(
    "other",
    [
        curve_of([1, 1, 1], sizes=(8, 16, 24)),
        NativeSizeCurve("dic", OUTPUT, *[np.array(SIZES, np.float64)] * 4),
        NativeSizeCurve("sparnet", OUTPUT, *[np.array(SIZES, np.float64)] * 4),
    ],
    ids=["sizes", "protocol", "faces"],
)
def test_curves_that_cannot_be_compared_are_refused(other: NativeSizeCurve, tmp_path: Path) -> None:
    curves = {"one": curve_of([1, 1, 1, 1]), "other": other}
    with pytest.raises(UsageError, match="'one' and 'other'"):
        select_models(curves)
    with pytest.raises(UsageError, match="'one' and 'other'"):
        save_curve(curves, tmp_path / "curve.png")


def test_no_curve_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        select_models({})


@pytest.mark.parametrize("sizes", [(), (16,), (0, 16), (16, OUTPUT)])
def test_native_sizes_that_show_nothing_are_refused(faces: RgbBatch, sizes: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="native sizes"):
        native_size_curve(bicubic, faces, INPUT, OUTPUT, sizes)


def test_hr_of_another_size_is_refused(faces: RgbBatch) -> None:
    with pytest.raises(UsageError, match=r"expected \(N, 128, 128, 3\)"):
        native_size_curve(bicubic, faces, INPUT, 128, SIZES)


def test_a_model_that_returns_another_size_is_refused(faces: RgbBatch) -> None:
    with pytest.raises(InputError, match="expected equal shapes"):
        native_size_curve(lambda batch: batch, faces, INPUT, OUTPUT, SIZES)


def test_the_plot_is_a_picture_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    curves = {"small": curve_of([1.0, 1.0, -1.0, -3.0]), "large": curve_of([-1.0, 0.0, 1.0, -0.8])}
    save_curve(curves, tmp_path / "new" / "curve.png")
    image = read_image(tmp_path / "new" / "curve.png")
    assert min(image.shape[:2]) > 300
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 10  # lines and letters, not an empty page
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curve.png"]


def test_an_unknown_plot_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        save_curve({"a": curve_of([1, 1, 1, 1])}, tmp_path / "curve.doc")


def test_a_plot_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "curve.png").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        save_curve({"a": curve_of([1, 1, 1, 1])}, tmp_path / "curve.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_measuring_needs_no_matplotlib() -> None:
    code = "import sys, fsr.train.native_size; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_size_at_which_too_many_faces_get_worse_is_served_by_none() -> None:
    curve = curve_of([1.0] * len(SIZES))
    assert curve.useful_range() == (SIZES[0], SIZES[-1])
    share = np.zeros(len(SIZES))
    share[-1] = 0.2
    risky = replace(curve, worse_share=share)
    (found,) = select_models({"model": risky})
    assert found[0] == SIZES[0] and SIZES[-2] < found[1] < SIZES[-1]
