"""What faces are looked for in: every picture of the inputs, and one frame of each second of their videos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..runtime.errors import FsrError, InputError
from ..runtime.media.images import read_image
from ..runtime.media.video import VideoReader, is_video
from ..runtime.pixels import RgbImage
from ..runtime.runs.folder import find_pictures


@dataclass(frozen=True)
class SourceFile:
    """A picture or video."""

    path: Path
    name: str
    """Below its input, with forward slashes; of an input that is a file, the file's name."""
    sha256: str


@dataclass(frozen=True, eq=False)
class Moment:
    """A picture, or one frame of a video."""

    source: SourceFile
    second: int | None = None
    """Of the video, whole seconds from its start."""
    pixels: RgbImage | None = None
    """Of a video; a picture is read by whoever looks at it."""

    @property
    def key(self) -> tuple[str, int]:
        """The same for the same content, wherever it lies."""
        return self.source.sha256, -1 if self.second is None else self.second

    @property
    def name(self) -> str:
        return self.source.name if self.second is None else f"{self.source.name} at {self.second} s"

    def read(self) -> RgbImage:
        """uint8 (H, W, 3) RGB; `InputError` says what is wrong with the file."""
        return read_image(self.source.path) if self.pixels is None else self.pixels


def find_files(inputs: Sequence[Path], output: Path) -> list[tuple[Path, str]]:
    """Every picture and video of the inputs, in order, with its name below its input.

    Raises:
        InputError, UsageError: an input is missing or holds no picture; see `find_pictures`.
    """
    found = []
    for source in inputs:
        files = [source] if source.is_file() and is_video(source) else find_pictures(source, output)
        root = source.parent if source.is_file() else source
        found += [(path, path.relative_to(root).as_posix()) for path in files]
    return found


def thinned(files: Sequence[tuple[Path, str]], most: int, seed: int) -> list[tuple[Path, str]]:
    """At most `most` of the files, drawn by `seed`, in their order."""
    if len(files) <= most:
        return list(files)
    drawn = np.random.default_rng(seed).choice(len(files), most, replace=False)
    return [files[index] for index in sorted(drawn.tolist())]


def hashed(files: Sequence[tuple[Path, str]], fail: Callable[[Path, Exception], None]) -> Iterator[SourceFile]:
    """The files with their hashes, each content once; `fail` is told of those that cannot be read."""
    seen: set[str] = set()
    for path, name in files:
        try:
            sha256 = sha256_of(path)
        except OSError as error:
            fail(path, error)
            continue
        if sha256 not in seen:
            seen.add(sha256)
            yield SourceFile(path, name, sha256)


def moments(sources: Iterator[SourceFile], fail: Callable[[Path, Exception], None]) -> Iterator[Moment]:
    """A picture once, unread; of a video the first frame of each second. What can be had of a damaged video is used."""
    for source in sources:
        if not is_video(source.path):
            yield Moment(source)
            continue
        try:
            yield from video_moments(source)
        except FsrError as error:
            fail(source.path, error)


def video_moments(source: SourceFile) -> Generator[Moment, None, None]:
    """The first frame of each second; `InputError` after the last if the video is damaged."""
    with closing(VideoReader(source.path)) as reader:
        last = -1
        for frame in reader:
            if (second := int(frame.seconds)) > last:
                last = second
                yield Moment(source, second, frame.pixels)
        if reader.failure is not None:
            raise InputError(str(reader.failure))


DIGITS = 16
"""Of a SHA-256, that tell one picture from any other: by chance two of 10^5 have the same ones once in 10^9 times."""


def sha256_of(path: Path) -> str:
    """Of a file, read piece by piece: a video may be larger than the memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
