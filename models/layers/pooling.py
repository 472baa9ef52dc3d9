"""Pooling and its gradients, fast on the CPU too, in place of `nn.max_pool` and `nn.avg_pool`.

XLA computes the gradient of pooling on the CPU with select-and-scatter and dilated windows, five to
fifty times slower than sums of shifted arrays, which these functions use there, and only there.
"""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from models.layers.fusion import materialize
from models.layers.switch import instead_of


class Window(NamedTuple):
    """What a window sees; each field has a value for the rows and one for the columns."""

    shape: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]


def _padded_before(pool, pad):
    """Returns Flax's `pool` with padding in numbers done before it, by `pad(x, padding)`.

    TensorFlow's converter pads with -inf, which as an 8-bit integer drowns all else, and knows no average
    with padding; jax2onnx pads by "SAME" and "VALID" alone.
    """

    def padded(x, window_shape, strides=(1, 1), padding="VALID", count_include_pad=True):
        more = {} if count_include_pad else {"count_include_pad": False}
        if not isinstance(padding, str) and count_include_pad:
            x, padding = pad(x, padding), "VALID"
        return pool(x, window_shape, strides=strides, padding=padding, **more)

    return padded


def _repeat_edges(x, padding):
    """Pads images by their edges, which changes no maximum: a window that sees a copy sees the edge, too."""
    (top, bottom), (left, right) = padding
    x = jnp.concatenate([x[:, :1]] * top + [x] + [x[:, -1:]] * bottom, 1)
    return jnp.concatenate([x[:, :, :1]] * left + [x] + [x[:, :, -1:]] * right, 2)


def _add_zeros(x, padding):
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


@instead_of(nn.max_pool, portable=_padded_before(nn.max_pool, _repeat_edges))
def max_pool(x, window_shape, strides=(1, 1), padding="VALID"):
    """Returns the largest values of images [N, height, width, C], as `nn.max_pool` does.

    The gradient goes to the first of equal values, row by row.
    """
    return _max_pool(x, _window(x, window_shape, strides, padding))


@instead_of(nn.avg_pool, portable=_padded_before(nn.avg_pool, _add_zeros))
def avg_pool(x, window_shape, strides=(1, 1), padding="VALID", count_include_pad=True):
    """Returns the averages of images [N, height, width, C], as `nn.avg_pool` does."""
    window = _window(x, window_shape, strides, padding)
    if count_include_pad:
        return _sum_pool(x, window) / np.prod(window_shape)
    return _sum_pool(x, window) / _stock_sum(jnp.ones((1, *x.shape[1:3], 1), x.dtype), window)


def max_pool_ceil(x, window: int, stride: int):
    """Max pooling without padding whose last window may hang over the edge, as in Caffe."""
    padding = []
    for size in x.shape[1:3]:
        last = -(-max(size - window, 0) // stride) * stride  # where the last window starts
        padding.append((0, max(last + window - size, 0)))
    return max_pool(x, (window, window), strides=(stride, stride), padding=padding)


def adaptive_average_pool(x, size: int):
    """Averages [N, height, width, C] to [N, size, size, C], as PyTorch's AdaptiveAvgPool2d.

    Window i of n input rows covers floor(i n / size) to ceil((i + 1) n / size), so that windows may
    overlap, and repeat where the input is smaller.
    """
    for axis in (1, 2):
        n = x.shape[axis]
        if n != size:
            windows = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
            means = [jax.lax.slice_in_dim(x, a, b, axis=axis).mean(axis) for a, b in windows]
            x = jnp.stack(means, axis)
    return x


def _window(x, shape, strides, padding):
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], shape, strides, padding)
    return Window(tuple(shape), tuple(strides), tuple(map(tuple, padding)))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool(x, window):
    def largest(x):
        return jax.tree.reduce(jnp.maximum, _taps(x, window, -jnp.inf))

    return lax.platform_dependent(x, cpu=largest, default=partial(_stock_max, window=window))


def _save_max(x, window):
    y = _max_pool(x, window)
    return y, (x, y)


def _max_gradient(window, saved, dy):
    def ours(x, y, dy):
        winner = jnp.full(y.shape, -1, jnp.int8)
        for number, tap in reversed(list(enumerate(_taps(x, window, -jnp.inf)))):
            winner = jnp.where(tap == y, jnp.int8(number), winner)

        def share(number, winner, dy):
            return jnp.where(winner == number, dy, 0)

        return _sum_over_windows(share, x.shape, (winner, dy), window)

    def stock(x, y, dy):
        return jax.vjp(partial(_stock_max, window=window), x)[1](dy)[0]

    return (lax.platform_dependent(*saved, dy, cpu=ours, default=stock),)


_max_pool.defvjp(_save_max, _max_gradient)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _sum_pool(x, window):
    return lax.platform_dependent(
        x,
        cpu=lambda x: sum(_taps(x, window, 0)),
        default=partial(_stock_sum, window=window),
    )


def _save_shape(x, window):
    return _sum_pool(x, window), x


def _sum_gradient(window, x, dy):
    def ours(dy):
        return _sum_over_windows(lambda _, dy: dy, x.shape, (dy,), window)

    def stock(dy):
        return jax.linear_transpose(partial(_stock_sum, window=window), x)(dy)[0]

    return (lax.platform_dependent(dy, cpu=ours, default=stock),)


_sum_pool.defvjp(_save_shape, _sum_gradient)


def _stock_max(x, window):
    return nn.max_pool(x, *window)


def _stock_sum(x, window):
    return nn.pooling.pool(x, 0.0, lax.add, *window)


def _taps(x, window, fill):
    """Returns for each place of the window, row by row, what lies there, [N, height', width', C]."""
    x = jnp.pad(x, ((0, 0), *window.padding, (0, 0)), constant_values=fill)
    rows, columns = (
        [slice(k, size - shape + k + 1, stride) for k in range(shape)]
        for size, shape, stride in zip(x.shape[1:3], window.shape, window.strides, strict=True)
    )
    return [x[:, row, column] for row in rows for column in columns]


def _sum_over_windows(share, shape, arrays, window):
    """Sums for each pixel over the windows that see it: what `_taps` did, the other way round.

    Args:
      share: `f(place in the window, *arrays) -> values`, elementwise.
      shape: of the image, [N, height, width, C].
      arrays: a value for each window, [N, height', width', C].
      window: the Window.
    """
    n, height, width, channels = shape
    axes = [_phases(axis, shape, arrays[0].shape, window) for axis in (0, 1)]
    (rows, pad_rows), (columns, pad_columns) = axes
    arrays = [jnp.pad(a, ((0, 0), pad_rows, pad_columns, (0, 0))) for a in arrays]
    arrays = [materialize(a) for a in arrays]  # each is used at several places

    def total(row_places, column_places):
        shares = [
            share(i * window.shape[1] + j, *(a[:, row, column] for a in arrays))
            for i, row in row_places
            for j, column in column_places
        ]
        size = [-(-side // s) for side, s in zip((height, width), window.strides, strict=True)]
        return sum(shares) if shares else jnp.zeros((n, *size, channels), arrays[-1].dtype)

    x = jnp.stack([jnp.stack([total(r, c) for c in columns], 3) for r in rows], 2)
    x = x.reshape(n, x.shape[1] * x.shape[2], x.shape[3] * x.shape[4], channels)
    return x[:, :height, :width]


def _phases(axis, shape, outputs, window):
    """Returns which places of the window see the pixels, by the pixels' remainder modulo the stride.

    For each remainder a list of (place, slice of the windows), and the padding that the slices need.
    """
    stride, low = window.strides[axis], window.padding[axis][0]
    pixels, windows = -(-shape[axis + 1] // stride), outputs[axis + 1]
    starts = [
        [
            (k, (r + low - k) // stride)
            for k in range(window.shape[axis])
            if (r + low - k) % stride == 0
        ]
        for r in range(stride)
    ]
    every = [start for places in starts for _, start in places]
    before, after = max(0, -min(every)), max(0, max(every) + pixels - windows)
    slices = [
        [(k, slice(start + before, start + before + pixels)) for k, start in places]
        for places in starts
    ]
    return slices, (before, after)
