"""What the 478 points of MediaPipe's face mesh are: rings and groups of point numbers.

The numbers are facts of the published model: the rings are its connection sets (mediapipe,
`face_mesh_connections.py`), walked in order; the nose and the 68-point groups were chosen here on the mean mesh. Right
and left are the person's own, so right has the smaller x in an upright picture.
"""

from __future__ import annotations

MESH_POINTS = 478

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
NOSE = (168, 193, 122, 196, 174, 198, 49, 48, 64, 98, 97, 2, 326, 327, 294, 278, 279, 420, 399, 419, 351, 417)

HEAT_GROUPS = {
    "right eye": (33, 160, 158, 133, 153, 144),
    "left eye": (362, 385, 387, 263, 373, 380),
    "nose": (168, 197, 5, 4, 98, 97, 2, 326, 327),
    "mouth": (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
    "contour": (
        127, 234, 132, 58, 172, 150, 149, 148, 152, 377, 378, 379, 397, 288, 361, 454, 356,
        70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    ),
}  # fmt: skip
"""The five groups that DIC (Ma et al., CVPR 2020) merges the usual 68 landmarks to, contour with brows."""

FIVE_POINTS = ((468,), (473,), (1, 4), (61,), (291,))
"""Points whose mean lies where the detector puts its five: right and left iris, nose tip, mouth corners."""
