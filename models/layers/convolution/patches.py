"""A matrix product with the patches of the input."""

import jax
import jax.numpy as jnp

from models.layers.convolution import sums
from models.layers.convolution.geometry import output_size, padded, slices, spread


def forward(x, w, geometry):
    patches = _patches(padded(x, geometry), w, output_size(x, w, geometry), geometry)
    return patches @ w.reshape(-1, w.shape[-1])


def input_gradient(x, w, dy, geometry):
    return jax.linear_transpose(lambda x: forward(x, w, geometry), x)(dy)[0]


def weight_gradient(x, w, dy, geometry):
    """Sums products with the patches of x, or of dy where that has fewer channels."""
    rows, columns, inputs, features = w.shape
    of_dy = geometry.strides == (1, 1) and features <= inputs
    pixels = dy.shape[1] * dy.shape[2]
    patch = rows * columns * (features if of_dy else inputs)

    def product(x, dy):
        if of_dy:
            dy = _patches(spread(dy, x, w, geometry), w, x.shape[1:3], geometry)
        else:
            x = _patches(padded(x, geometry), w, dy.shape[1:3], geometry)
        return sums.of_outer_products(x, dy)

    dw = sums.over_images(product, x, dy, max(512 / pixels, 2**18 / (pixels * patch)))
    if of_dy:
        return dw.reshape(inputs, rows, columns, features)[:, ::-1, ::-1].transpose(1, 2, 0, 3)
    return dw.reshape(w.shape)


def _patches(x, w, size, geometry):
    """Returns what each output pixel sees of x, padded already, [N, *size, rows * columns * C].

    First along the rows, then along the columns: fewer and longer pieces than one for each weight.
    """
    rows, columns = (slices(w, size, geometry, axis) for axis in (0, 1))
    x = jnp.concatenate([x[:, :, column] for column in columns], -1)
    return jnp.concatenate([x[:, row] for row in rows], -1)
