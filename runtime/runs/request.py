"""What a command line asks for, checked before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from ..machine import cores
from ..media.video import VIDEO_SUFFIXES, is_video
from ..options import RestoreOptions

OUTPUT = Path("fsr-out")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `fsr-run` as given; a combination that makes no sense is a `UsageError`."""

    input: str | None = None
    camera: int | None = None
    output: Path | None = None
    """None: a window for a camera where there is a display, else `fsr-out`."""
    bundle: Path | None = None
    engine: str = "auto"
    precision: str = "auto"
    tier: str | None = None
    scale: int = 2
    min_face: float = 16.0
    max_faces: int | None = None
    only_center: bool = False
    strength: float = 1.0
    compare: bool = False
    resume: bool = False
    workers: int | None = None
    json: bool = False
    quiet: bool = False
    bench: bool = False
    naive: bool = False
    doctor: bool = False

    def __post_init__(self) -> None:
        for sentence, is_broken in RULES:
            if is_broken(self):
                raise UsageError(sentence)
        _ = self.options  # checks its own

    @property
    def options(self) -> RestoreOptions:
        return RestoreOptions(self.scale, self.min_face, self.max_faces, self.only_center, self.strength)

    @property
    def kind(self) -> Literal["camera", "video", "pictures", "none"]:
        """What the input is, by its name."""
        if self.camera_index is not None:
            return "camera"
        if self.input is None:
            return "none"
        return "video" if is_video(Path(self.input)) else "pictures"

    @property
    def camera_index(self) -> int | None:
        """`--camera 0` and `--input 0` are the same."""
        return int(self.input) if self.input is not None and self.input.isdecimal() else self.camera

    @property
    def output_path(self) -> Path:
        return self.output or OUTPUT

    @property
    def worker_count(self) -> int:
        """As asked, or one for each core that this program may use."""
        return self.workers or cores()


RULES: tuple[tuple[str, Callable[[Request], bool]], ...] = (
    ("--doctor and --bench are runs of their own; give one of them", lambda r: r.doctor and r.bench),
    ("--naive: times the naive chain beside ours and needs --bench", lambda r: r.naive and not r.bench),
    (
        "--bench: measures pictures; give a folder of your own, or leave --input out",
        lambda r: r.bench and r.kind in ("video", "camera"),
    ),
    ("--input and --camera: give one of them", lambda r: r.input is not None and r.camera is not None),
    (
        "got no input; give --input with a folder, a picture or a video, or --camera with a number, or see --help",
        lambda r: r.kind == "none" and not (r.doctor or r.bench),
    ),
    ("--camera: got a negative number, expected 0 for the first camera", lambda r: (r.camera or 0) < 0),
    ("--workers: expected 1 or more; leave it out for one a core", lambda r: r.workers is not None and r.workers < 1),
    (
        "--resume: goes on with a folder of pictures; a video or camera starts anew, so leave it out",
        lambda r: r.resume and r.kind != "pictures",
    ),
    (
        "--output: got the name of a video, expected a folder for the pictures",
        lambda r: r.kind == "pictures" and r.output_path.suffix.lower() in VIDEO_SUFFIXES,
    ),
)
"""What is said, and when; the first that holds."""
