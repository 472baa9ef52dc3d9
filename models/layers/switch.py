"""One switch for the operations of this folder: ours, or those of JAX and Flax, to compare the two."""

import functools

_stock = _portable = False


def use_stock(stock: bool = True, portable: bool = False) -> None:
    """Lets networks that are traced from now on take JAX's and Flax's operations, or ours again.

    Args:
      stock: JAX's and Flax's.
      portable: those of them that converters to other formats know.
    """
    global _stock, _portable
    _stock, _portable = stock, portable


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
