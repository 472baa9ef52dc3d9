"""Convolution that is fast on the CPU too, in place of `jax.lax.conv_general_dilated`.

XLA's own is slow on the CPU for much of what these networks need. There, and only there, a
convolution takes one of these forms (`_choose`); every other platform keeps XLA's own.

  depthwise  sums of shifted products; weight gradient image by image
  grouped    a loop over blocks of at least 16 channels, each a convolution with one group:
             smaller groups are merged, as a block diagonal kernel
  pointwise  a matrix product
  winograd   for 3x3 kernels at stride 1 with 64 x 64 channels or 128 x 32: see models/winograd.py
  patches    for outputs of at most 3 x 3 pixels: a matrix product with the patches of the input
  stock      XLA's own, forward and for the input; the weight gradient is a matrix product with the
             patches, a few images at a time: those of all would not fit into the cache

Forward and both gradients in ms, the least of up to 7 runs, stock and ours in turn. Two cores of an AMD
EPYC, float32, jax 0.10.2, 2026-11-25 (8 and 12 channels: 15 runs, 2026-11-26, other work beside):

  kernel, channels, map, batch              form       stock  ours
  3x3 depthwise, 256, 28 x 28, 8            depthwise    353     9
  3x3 depthwise, 512, 14 x 14, 8            depthwise    200     6
  3x3 depthwise, stride 2, 128, 56 x 56, 8  depthwise    368    10
  5x5 depthwise, 8, 8 x 8, 64               depthwise     20   0.8
  3x3 depthwise, 12, 16 x 16, 32            depthwise     23   1.3
  3x3, 512 in 32 groups, 14 x 14, 8         grouped     3287    21
  1x1, 256 to 64, 56 x 56, 8                pointwise    121    24
  3x3, 64 to 64, 56 x 56, 8                 winograd     121    73
  3x3, 128 to 128, 28 x 28, 8               winograd      80    50
  3x3, 256 to 256, 14 x 14, 8               winograd      57    36
  3x3, 512 to 512, 7 x 7, 8                 winograd      84    66
  3x3, 512 to 512, 4 x 4, 64                winograd     146    88
  3x3, 512 to 512, 2 x 2, 64                winograd    1430    40
  3x3, 64 to 64, 8 x 8, 128                 winograd      45    28
  3x3, 128 to 32, 32 x 32, 64               winograd    1479   284
  3x3, 16 to 16, 32 x 32, 128               stock        150    29
  3x3, stride 2, 128 to 128, 56 x 56, 8     stock         95    70
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from models import winograd
from models.fusion import materialize

NHWC = ("NHWC", "HWIO", "NHWC")


class Geometry(NamedTuple):
    """What a convolution is apart from its two arrays."""

    strides: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int
    precision: Any


def convolution(
    lhs,
    rhs,
    window_strides,
    padding,
    lhs_dilation=None,
    rhs_dilation=None,
    dimension_numbers=None,
    feature_group_count=1,
    batch_group_count=1,
    precision=None,
    preferred_element_type=None,
):
    """Convolves as `jax.lax.conv_general_dilated` does; `nn.Conv(conv_general_dilated=convolution)`.

    Images [N, height, width, C] and kernels [height, width, C / groups, features] have the fast way.
    """
    stock = partial(
        lax.conv_general_dilated,
        window_strides=window_strides,
        padding=padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        batch_group_count=batch_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )
    if jnp.ndim(lhs) != 4 or jnp.ndim(rhs) != 4:
        return stock(lhs, rhs)
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    dilation = tuple(rhs_dilation or (1, 1))
    window = [d * (k - 1) + 1 for k, d in zip(rhs.shape[:2], dilation, strict=True)]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(lhs.shape[1:3], window, window_strides, padding)
    padding = tuple((int(low), int(high)) for low, high in padding)
    usual = (
        numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, NHWC)
        and all(d == 1 for d in lhs_dilation or ())
        and batch_group_count == 1
        and preferred_element_type is None
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
        and min(min(padding)) >= 0
        and lhs.size > 0 < rhs.size
    )
    if not usual:
        return stock(lhs, rhs)
    geometry = Geometry(tuple(window_strides), padding, dilation, feature_group_count, precision)
    return _convolution(lhs, rhs, geometry)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolution(x, w, geometry):
    return lax.platform_dependent(
        x,
        w,
        cpu=_in_float32(partial(_forward, geometry=geometry)),
        default=partial(_stock, geometry=geometry),
    )


def _save(x, w, geometry):
    return _convolution(x, w, geometry), (x, w)


def _gradients(geometry, saved, dy):
    def ours(x, w, dy):
        if _choose(x, w, geometry) == "depthwise":
            dy = materialize(dy)  # each tap uses it
        return _input_gradient(x, w, dy, geometry), _weight_gradient(x, w, dy, geometry)

    def stock(x, w, dy):
        return jax.vjp(partial(_stock, geometry=geometry), x, w)[1](dy)

    return lax.platform_dependent(*saved, dy, cpu=_in_float32(ours), default=stock)


_convolution.defvjp(_save, _gradients)


def _in_float32(function):
    """Computes in at least float32, as stock does: sums in bfloat16 would lose their tail."""

    def wrapped(*arrays):
        dtype = arrays[0].dtype
        wide = jnp.promote_types(dtype, jnp.float32)
        return jax.tree.map(lambda a: a.astype(dtype), function(*(a.astype(wide) for a in arrays)))

    return wrapped


def _stock(x, w, geometry):
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


# The forms of a convolution. Arrays are x [N, height, width, C], w [rows, columns, C / groups, F] and
# dy, the gradient of the output, [N, height', width', F].


def _choose(x, w, geometry):
    """Returns the form for these shapes."""
    if geometry.groups > 1:
        return "depthwise" if w.shape[2] == 1 and geometry.groups >= 8 else "grouped"
    if w.shape[:2] == (1, 1) and geometry.padding == ((0, 0), (0, 0)):
        return "pointwise"
    _, height, width, _ = _output_shape(x, w, geometry)
    unit = geometry.strides == geometry.dilation == (1, 1)
    if w.shape[:2] == (3, 3) and unit and w.shape[2] * w.shape[3] >= 4096:
        return "winograd"
    return "patches" if height * width <= 9 else "stock"


@partial(jax.jit, static_argnames="geometry")
def _forward(x, w, geometry):
    form = _choose(x, w, geometry)
    if form == "depthwise":
        _, height, width, features = _output_shape(x, w, geometry)
        x = jnp.repeat(x, features // geometry.groups, axis=-1)
        return _depthwise(_padded(x, geometry), w, (height, width), geometry)
    if form == "grouped":
        one = partial(_forward, geometry=geometry._replace(groups=1))
        y = lax.map(lambda block: one(*block), (_split(x, w, geometry), _merge(w, geometry)))
        return _join(y)
    if form == "pointwise":
        sy, sx = geometry.strides
        return x[:, ::sy, ::sx] @ w[0, 0]
    if form == "patches":
        shape = _output_shape(x, w, geometry)
        return _patches(_padded(x, geometry), w, shape[1:3], geometry) @ w.reshape(-1, w.shape[-1])
    if form == "winograd":
        return winograd.convolve(x, w, geometry.padding)
    return _stock(x, w, geometry)


@partial(jax.jit, static_argnames="geometry")
def _input_gradient(x, w, dy, geometry):
    form = _choose(x, w, geometry)
    if form == "depthwise":
        unit = geometry._replace(strides=(1, 1))
        dx = _depthwise(_spread(dy, x, w, geometry), w[::-1, ::-1], x.shape[1:3], unit)
        multiplier = w.shape[-1] // geometry.groups
        return dx.reshape(*x.shape, multiplier).sum(-1) if multiplier > 1 else dx
    if form == "grouped":
        one = partial(_input_gradient, geometry=geometry._replace(groups=1))
        blocks = _split(x, w, geometry), _merge(w, geometry), _split(dy, w, geometry)
        return _join(lax.map(lambda block: one(*block), blocks))
    if form == "winograd":
        turned = w[::-1, ::-1].swapaxes(2, 3)
        return winograd.convolve(dy, turned, _turned_padding(x, w, dy, geometry))
    if form == "stock":
        # what `jax.vjp` makes of stock has other dimension numbers, slow in a loop
        return lax.conv_general_dilated(
            dy,
            w[::-1, ::-1].swapaxes(2, 3),
            (1, 1),
            _turned_padding(x, w, dy, geometry),
            lhs_dilation=geometry.strides,
            rhs_dilation=geometry.dilation,
            dimension_numbers=NHWC,
        )
    return jax.linear_transpose(lambda x: _forward(x, w, geometry), x)(dy)[0]


@partial(jax.jit, static_argnames="geometry")
def _weight_gradient(x, w, dy, geometry):
    form = _choose(x, w, geometry)
    rows, columns, inputs, features = w.shape
    if form == "depthwise":
        x = jnp.repeat(x, features // geometry.groups, axis=-1)

        def product(x, dy):
            taps = _taps(_padded(x, geometry), w, dy.shape[1:3], geometry)
            return jnp.stack([jnp.sum(tap * dy, (0, 1, 2)) for tap in taps])

        return _sum_over_images(product, x, dy, 2**14 / dy[0].size).reshape(w.shape)
    if form == "grouped":
        one = partial(_weight_gradient, geometry=geometry._replace(groups=1))
        blocks = _split(x, w, geometry), _merge(w, geometry), _split(dy, w, geometry)
        return _unmerge(lax.map(lambda block: one(*block), blocks), w, geometry)
    if form == "pointwise":
        sy, sx = geometry.strides
        return _outer(x[:, ::sy, ::sx], dy)[None, None]
    if form == "winograd":
        return winograd.kernel_gradient(x, dy, geometry.padding)

    # products with the patches of x, or of dy where that has fewer channels
    turned = geometry.strides == (1, 1) and features <= inputs
    pixels = dy.shape[1] * dy.shape[2]
    patch = rows * columns * (features if turned else inputs)

    def product(x, dy):
        if turned:
            dy = _patches(_spread(dy, x, w, geometry), w, x.shape[1:3], geometry)
        else:
            x = _patches(_padded(x, geometry), w, dy.shape[1:3], geometry)
        return _outer(x, dy)

    dw = _sum_over_images(product, x, dy, max(512 / pixels, 2**18 / (pixels * patch)))
    if turned:
        return dw.reshape(inputs, rows, columns, features)[:, ::-1, ::-1].transpose(1, 2, 0, 3)
    return dw.reshape(w.shape)


def _outer(x, dy):
    """Sums the outer products of all pixels, [..., I] and [..., O] to [I, O].

    As a product of matrices: with more axes, XLA would transpose x in memory first.
    """
    x, dy = (a.reshape(-1, a.shape[-1]) for a in (x, dy))
    return lax.dot_general(x, dy, (((0,), (0,)), ((), ())))


def _sum_over_images(product, x, dy, least):
    """Sums product(x, dy) over parts of `least` images or few more: what they need stays in the cache.

    A part takes every k-th image, so that a batch that is split over devices stays split.
    """
    images = x.shape[0]
    part = next(n for n in range(1, images + 1) if images % n == 0 and (n >= least or n == images))
    if part == images:
        return product(x, dy)
    x, dy = (a.reshape(part, images // part, *a.shape[1:]) for a in (x, dy))

    def add(i, total):
        return total + product(*(lax.dynamic_index_in_dim(a, i, 1, False) for a in (x, dy)))

    shape = jax.eval_shape(product, x[:, 0], dy[:, 0])
    return lax.fori_loop(0, images // part, add, jnp.zeros(shape.shape, shape.dtype))


def _depthwise(x, w, shape, geometry):
    """Sums the products of w [rows, columns, 1, C] and the shifted x, padded already."""
    weights = w.reshape(-1, w.shape[-1])
    return sum(tap * v for tap, v in zip(_taps(x, w, shape, geometry), weights, strict=True))


def _taps(x, w, shape, geometry):
    """Returns for each weight what it sees of x, padded already, [N, *shape, C]."""
    rows, columns = (_slices(w, shape, geometry, axis) for axis in (0, 1))
    return [x[:, row, column] for row in rows for column in columns]


def _patches(x, w, shape, geometry):
    """Returns what each output pixel sees of x, padded already, [N, *shape, rows * columns * C].

    First along the rows, then along the columns: fewer and longer pieces than one for each weight.
    """
    rows, columns = (_slices(w, shape, geometry, axis) for axis in (0, 1))
    x = jnp.concatenate([x[:, :, column] for column in columns], -1)
    return jnp.concatenate([x[:, row] for row in rows], -1)


def _slices(w, shape, geometry, axis):
    """Returns for each row (0) or column (1) of the kernel which rows or columns it sees."""
    stride, dilation = geometry.strides[axis], geometry.dilation[axis]
    reach = (shape[axis] - 1) * stride + 1
    starts = range(0, w.shape[axis] * dilation, dilation)
    return [slice(start, start + reach, stride) for start in starts]


def _padded(x, geometry):
    return jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))


def _turned_padding(x, w, dy, geometry):
    """Returns the padding of dy so that the taps of the turned kernel lie on the pixels of x."""
    pairs = []
    for axis in (0, 1):
        reach = geometry.dilation[axis] * (w.shape[axis] - 1)
        before = reach - geometry.padding[axis][0]
        spread = (dy.shape[axis + 1] - 1) * geometry.strides[axis] + 1
        pairs.append((before, x.shape[axis + 1] + reach - before - spread))
    return pairs


def _spread(dy, x, w, geometry):
    """Strides and pads dy as `_turned_padding` says."""
    pairs = zip(_turned_padding(x, w, dy, geometry), geometry.strides, strict=True)
    config = [(0, 0, 0), *((*pair, stride - 1) for pair, stride in pairs), (0, 0, 0)]
    return lax.pad(dy, jnp.zeros((), dy.dtype), config)


def _output_shape(x, w, geometry):
    return jax.eval_shape(partial(_stock, geometry=geometry), x, w).shape


def _blocks(w, geometry):
    """Returns in how many blocks of at least 16 channels, if possible, the groups are computed."""
    fits = [b for b in range(1, geometry.groups + 1) if geometry.groups % b == 0]
    channels = geometry.groups * w.shape[2]
    return max(b for b in fits if b == 1 or channels // b >= 16)


def _split(x, w, geometry):
    """[N, height, width, C] to [blocks, N, height, width, C / blocks]."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], _blocks(w, geometry), -1), -2, 0)


def _join(x):
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)


def _merge(w, geometry):
    """Returns [blocks, rows, columns, C / blocks, F / blocks]: several groups as one block diagonal."""
    blocks = _blocks(w, geometry)
    merged = geometry.groups // blocks
    rows, columns, inputs, features = w.shape
    w = w.reshape(rows, columns, inputs, blocks, merged, features // geometry.groups)
    w = jnp.einsum("hwibmo,mn->bhwmino", w, jnp.eye(merged, dtype=w.dtype))
    return w.reshape(blocks, rows, columns, merged * inputs, features // blocks)


def _unmerge(dw, w, geometry):
    """Takes w's gradient from the diagonals of the blocks' gradients."""
    blocks = _blocks(w, geometry)
    merged = geometry.groups // blocks
    rows, columns, inputs, features = w.shape
    dw = dw.reshape(blocks, rows, columns, merged, inputs, merged, features // geometry.groups)
    return jnp.einsum("bhwmimo->hwibmo", dw).reshape(w.shape)
