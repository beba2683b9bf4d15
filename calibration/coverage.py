"""How well a choice of faces covers what faces can be: a histogram a property, with fixed bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measure import FaceMeasures


@dataclass(frozen=True)
class Property:
    """One measure of a face and how it is counted."""

    name: str
    """A field of `FaceMeasures`."""
    title: str
    edges: tuple[float, ...]
    """Between the bins; the first and the last bin are open."""
    logarithmic: bool = False
    """Whether ratios count, not differences."""


PROPERTIES = (
    Property("native_size", "native crop, px", (12, 17, 24, 35, 50, 76, 128, 256), logarithmic=True),
    Property("yaw", "yaw, eye distances", (-0.4, -0.25, -0.12, -0.04, 0.04, 0.12, 0.25, 0.4)),
    Property("pitch", "pitch, nose between eyes (0) and mouth (1)", (0.35, 0.45, 0.52, 0.58, 0.64, 0.71, 0.8)),
    Property("roll", "roll, degrees", (-30, -15, -7, -2, 2, 7, 15, 30)),
    Property("luminance", "mean luminance, 0 to 255", (40, 70, 100, 130, 160, 190)),
    Property("contrast", "contrast, grey levels", (12, 20, 30, 40, 50, 60)),
    Property("sharpness", "sharpness, variance of the Laplacian", (30, 100, 300, 1000, 2000, 4000), logarithmic=True),
    # The classes of skin colour of Del Bino and Bernerd (2013): dark, brown, tan, intermediate, light, very light.
    Property("skin", "skin, typology angle in degrees", (-30, 10, 28, 41, 55)),
)


@dataclass(frozen=True)
class Histogram:
    """One property over the faces of a set and over all those it was chosen from."""

    name: str
    title: str
    edges: list[float]
    chosen: list[int]
    """One more than `edges`: bin i lies below edge i, the last one above all."""
    found: list[int]
    unknown: int
    """Chosen faces of which it cannot be told: the skin tone of a picture without colour."""


def values_of(faces: Sequence[FaceMeasures], name: str) -> NDArray[np.float64]:
    """(N,) of one property."""
    return np.array([getattr(face, name) for face in faces], np.float64)


def coverage(chosen: Sequence[FaceMeasures], found: Sequence[FaceMeasures]) -> list[Histogram]:
    """The table of `PROPERTIES`."""
    return [
        Histogram(
            kind.name,
            kind.title,
            [float(edge) for edge in kind.edges],
            _counts(values_of(chosen, kind.name), kind),
            _counts(values_of(found, kind.name), kind),
            int(np.isnan(values_of(chosen, kind.name)).sum()),
        )
        for kind in PROPERTIES
    ]


def _counts(values: NDArray[np.float64], kind: Property) -> list[int]:
    bins = np.searchsorted(kind.edges, values[~np.isnan(values)], side="right")
    return np.bincount(bins, minlength=len(kind.edges) + 1).tolist()
