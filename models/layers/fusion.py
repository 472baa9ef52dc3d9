"""Keeps XLA on the CPU from computing an array again in each place that uses it.

XLA fuses an array that is cheap to compute into all its consumers. Where the array is a concatenation,
or each of its elements is used several times, computing it again takes longer than reading it.
"""

import jax
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from models.layers.switch import instead_of


@instead_of(lambda x: x)
def materialize(x):
    """Returns x; on the CPU it lies in memory before it is used, and so does its gradient."""
    return _materialize(x)


@jax.custom_vjp
def _materialize(x):
    return lax.platform_dependent(x, cpu=_stay, default=lambda x: x)


_materialize.defvjp(lambda x: (_materialize(x), None), lambda _, dy: (_materialize(dy),))


def _stay(x):
    # XLA does not look into a function that may not be inlined, so it cannot fuse across it.
    with set_xla_metadata(inlineable="false"):
        return _identity(x)


@jax.jit
def _identity(x):
    return x
