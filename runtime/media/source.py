"""What every source of moving pictures has in common: a video file, a camera, a stream.

```python
with VideoReader(path) as source:
    for frame in source:
        frame.pixels, frame.seconds
```
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from ..errors import InputError
from ..pixels import RgbImage

if TYPE_CHECKING:
    from av.container.output import OutputContainer

    from .soundtrack import Soundtrack
    from .stream_sound import SoundPacket


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One picture and when it is shown."""

    pixels: RgbImage
    """uint8 (H, W, 3) RGB, upright."""
    pts: int
    """When it is shown, exactly, counted in `time_base` from the origin of its source."""
    time_base: Fraction
    """Seconds of one step of `pts`."""
    seconds: float
    """The same, counted from the first frame."""
    captured: float | None = None
    """`time.monotonic()` when it came from a camera or stream; None of a file."""


class Source(ABC):
    """Frames in the order they are shown; a context manager.

    A source that fails half-way ends its frames there and raises when it is left, so that what was made of the
    frames before is kept: a sink opened inside is finished by then.
    """

    size_wh: tuple[int, int]
    """Width and height of every frame."""
    rate: Fraction
    """Frames a second, nominal: the frames' own times count."""
    frames: int | None = None
    """How many are to come, by estimate; None: nobody knows."""
    live: bool = False
    """Whether its frames come when they come: what is too slow for them loses some. Of a file none is ever lost."""
    skip: int = 0
    """Frames at the beginning of a file to leave out."""
    dropped: int = 0
    """Frames that came and were never asked for."""
    reconnects: int = 0
    """How often it was lost and found again."""
    failure: InputError | None = None
    """Why the frames ended early."""
    suffix: str = ".mp4"
    """Of the best video format that can hold its sound untouched."""
    sound: bytes = b""
    """What `heard` brings, as `stream_sound.described` says it; empty where it brings nothing."""

    @abstractmethod
    def __iter__(self) -> Iterator[VideoFrame]:
        """The frames, once."""

    @property
    def remark(self) -> str:
        """What a user should know of it, a sentence without secrets; there once it is known."""
        return ""

    def heard(self) -> Sequence[SoundPacket]:
        """The sound that came since this was asked last, on the clock of the frames' `pts`."""
        return ()

    def open_sound(self, output: OutputContainer, final: Path) -> Soundtrack | None:
        """Its sound, to be copied into `output`, which will be called `final`; None where there is none.

        Raises:
            OutputError: the format of `output` cannot hold the sound of a file.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Free the file or device; more than once does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is None and self.failure is not None:
            raise self.failure


def timed_by_clock(
    first: RgbImage, read: Callable[[], RgbImage | None], clock: Callable[[], float], time_base: Fraction
) -> Iterator[VideoFrame]:
    """The frames of a camera as they come, `first` and then what `read` gives until it gives none.

    clock: seconds that never go back. No two frames have the same time.
    """
    start, pts, pixels = clock(), -1, first
    while pixels is not None:
        now = clock()
        pts = max(round((now - start) / time_base), pts + 1)
        yield VideoFrame(pixels, pts, time_base, now - start, now)
        pixels = read()
