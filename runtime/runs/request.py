"""What a command line asks for, checked before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import UsageError
from ..machine import cores
from ..media.picture import SUFFIXES
from ..media.suffixes import VIDEO_SUFFIXES, is_video
from ..media.uri import SourceUri, parse_uri
from ..options import RestoreOptions
from ..preview.address import Address

OUTPUT = Path("fsr-out")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of `fsr-run` as given; a combination that makes no sense is a `UsageError`."""

    input: str | None = None
    camera: int | None = None
    output: Path | None = None
    """None: a window for a live source where there is a display, else `fsr-out`."""
    window: bool = False
    preview: str | None = None
    """Where the page is served; takes the place of a window unless that is asked for too."""
    headless: bool = False
    crops: bool = False
    record: Path | None = None
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
    moving: bool = False
    doctor: bool = False

    def __post_init__(self) -> None:
        _ = (self.camera or 0) < 0 or self.source  # checks its own
        for sentence, is_broken in RULES:
            if is_broken(self):
                raise UsageError(sentence)
        _ = self.options, self.preview_address  # check their own

    @property
    def preview_address(self) -> Address | None:
        return None if self.preview is None else Address.parse(self.preview)

    @property
    def options(self) -> RestoreOptions:
        return RestoreOptions(self.scale, self.min_face, self.max_faces, self.only_center, self.strength)

    @property
    def source(self) -> SourceUri | None:
        """`--camera 0` and `--input 0` are the same; None where neither is given."""
        if self.input is not None:
            return parse_uri(self.input)
        return None if self.camera is None else parse_uri(f"/dev/video{self.camera}")

    @property
    def kind(self) -> Literal["live", "video", "pictures", "none"]:
        """What the input is, by its name."""
        if (source := self.source) is None:
            return "none"
        return "live" if source.is_moving else "video" if source.kind == "video" else "pictures"

    @property
    def output_path(self) -> Path:
        return self.output or OUTPUT

    @property
    def worker_count(self) -> int:
        """As asked, or one for each core that this program may use."""
        return self.workers or cores()


def _holds_films(request: Request) -> bool:
    """Whether the input is a folder of videos alone, which only what lies in it tells."""
    from .folder import survey

    source = request.source
    return source is not None and source.path.is_dir() and not survey(source.path, request.output_path).pictures


def _is_mistyped(output: Path) -> bool:
    """Whether what is to be a video would become a folder, as `out.mp5` would."""
    return bool(output.suffix) and not is_video(output) and not output.is_dir()


RULES: tuple[tuple[str, Callable[[Request], bool]], ...] = (
    ("--doctor and --bench are runs of their own; give one of them", lambda r: r.doctor and r.bench),
    ("--moving: measures moving scenes and needs --bench", lambda r: r.moving and not r.bench),
    (
        "--moving: measures scenes of its own making; leave --input out",
        lambda r: r.moving and r.input is not None,
    ),
    (
        "--moving: measures at a scale and for faces of its own; leave --scale and --min-face out",
        lambda r: r.moving and (r.scale, r.min_face) != (RestoreOptions.scale, RestoreOptions.min_face),
    ),
    ("--naive: times the naive chain beside ours and needs --bench", lambda r: r.naive and not r.bench),
    (
        "--bench: measures pictures; give a folder of your own, or leave --input out",
        lambda r: r.bench and r.kind in ("video", "live"),
    ),
    ("--camera: got a negative number, expected 0 for the first camera", lambda r: (r.camera or 0) < 0),
    ("--input and --camera: give one of them", lambda r: r.input is not None and r.camera is not None),
    (
        "--input: got the number of a camera, by which there is a file or folder here too; write ./ before its name, "
        "such as ./2024, or for the camera --camera with the number",
        lambda r: r.input is not None and r.input.isdecimal() and Path(r.input).exists(),
    ),
    (
        "got no input; give --input with a folder, picture, video or stream, or --camera with a number, or see --help",
        lambda r: r.kind == "none" and not (r.doctor or r.bench),
    ),
    ("--workers: expected 1 or more; leave it out for one a core", lambda r: r.workers is not None and r.workers < 1),
    ("--window and --headless: give one of them", lambda r: r.window and r.headless),
    (
        "--window, --preview: show one video, camera or stream; leave them out for pictures and folders, or give one "
        "video of the folder",
        lambda r: (r.window or r.preview is not None) and r.kind == "pictures",
    ),
    (
        "--crops: is for moving pictures; a picture's faces are always written",
        lambda r: r.crops and r.kind == "pictures" and not _holds_films(r),
    ),
    (
        "--compare: the page shows before beside after, and nothing is written that --compare could lie beside; give "
        "--output or --window, or leave --compare out",
        lambda r: r.compare and r.kind == "live" and r.preview is not None and r.output is None and not r.window,
    ),
    (
        "--record: keeps what a camera or stream brings; a file is kept already, so leave it out",
        lambda r: r.record is not None and r.kind != "live",
    ),
    (
        "--record: expected the name of a video, such as camera.mkv, and another than that of --output",
        lambda r: r.record is not None and (not is_video(r.record) or r.record == r.output),
    ),
    (
        "--resume: goes on with pictures and videos; a camera or stream starts anew, so leave it out",
        lambda r: r.resume and r.kind == "live",
    ),
    (
        f"--output: its suffix is of no video, expected one of {', '.join(sorted(VIDEO_SUFFIXES))}, or a folder; "
        "one of such a name has to be there already",
        lambda r: r.kind in ("video", "live") and _is_mistyped(r.output_path),
    ),
    (
        "--output: got the name of a video, expected a folder for the pictures",
        lambda r: r.kind == "pictures" and r.output_path.suffix.lower() in VIDEO_SUFFIXES,
    ),
    (
        "--output: got the name of a picture, expected a folder, where each result is called as its picture is; one of "
        "such a name has to be there already",
        lambda r: r.kind == "pictures" and r.output_path.suffix.lower() in SUFFIXES and not r.output_path.is_dir(),
    ),
)
"""What is said, and when; the first that holds."""
