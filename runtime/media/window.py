"""A window on the screen that shows frames."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

import cv2
from typing_extensions import Self

from ..errors import OutputError
from ..pixels import RgbImage, bgr_from_rgb
from .display import has_display, prepare

__all__ = ["Window", "has_display"]

LARGEST_WH = (1280, 720)
"""Of a window when it opens, so that any screen holds it; it can be pulled larger."""

_LOOK = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL  # the last: no buttons, no status bar
_QUIT_KEYS = frozenset({ord("q"), ord("Q"), 27})  # 27: Esc
_LETTERS = frozenset(map(ord, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ?"))


class Window:
    """A context manager; opens with the first frame.

    on_key: told the letter of each key that does not end it, in lower case.

    Raises:
        OutputError: there is no screen, or OpenCV is built without windows.
    """

    def __init__(self, title: str, on_key: Callable[[str], None] = lambda _: None) -> None:
        can_show, why = has_display()
        if not can_show:
            raise OutputError(f"no window can be shown: {why}; or write to a file with --output")
        prepare()
        self.title, self._on_key = title, on_key
        self._is_open = False
        self._ratio = 0.0

    def show(self, frame: RgbImage) -> bool:
        """Show uint8 (H, W, 3) RGB; False once the user has pressed q or Esc or has closed the window."""
        if not self._is_open:
            cv2.namedWindow(self.title, _LOOK)
            self._is_open = True
        if (ratio := frame.shape[1] / frame.shape[0]) != self._ratio:  # of its first picture, Qt keeps what it was
            cv2.resizeWindow(self.title, *window_size(frame.shape[1], frame.shape[0]))
            self._ratio = ratio
        cv2.imshow(self.title, bgr_from_rgb(frame))
        return self.look()

    def look(self) -> bool:
        """What the user did to it, while no frame comes too; returns as `show` does."""
        if not self._is_open:
            return True
        if (key := cv2.waitKey(1) & 0xFF) in _QUIT_KEYS:
            return False
        if key in _LETTERS:
            self._on_key(chr(key).lower())
        try:
            return cv2.getWindowProperty(self.title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # with Qt, asking after the last window was closed is an error
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_open:
            with suppress(cv2.error):  # the user has closed it already
                cv2.destroyAllWindows()
            self._is_open = False


def window_size(width: int, height: int) -> tuple[int, int]:
    """Width and height for frames of that size: theirs, or smaller in the same ratio."""
    share = min(1.0, LARGEST_WH[0] / width, LARGEST_WH[1] / height)
    return max(1, round(share * width)), max(1, round(share * height))
