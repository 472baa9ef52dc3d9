"""A 1x1 kernel without padding: a matrix product."""

import jax

from models.layers.convolution import sums


def forward(x, w, geometry):
    return _seen(x, geometry) @ w[0, 0]


def input_gradient(x, w, dy, geometry):
    return jax.linear_transpose(lambda x: forward(x, w, geometry), x)(dy)[0]


def weight_gradient(x, w, dy, geometry):
    return sums.of_outer_products(_seen(x, geometry), dy)[None, None]


def _seen(x, geometry):
    sy, sx = geometry.strides
    return x[:, ::sy, ::sx]
