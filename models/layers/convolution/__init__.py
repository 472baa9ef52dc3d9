"""Convolution that is fast on the CPU too, in place of `jax.lax.conv_general_dilated`.

XLA's own is slow on the CPU for much of what these networks need. There, and only there, a
convolution takes one of these forms (`choose`); every other platform keeps XLA's own.

  depthwise  sums of shifted products, for a kernel for each channel
  grouped    a loop over blocks of channels, for other groups
  pointwise  a matrix product, for 1x1 kernels
  winograd   fewer multiplications, for 3x3 kernels at stride 1 with 64 x 64 channels or 128 x 32
  patches    a matrix product with the patches of the input, for outputs of at most 3 x 3 pixels
  stock      XLA's own but for the weight gradient

Each is a file of this folder, with its forward pass and both gradients. docs/performance.md has their
times beside XLA's.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from models.layers.convolution import depthwise, grouped, patches, pointwise, stock, winograd
from models.layers.convolution.geometry import NHWC, Geometry, output_size, xla
from models.layers.fusion import materialize
from models.layers.switch import instead_of


@instead_of(lax.conv_general_dilated)
def convolve(
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
    """Convolves as `jax.lax.conv_general_dilated` does; `nn.Conv(conv_general_dilated=convolve)`.

    Images [N, height, width, C] and kernels [height, width, C / groups, features] have the fast way.
    """
    plain = partial(
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
        return plain(lhs, rhs)
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
        return plain(lhs, rhs)
    geometry = Geometry(tuple(window_strides), padding, dilation, feature_group_count, precision)
    return _convolve(lhs, rhs, geometry)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, w, geometry):
    return lax.platform_dependent(
        x,
        w,
        cpu=_in_float32(partial(_compute, "forward", geometry=geometry)),
        default=partial(xla, geometry=geometry),
    )


def _save(x, w, geometry):
    return _convolve(x, w, geometry), (x, w)


def _gradients(geometry, saved, dy):
    def ours(x, w, dy):
        if choose(x, w, geometry) is depthwise:
            dy = materialize(dy)  # each tap uses it
        parts = ("input_gradient", "weight_gradient")
        return tuple(_compute(part, x, w, dy, geometry=geometry) for part in parts)

    def theirs(x, w, dy):
        return jax.vjp(partial(xla, geometry=geometry), x, w)[1](dy)

    return lax.platform_dependent(*saved, dy, cpu=_in_float32(ours), default=theirs)


_convolve.defvjp(_save, _gradients)


def _in_float32(function):
    """Computes in at least float32, as stock does: sums in bfloat16 would lose their tail."""

    def wrapped(*arrays):
        dtype = arrays[0].dtype
        wide = jnp.promote_types(dtype, jnp.float32)
        return jax.tree.map(lambda a: a.astype(dtype), function(*(a.astype(wide) for a in arrays)))

    return wrapped


def choose(x, w, geometry):
    """Returns the form for these shapes, a file of this folder."""
    if geometry.groups > 1:
        return depthwise if w.shape[2] == 1 and geometry.groups >= 8 else grouped
    if w.shape[:2] == (1, 1) and geometry.padding == ((0, 0), (0, 0)):
        return pointwise
    height, width = output_size(x, w, geometry)
    unit = geometry.strides == geometry.dilation == (1, 1)
    if w.shape[:2] == (3, 3) and unit and w.shape[2] * w.shape[3] >= 4096:
        return winograd
    return patches if height * width <= 9 else stock


@partial(jax.jit, static_argnames=("part", "geometry"))
def _compute(part, *arrays, geometry):
    """Returns the "forward", "input_gradient" or "weight_gradient" of the form for these arrays: x, w, and dy."""
    form = choose(*arrays[:2], geometry)
    compute = getattr(form, part)
    if form is grouped:
        one = partial(_compute, part, geometry=geometry._replace(groups=1))
        return compute(one, *arrays, geometry)
    return compute(*arrays, geometry)
