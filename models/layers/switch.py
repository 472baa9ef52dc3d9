"""One switch for the operations of this folder: ours, or those of JAX and Flax, to compare the two."""

import contextlib
import functools
from collections.abc import Iterator

_stock = _portable = False


@contextlib.contextmanager
def use_stock(stock: bool = True, portable: bool = False) -> Iterator[None]:
    """Within it, networks that are traced take JAX's and Flax's operations, or ours.

    Args:
      stock: JAX's and Flax's.
      portable: those of them that converters to other formats know.
    """
    global _stock, _portable
    before = _stock, _portable
    _stock, _portable = stock, portable
    try:
        yield
    finally:
        _stock, _portable = before


def either(ours, theirs):
    """Returns `theirs`, which does the same, while the switch is on."""
    return theirs if _stock else ours


def instead_of(theirs, portable=None):
    """Decorates an operation of ours, which is `theirs` while the switch is on.

    It is `portable`, which does the same, where that is given and asked for.
    """

    def decorate(ours):
        @functools.wraps(ours)
        def chosen(*args, **kwargs):
            other = portable if portable and _portable else theirs
            return either(ours, other)(*args, **kwargs)

        return chosen

    return decorate
