"""Groups of channels: a loop over blocks of at least 16 channels, each a convolution with one group.

Smaller groups are merged, as a block diagonal kernel. `one` is what computes a block; it takes the same
arrays as the whole.
"""

import jax.numpy as jnp
from jax import lax


def forward(one, x, w, geometry):
    return _join(_loop(one, split(x, w, geometry), merge(w, geometry)))


def input_gradient(one, x, w, dy, geometry):
    blocks = split(x, w, geometry), merge(w, geometry), split(dy, w, geometry)
    return _join(_loop(one, *blocks))


def weight_gradient(one, x, w, dy, geometry):
    blocks = split(x, w, geometry), merge(w, geometry), split(dy, w, geometry)
    return _unmerge(_loop(one, *blocks), w, geometry)


def split(x, w, geometry):
    """[N, height, width, C] to [blocks, N, height, width, C / blocks]."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], _blocks(w, geometry), -1), -2, 0)


def merge(w, geometry):
    """Returns [blocks, rows, columns, C / blocks, F / blocks]: several groups as one block diagonal."""
    blocks = _blocks(w, geometry)
    merged = geometry.groups // blocks
    rows, columns, inputs, features = w.shape
    w = w.reshape(rows, columns, inputs, blocks, merged, features // geometry.groups)
    w = jnp.einsum("hwibmo,mn->bhwmino", w, jnp.eye(merged, dtype=w.dtype))
    return w.reshape(blocks, rows, columns, merged * inputs, features // blocks)


def _blocks(w, geometry):
    """Returns in how many blocks of at least 16 channels, if possible, the groups are computed."""
    fits = [b for b in range(1, geometry.groups + 1) if geometry.groups % b == 0]
    channels = geometry.groups * w.shape[2]
    return max(b for b in fits if b == 1 or channels // b >= 16)


def _loop(one, *blocks):
    return lax.map(lambda block: one(*block), blocks)


def _join(x):
    """The inverse of `split`."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)


def _unmerge(dw, w, geometry):
    """Takes w's gradient from the diagonals of the blocks' gradients."""
    blocks = _blocks(w, geometry)
    merged = geometry.groups // blocks
    rows, columns, inputs, features = w.shape
    dw = dw.reshape(blocks, rows, columns, merged, inputs, merged, features // geometry.groups)
    return jnp.einsum("bhwmimo->hwibmo", dw).reshape(w.shape)
