"""One switch for the operations of this folder: ours, or those of JAX and Flax, to compare the two."""

import functools

_stock = False


def use_stock(stock: bool = True) -> None:
    """Lets networks that are traced from now on take JAX's and Flax's operations, or ours again."""
    global _stock
    _stock = stock


def either(ours, theirs):
    """Returns `theirs`, which does the same, while the switch is on."""
    return theirs if _stock else ours


def instead_of(theirs):
    """Decorates an operation of ours, which is `theirs` while the switch is on."""

    def decorate(ours):
        @functools.wraps(ours)
        def chosen(*args, **kwargs):
            return either(ours, theirs)(*args, **kwargs)

        return chosen

    return decorate
