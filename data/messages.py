"""What the project tells on a terminal: one line, whatever a file's name or a damaged file brings."""

import functools
import sys


def plain(text: object, length: int = 1000) -> str:
    """Returns `text` as one line without control characters, its middle cut out beyond `length`.

    Names of files and keys of checkpoints come from elsewhere: a newline in one could look like another
    message, and an escape sequence could rewrite what the terminal shows.
    """
    line = " ".join(str(text).split())
    if len(line) > length:
        half = length // 2
        line = f"{line[:half]} [{len(line) - length:,} characters] {line[-half:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def tell(text: object) -> None:
    """Prints `text` on stderr as `plain` makes it."""
    print(plain(text), file=sys.stderr, flush=True)


@functools.cache
def tell_once(text: str) -> None:
    """Tells what is found again and again, once in a process."""
    tell(text)


def one_of(field: str, value: str, choices) -> None:
    """Raises ValueError that lists the choices where the value of a field is none of them."""
    if value not in choices:
        listed = ", ".join(choice or repr(choice) for choice in choices)
        raise ValueError(f"{field} {value!r}: choose one of {listed}")


def some(names: list[str], most: int = 10) -> str:
    """Returns the first names of a list, for a message."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
