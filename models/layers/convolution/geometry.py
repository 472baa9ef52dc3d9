"""What a convolution is apart from its two arrays, and what of the image each weight sees.

Arrays are x [N, height, width, C], the kernel w [rows, columns, C / groups, F] and dy, the gradient of
the output, [N, height', width', F].
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """What a convolution is apart from its two arrays."""

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int
    precision: Any


def xla(x, w, geometry):
    """Convolves as XLA does."""
    return lax.conv_general_dilated(
        x,
        w,
        geometry.strides,
        geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=NHWC,
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


def output_size(x, w, geometry) -> tuple[int, int]:
    """Returns height and width of the output."""
    return jax.eval_shape(lambda x, w: xla(x, w, geometry), x, w).shape[1:3]


def padded(x, geometry):
    """Pads x with zeros."""
    return jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))


def slices(w, size, geometry, axis):
    """Returns for each row (0) or column (1) of the kernel which rows or columns of padded x it sees."""
    stride, dilation = geometry.strides[axis], geometry.dilation[axis]
    reach = (size[axis] - 1) * stride + 1
    starts = range(0, w.shape[axis] * dilation, dilation)
    return [slice(start, start + reach, stride) for start in starts]


def turned(w):
    """Returns the kernel upside down, [rows, columns, F, C]: that of the input's gradient."""
    return w[::-1, ::-1].swapaxes(2, 3)


def turned_padding(x, w, dy, geometry):
    """Returns the padding of dy so that the taps of the turned kernel lie on the pixels of x."""
    pairs = []
    for axis in (0, 1):
        reach = geometry.dilation[axis] * (w.shape[axis] - 1)
        before = reach - geometry.padding[axis][0]
        spread = (dy.shape[axis + 1] - 1) * geometry.strides[axis] + 1
        pairs.append((before, x.shape[axis + 1] + reach - before - spread))
    return pairs


def spread(dy, x, w, geometry):
    """Puts zeros between the pixels of dy where there are strides, and pads it as `turned_padding` says."""
    pairs = zip(turned_padding(x, w, dy, geometry), geometry.strides, strict=True)
    config = [(0, 0, 0), *((*pair, stride - 1) for pair, stride in pairs), (0, 0, 0)]
    return lax.pad(dy, jnp.zeros((), dy.dtype), config)
