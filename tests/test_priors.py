"""Priors lie where the face is, survive mirroring and packing, and are refused where they are not what they seem."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_data import make_pack
from tiny_landmarker import constant_network, synthetic_mesh, synthetic_priors, write_landmarker

from fsr.runtime.bundle import default_detector
from fsr.runtime.detect import Detector, largest
from fsr.runtime.errors import EngineUnavailableError, InputError, PackError
from fsr.runtime.geometry import similarity_transform, transform_points
from fsr.runtime.pixels import RgbImage
from fsr.train import mesh
from fsr.train.face_prior import MAX_DISAGREEMENT, disagreement, face_prior
from fsr.train.heat_maps import GROUPS, SIGMA, heat_maps
from fsr.train.landmarker import (
    ACTION_UNITS,
    BLENDSHAPE_NETWORK,
    BLENDSHAPE_POINTS,
    FIVE_IN_INPUT,
    MESH_NETWORK,
    Landmarker,
)
from fsr.train.pack import open_pack
from fsr.train.part_map import PARTS, part_map
from fsr.train.priors import CHANNELS, Priors, prior_channels, read_priors, require_priors

SIZE = 128
FACE = synthetic_mesh() / 2  # in a crop of 128 px


def centre(*ring: int) -> tuple[int, int]:
    """Row and column of the middle of a ring of `FACE`."""
    x, y = np.rint(FACE[list(ring)].mean(0)).astype(int)
    return y, x


def priors(**changes: NDArray) -> Priors:
    return Priors(**{**synthetic_priors(4, "runtime", SIZE), **changes})


def channels(found: Priors, size: int = SIZE, *, mirrored: bool = False) -> torch.Tensor:
    count = len(found)
    return prior_channels(found, np.arange(count), np.full(count, mirrored), size)


# The part map


def test_every_part_is_drawn_where_its_ring_is() -> None:
    drawn = part_map(FACE, SIZE)
    rings = {
        "nose": mesh.NOSE,
        "mouth": mesh.INNER_LIPS,
        "eyes": mesh.LEFT_EYE,
        "brows": mesh.RIGHT_BROW,
    }
    for part, ring in rings.items():
        assert PARTS[drawn[centre(*ring)]] == part
    upper_lip = centre(0, 13)  # between the outer and the inner ring's highest points
    assert PARTS[drawn[upper_lip]] == "lips"
    chin = np.rint(FACE[152]).astype(int)
    assert PARTS[drawn[chin[1] - 2, chin[0]]] == "skin"
    assert PARTS[drawn[chin[1] + 2, chin[0]]] == "background"


def test_a_part_covers_the_area_of_its_polygon() -> None:
    """Not half a pixel more all around, as a polygon painted with its border would."""
    drawn = part_map(FACE, SIZE)
    x, y = FACE[list(mesh.LEFT_EYE)].T
    polygon = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    right_half = drawn[:, SIZE // 2 :]
    assert abs((right_half == PARTS.index("eyes")).sum() - polygon) < 0.1 * polygon


def test_the_part_map_moves_with_the_face() -> None:
    np.testing.assert_array_equal(
        part_map(FACE + np.array([5, -3]), SIZE), np.roll(part_map(FACE, SIZE), (-3, 5), (0, 1))
    )


def test_an_outline_that_crosses_itself_leaves_no_hole() -> None:
    """As a profile's does: the far cheek lies beyond the nose, inside the near one."""
    folded = FACE.copy()
    far = FACE[:, 0] > 70
    folded[far, 0] = 90 - folded[far, 0] / 2
    drawn = part_map(folded, SIZE)
    for row in drawn[30:90]:
        face = np.flatnonzero(row)
        assert len(face) and (np.diff(face) == 1).all()


# Heat maps


def test_a_heat_map_is_a_gaussian_around_a_lone_point() -> None:
    landmarks = torch.full((1, mesh.MESH_POINTS, 2), -500.0)
    landmarks[0, mesh.HEAT_GROUPS["nose"][0]] = torch.tensor([40.0, 60.0])
    maps = heat_maps(landmarks, SIZE, SIZE)[0]
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    squared = (columns - 40.0) ** 2 + (rows - 60.0) ** 2
    expected = torch.exp(-squared / (2 * (SIGMA * SIZE) ** 2))
    torch.testing.assert_close(maps[GROUPS.index("nose")], expected, atol=0.01, rtol=0)
    assert maps[GROUPS.index("mouth")].max() == 0


def test_heat_is_highest_at_the_points_of_its_group_and_at_most_1() -> None:
    maps = heat_maps(torch.from_numpy(FACE[None]).float(), SIZE, SIZE)[0]
    assert maps.min() >= 0 and maps.max() <= 1
    for group, heat in zip(mesh.HEAT_GROUPS.values(), maps, strict=True):
        for x, y in np.rint(FACE[list(group)]).astype(int):
            assert heat[y, x] > 0.95


@pytest.mark.parametrize("size", [16, 32, 64])
def test_heat_maps_of_any_size_show_the_same_place(size: int) -> None:
    large = heat_maps(torch.from_numpy(FACE[None]).float(), SIZE, SIZE)
    small = heat_maps(torch.from_numpy(FACE[None]).float(), SIZE, size)
    shrunk = torch.nn.functional.interpolate(large, (size, size), mode="area")
    assert (small - shrunk).abs().mean() < 0.02  # one small pixel off it would be .05 to .07


# Channels


def test_channels_are_parts_and_heat_maps_of_the_faces_asked_for() -> None:
    found = priors(reliable=np.ones(4, bool))
    maps = prior_channels(found, np.array([2, 0]), np.zeros(2, bool), SIZE)
    assert maps.shape == (2, len(CHANNELS), SIZE, SIZE) and maps.dtype == torch.float32
    for row, face in enumerate((2, 0)):
        assert torch.equal(maps[row, : len(PARTS)].argmax(0), torch.from_numpy(found.part_map[face]).long())
        heat = heat_maps(torch.from_numpy(found.landmarks[[face]]).float(), SIZE, SIZE)[0]
        assert torch.equal(maps[row, len(PARTS) :], heat)


@pytest.mark.parametrize("size", [16, 128, 256])
def test_parts_share_out_every_pixel_at_any_size(size: int) -> None:
    maps = channels(priors(reliable=np.ones(4, bool)), size)
    assert maps.shape[2:] == (size, size) and maps.min() >= 0 and maps.max() <= 1
    torch.testing.assert_close(maps[:, : len(PARTS)].sum(1), torch.ones(4, size, size))


def test_a_mirrored_face_has_its_persons_eyes() -> None:
    found = priors()
    face = 2  # two pixels off the middle, so that its mirror image is another picture
    plain, mirrored = channels(found)[face], channels(found, mirrored=True)[face]
    right, left = CHANNELS.index("right eye"), CHANNELS.index("left eye")
    (x, y) = np.rint(found.landmarks[face, mesh.HEAT_GROUPS["right eye"][0]].astype(float)).astype(int)
    assert plain[right, y, x] > 0.95 and mirrored[left, y, SIZE - 1 - x] > 0.95
    assert plain[left, y, x] < 0.1 and mirrored[right, y, SIZE - 1 - x] < 0.1
    brows = CHANNELS.index("brows")
    assert torch.equal(mirrored[brows], plain[brows].flip(1)) and not torch.equal(mirrored[brows], plain[brows])


def test_each_face_is_mirrored_for_itself() -> None:
    found = priors(reliable=np.ones(4, bool))
    mixed = prior_channels(found, np.arange(4), np.array([False, True, True, False]), SIZE)
    plain, mirrored = channels(found), channels(found, mirrored=True)
    assert torch.equal(mixed, torch.stack([plain[0], mirrored[1], mirrored[2], plain[3]]))


def test_a_face_not_relied_on_shows_nothing() -> None:
    maps = channels(priors(reliable=np.array([True, False, True, False])))
    assert maps.abs().amax((1, 2, 3)).tolist() == [1, 0, 1, 0]


# In a pack


def test_priors_come_back_from_packs_one_after_the_other(tmp_path: Path) -> None:
    packs = [
        make_pack(tmp_path / f"{name}.safetensors", train=train, val=1, test=0, size=32, prefix=name, priors=True)
        for name, train in (("a", 3), ("b", 2))
    ]
    found = read_priors(packs, "train")
    expected = [synthetic_priors(count, "runtime", 32) for count in (3, 2)]
    for name in ("landmarks", "part_map", "blendshapes", "reliable"):
        np.testing.assert_array_equal(getattr(found, name), np.concatenate([one[name] for one in expected]))
    assert len(read_priors(packs[0], "test")) == 0
    np.testing.assert_array_equal(found.take(np.array([4, 0])).landmarks, found.landmarks[[4, 0]])


def test_a_pack_without_priors_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with_them = make_pack(tmp_path / "a.safetensors", size=32, priors=True)
    without = make_pack(tmp_path / "b.safetensors", size=32)
    require_priors([with_them])
    for refuse in (require_priors, lambda packs: read_priors(packs, "train")):
        with pytest.raises(PackError, match=r"b\.safetensors: got a pack without facial priors; make it again") as got:
            refuse([with_them, open_pack(without.path)])
        assert "\n" not in str(got.value)


# The landmarker


@pytest.fixture(scope="module")
def landmarker(tmp_path_factory: pytest.TempPathFactory) -> Landmarker:
    return Landmarker.open(write_landmarker(tmp_path_factory.mktemp("landmarker") / "tiny.task"))


def turned(points: NDArray, degrees: float, zoom: float) -> NDArray:
    angle = np.radians(degrees)
    rotation = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ rotation.T + (300, 200)


@pytest.mark.parametrize(("degrees", "zoom"), [(0, 1.0), (30, 0.5), (-120, 1.7)])
def test_the_mesh_lies_on_the_face_however_that_is_placed(
    landmarker: Landmarker, astronaut: RgbImage, degrees: float, zoom: float
) -> None:
    seen = landmarker(astronaut, turned(FIVE_IN_INPUT, degrees, zoom))
    np.testing.assert_allclose(seen.points, turned(synthetic_mesh(), degrees, zoom), atol=1e-3)
    assert seen.present


def test_action_units_are_means_of_their_blendshapes(landmarker: Landmarker, astronaut: RgbImage) -> None:
    """The tiny network answers blendshape n with n / 51."""
    units = dict(zip(ACTION_UNITS, landmarker(astronaut, FIVE_IN_INPUT).action_units * 51, strict=True))
    assert len(units) == 16
    assert units["AU1"] == pytest.approx(3)  # browInnerUp
    assert units["AU12"] == pytest.approx(44.5)  # mouthSmileLeft, mouthSmileRight
    assert units["AU26"] == pytest.approx(25)  # jawOpen


@pytest.mark.parametrize(
    ("presence", "shift", "reliable"), [(9.0, 0.0, True), (9.0, 3.0, True), (9.0, 20.0, False), (-9.0, 0.0, False)]
)
def test_a_mesh_is_relied_on_if_it_agrees_with_the_detector(
    tmp_path: Path, astronaut: RgbImage, presence: float, shift: float, reliable: bool
) -> None:
    tiny = Landmarker.open(write_landmarker(tmp_path / "tiny.task", presence=presence, shift=shift))
    found = face_prior(astronaut, turned(FIVE_IN_INPUT, 10, 0.8), tiny)
    assert found.reliable is reliable
    share = disagreement(found.landmarks[: mesh.MESH_POINTS], found.landmarks[mesh.MESH_POINTS :])
    radius = np.sqrt(((FIVE_IN_INPUT - FIVE_IN_INPUT.mean(0)) ** 2).sum(1).mean())
    assert share == pytest.approx(shift * np.sqrt(2) / radius, abs=1e-4)  # of any turn and scale
    assert (share <= MAX_DISAGREEMENT) is (shift < 10)


def test_files_that_are_no_landmarker_are_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = write_landmarker(tmp_path / "whole.task").read_bytes()

    def archive(name: str, **parts: bytes) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for part, content in parts.items():
                file.writestr(part, content)
        return tmp_path / name

    swapped = {
        MESH_NETWORK: constant_network((1, len(BLENDSHAPE_POINTS), 2), [np.zeros(52, np.float32)]),
        BLENDSHAPE_NETWORK: constant_network((1, 256, 256, 3), [np.zeros(1434, np.float32)]),
    }
    without_presence = {MESH_NETWORK: swapped[BLENDSHAPE_NETWORK], BLENDSHAPE_NETWORK: swapped[MESH_NETWORK]}
    faults = {
        tmp_path / "none.task": "No such file or directory; expected MediaPipe's face_landmarker.task",
        tmp_path: "Is a directory; expected",
        archive("other.task", text=b"a text"): f"There is no item named '{MESH_NETWORK}'",
        archive("text.task", **{MESH_NETWORK: b"a text", BLENDSHAPE_NETWORK: b"a text"}): "not a valid Flatbuffer",
        archive("swapped.task", **swapped): r"a network takes \(1, 146, 2\), expected \(1, 256, 256, 3\)",
        archive("half.task", **without_presence): "a network has no output of 1 values",
    }
    for name, content in {"empty.task": b"", "text": b"a text", "truncated.task": whole[:5000]}.items():
        (tmp_path / name).write_bytes(content)
        faults[tmp_path / name] = "not MediaPipe's face_landmarker.task"
    for path, message in faults.items():
        with pytest.raises(InputError, match=message) as got:
            Landmarker.open(path)
        assert "\n" not in str(got.value) and str(path) in str(got.value)


def test_a_missing_extra_has_the_line_that_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_landmarker(tmp_path / "tiny.task")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(EngineUnavailableError, match=r'pip install "fsr-edge\[priors\]"'):
        Landmarker.open(path)


@pytest.mark.skipif("FSR_LANDMARKER" not in os.environ, reason="FSR_LANDMARKER does not name face_landmarker.task")
def test_mediapipes_mesh_lies_on_real_faces(astronaut: RgbImage, grace_hopper: RgbImage) -> None:
    """Agrees with the detector, smiles where the face does, and mirrored faces have mirrored meshes."""
    real = Landmarker.open(Path(os.environ["FSR_LANDMARKER"]))
    detector = Detector.open(default_detector())
    smiles = []
    for image in (astronaut, grace_hopper):
        face = largest(detector(image))
        assert face is not None
        found = real(image, face.landmarks)
        assert found.present and disagreement(found.points, face.landmarks) < 0.2
        smiles.append(found.action_units[list(ACTION_UNITS).index("AU12")])
        flipped = face.landmarks[[1, 0, 2, 4, 3]] * (-1, 1) + (image.shape[1] - 1, 0)
        other = real(np.ascontiguousarray(image[:, ::-1]), flipped).points * (-1, 1) + (image.shape[1] - 1, 0)
        eye_distance = np.linalg.norm(face.landmarks[1] - face.landmarks[0])
        for point, twin in ((1, 1), (152, 152), (33, 263), (61, 291)):
            assert np.linalg.norm(found.points[point] - other[twin]) < 0.06 * eye_distance
        upright = similarity_transform(face.landmarks, FIVE_IN_INPUT)
        assert PARTS[part_map(transform_points(upright, found.points) / 2, SIZE)[60, 64]] == "nose"
    assert smiles[0] > 0.5 > smiles[1]
