"""XLA's own, forward and for the input; the weight gradient is a product with patches.

Those of all images would not fit into the cache, so they are made a few images at a time.
"""

from jax import lax

from models.layers.convolution import patches
from models.layers.convolution.geometry import NHWC, turned, turned_padding, xla


def forward(x, w, geometry):
    return xla(x, w, geometry)


def input_gradient(x, w, dy, geometry):
    # what `jax.vjp` makes of stock has other dimension numbers, slow in a loop
    return lax.conv_general_dilated(
        dy,
        turned(w),
        (1, 1),
        turned_padding(x, w, dy, geometry),
        lhs_dilation=geometry.strides,
        rhs_dilation=geometry.dilation,
        dimension_numbers=NHWC,
    )


def weight_gradient(x, w, dy, geometry):
    return patches.weight_gradient(x, w, dy, geometry)
