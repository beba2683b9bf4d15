"""A folder of videos, one after the other; one that cannot be done is named, and the others are done."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from ..errors import InputError, OutputError, UsageError
from .folder import Found
from .summary import Summary

NOTHING_MORE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO})
"""Why no other video can be written either."""


def restore_videos(
    found: Found,
    root: Path,
    output: Path,
    restore: Callable[[Path, str], Summary],
    say: Callable[[str], None],
) -> Summary:
    """Call `restore` with each video and its name, and sum up; `say` is told what became of each.

    root: folder that they are named from. output: as given, to be told to the user.

    Raises:
        OutputError: nothing more can be written, such as on a full disk.
    """
    total, started = Summary("video", output, None, len(found.videos)), perf_counter()
    total.left_out, total.no_files = found.left_out, found.no_files
    for path, name in zip(found.videos, _names(found.videos, root), strict=True):
        try:
            summary = restore(path, name)
        except (InputError, OutputError, UsageError) as error:
            if isinstance(error, OutputError) and getattr(error.__cause__, "errno", None) in NOTHING_MORE:
                raise
            total.fail(name, str(error))
            continue
        say(f"{name}: {summary.sentence()}")
        total.faces.update(summary.faces)
        if summary.stopped:
            total.stopped = True
            break
        if summary.cut or summary.failed:
            total.fail(name, summary.cut or f"{summary.failures} of its frames failed: see {summary.records}")
        elif summary.done:
            total.done += 1
        else:
            total.skipped += 1
    total.seconds = perf_counter() - started
    return total


def _names(videos: Sequence[Path], root: Path) -> list[str]:
    """Below `root`, without the suffix where that is still the name of one alone."""
    plain = [path.relative_to(root).with_suffix("").as_posix() for path in videos]
    counts = Counter(plain)
    return [
        name if counts[name] == 1 else path.relative_to(root).as_posix()
        for name, path in zip(plain, videos, strict=True)
    ]
