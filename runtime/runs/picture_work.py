"""One picture, from its file to its results: read -> restore -> write, and the record of it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, OutputError
from ..files import fitted
from ..media.images import Picture, read_picture, write_picture
from ..pipeline import enlarge
from ..pixels import RgbImage
from ..timing import Stopwatch
from .compare import side_by_side
from .failure import reason
from .records import Record, face_record, rounded_milliseconds

if TYPE_CHECKING:
    from ..pipeline import RestoredFace, RestoredFrame

Restore: TypeAlias = "Callable[[RgbImage], RestoredFrame]"
"""A `Restorer`, or a stand-in: called from several threads at once."""

MAX_ENLARGED = 2**28
"""Of an enlarged picture: 16,384 x 16,384, which takes .8 GB and as much again while it is written."""

PICTURES_OWN = frozenset({None, errno.ENAMETOOLONG, errno.EINVAL, errno.EFBIG})
"""Why one file may not be written where others may: its name, its size, what its format can hold."""


@dataclass(frozen=True)
class PictureWork:
    """What is done with each picture of a run; `work(path)` does it and returns the record."""

    restore: Restore
    root: Path
    """Folder that the pictures are named from."""
    output: Path
    """Folder that the results are named from."""
    scale: int = 2
    compare: bool = False
    """Write bicubic and restored side by side too."""

    def name(self, path: Path) -> str:
        """A picture's path below `root`, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def is_done(self, record: Record) -> bool:
        """Whether a record still holds: its source is unchanged, or gone, and what was made of it is there."""
        if "error" in record or not (self.output / record["output"]).is_file():
            return False
        if self.compare and not (record["compare"] and (self.output / record["compare"]).is_file()):
            return False
        source = self.root / record["picture"]
        return not source.exists() or _identity(source) == {key: record[key] for key in ("bytes", "mtime_ns")}

    def __call__(self, path: Path) -> Record:
        """Restore one picture; what fails for it alone is in the record under `error`.

        Raises:
            OutputError: nothing more can be written for any picture: the disk is full, or the output is gone.
        """
        try:
            return self._chain(path)
        except Exception as error:  # even a bug or a lack of memory costs one picture, not thousands
            if isinstance(error, OutputError) and getattr(error.__cause__, "errno", None) not in PICTURES_OWN:
                raise
            return {"picture": self.name(path), "error": reason(str(path), error)}

    def _chain(self, path: Path) -> Record:
        watch = Stopwatch()
        identity = _identity(path)
        with watch("read"):
            picture = read_picture(path)
        height, width = picture.pixels.shape[:2]
        require_memory(path, (width, height), self.scale)
        frame = self.restore(picture.pixels)
        with watch("write"):
            files = self._write(self.name(path), picture, frame)
        milliseconds = rounded_milliseconds({**frame.milliseconds, **watch.milliseconds})
        return {
            "picture": self.name(path),
            "size_wh": [width, height],
            "frames": picture.frames,
            **files,
            "milliseconds": milliseconds,
            **identity,
        }

    def _write(self, name: str, picture: Picture, frame: RestoredFrame) -> Record:
        """Write every file of a picture and return their names.

        The comparison comes last: twice as wide, it may be more than its format holds where the rest is not.
        """
        faces = [face_record(face, self._write_crop(name, n, picture, face)) for n, face in enumerate(frame.faces)]
        alpha = None if picture.alpha is None else _enlarged(picture.alpha, frame.image.shape)
        write_picture(self.output / "restored" / name, replace(picture, pixels=frame.image, alpha=alpha))
        compare = self._write_compare(name, picture, frame) if self.compare else None
        return {"output": f"restored/{name}", "compare": compare, "faces": faces}

    def _write_crop(self, name: str, number: int, picture: Picture, face: RestoredFace) -> str | None:
        if face.restored is None:
            return None
        crop = f"faces/{beside(name, f'.{number}.png')}"
        write_picture(self.output / crop, replace(picture, pixels=face.restored, alpha=None, exif=None))
        return crop

    def _write_compare(self, name: str, picture: Picture, frame: RestoredFrame) -> str:
        compare = f"compare/{beside(name, '.jpg' if name.lower().endswith(('.jpg', '.jpeg')) else '.png')}"
        both = side_by_side(enlarge(picture.pixels, self.scale), frame.image)
        try:
            write_picture(self.output / compare, replace(picture, pixels=both, alpha=None, exif=None))
        except OutputError as error:
            raise OutputError(f"{error}; restored/{name} is there") from error.__cause__
        return compare


def beside(name: str, tail: str) -> str:
    """Name of a file that belongs to the picture `name`, in the same sub-folder; a hash where it would be too long."""
    *folders, last = name.split("/")
    return "/".join([*folders, fitted(last, tail)])


def files_of(record: Record) -> set[str]:
    """Every file, below the output folder, that was written for a picture."""
    made = [record.get("output"), record.get("compare"), *(face["crop"] for face in record.get("faces", []))]
    return {name for name in made if name}


def require_memory(path: Path, size_wh: tuple[int, int], scale: int) -> None:
    """Refuse, by `InputError`, what `MAX_ENLARGED` forbids: the system kills a program that takes too much."""
    width, height = size_wh
    if width * height * scale**2 > MAX_ENLARGED:
        raise InputError(
            f"{path}: got {width} x {height}, which enlarged {scale} times is more than {MAX_ENLARGED / 1e6:.0f} "
            "million pixels; choose a smaller --scale"
        )


def _identity(path: Path) -> Record:
    """Size and time of the last change: where one differs it is another picture."""
    found = path.stat()
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns}


def _enlarged(alpha: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """(H, W) -> (h, w) for the `shape` (h, w, ...)."""
    from PIL import Image

    return np.asarray(Image.fromarray(alpha).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
