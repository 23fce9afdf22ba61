"""A screen that is drawn again and again without flicker, and a terminal that is left as it was found."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Sequence
from types import TracebackType

from cli.render import Spans, colour, joined

# xterm's alternate screen, so that the scroll-back is not filled with old frames, and DECTCEM, the cursor.
_ENTER = "\x1b[?1049h\x1b[?25l"
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class Screen:
    """A context manager. SIGTERM and SIGHUP end it as Ctrl-C does: by KeyboardInterrupt, with the terminal restored."""

    def __enter__(self) -> Screen:
        def interrupt(_number: int, _frame: object) -> None:
            raise KeyboardInterrupt

        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, interrupt)
        sys.stdout.write(_ENTER)
        sys.stdout.flush()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()

    def draw(self, lines: Sequence[Spans]) -> None:
        """In one write: the terminal never shows half a frame. What does not fit is cut, and lines that are missing are counted."""
        size = shutil.get_terminal_size()
        shown = list(lines)
        if len(shown) > size.lines:
            hidden = len(shown) - size.lines + 1
            shown = [*shown[: size.lines - 1], [(f"... {hidden} more lines", "dim")]]
        coloured = colour(sys.stdout)
        text = "\r\n".join(joined(spans, coloured, size.columns) + _REST_OF_LINE for spans in shown)
        sys.stdout.write(_HOME + text + _REST_OF_SCREEN)
        sys.stdout.flush()
