"""The only ways to the terminal: streams and a console that print no control characters and no secrets."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from dollhouse.system.secrets import hide_secrets, redact
from dollhouse.system.text import printable

READER_GONE = 141  #: exit code where no program reads the output any more: as of one that ends with SIGPIPE


class _GuardedStream:
    """A text stream that removes control characters and secrets from what is written."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  #: Rich's name: where its consoles write, whose escape codes must pass

    def write(self, text: str) -> int:
        try:
            self.rich_proxied_file.write(redact(printable(text)))
        except BrokenPipeError:
            raise SystemExit(READER_GONE) from None
        return len(text)

    def flush(self) -> None:
        try:
            self.rich_proxied_file.flush()
        except BrokenPipeError:
            raise SystemExit(READER_GONE) from None

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


class _GuardedConsole(Console):
    """A console that removes control characters and secrets from the text of what it renders."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=redact(printable(segment.text)))

    def on_broken_pipe(self) -> None:
        raise SystemExit(READER_GONE)


def console(stderr: bool = False) -> Console:
    """Return a console that wraps nothing and takes no text as markup, emoji or escape codes."""
    file = sys.stderr if stderr else sys.stdout
    while hasattr(file, "rich_proxied_file"):
        file = file.rich_proxied_file
    return _GuardedConsole(file=file, soft_wrap=True, highlight=False, emoji=False, markup=False)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Remove control characters and secrets from all that is printed, logged or warned of in this process."""
    hide_secrets()
    out, error = (cast(TextIO, _GuardedStream(stream)) for stream in (sys.stdout, sys.stderr))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        yield
