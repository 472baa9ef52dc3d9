"""A kernel for each channel: sums of shifted products; the weight gradient image by image."""

import jax.numpy as jnp

from models.layers.convolution import sums
from models.layers.convolution.geometry import output_size, padded, slices, spread


def forward(x, w, geometry):
    size = output_size(x, w, geometry)
    return _sum_of_products(padded(_repeated(x, w, geometry), geometry), w, size, geometry)


def input_gradient(x, w, dy, geometry):
    unit = geometry._replace(strides=(1, 1))
    dx = _sum_of_products(spread(dy, x, w, geometry), w[::-1, ::-1], x.shape[1:3], unit)
    multiplier = w.shape[-1] // geometry.groups
    return dx.reshape(*x.shape, multiplier).sum(-1) if multiplier > 1 else dx


def weight_gradient(x, w, dy, geometry):
    def product(x, dy):
        taps = _taps(padded(x, geometry), w, dy.shape[1:3], geometry)
        return jnp.stack([jnp.sum(tap * dy, (0, 1, 2)) for tap in taps])

    x = _repeated(x, w, geometry)
    return sums.over_images(product, x, dy, 2**14 / dy[0].size).reshape(w.shape)


def _repeated(x, w, geometry):
    """Repeats each channel as often as there are kernels for it."""
    return jnp.repeat(x, w.shape[-1] // geometry.groups, axis=-1)


def _sum_of_products(x, w, size, geometry):
    """Sums the products of w [rows, columns, 1, C] and the shifted x, padded already."""
    weights = w.reshape(-1, w.shape[-1])
    return sum(tap * v for tap, v in zip(_taps(x, w, size, geometry), weights, strict=True))


def _taps(x, w, size, geometry):
    """Returns for each weight what it sees of x, padded already, [N, *size, C]."""
    rows, columns = (slices(w, size, geometry, axis) for axis in (0, 1))
    return [x[:, row, column] for row in rows for column in columns]
