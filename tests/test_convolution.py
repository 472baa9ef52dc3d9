"""The convolution of the CPU is XLA's own in other clothes, which other platforms never see."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_alike, normal
from jax import lax

from analysis.communication import collectives
from models.layers.convolution import choose, convolve, grouped, winograd
from models.layers.convolution.geometry import Geometry
from training import sharding

NHWC = ("NHWC", "HWIO", "NHWC")
ONE = ((1, 1), (1, 1))

# image [N, height, width, C], kernel [rows, columns, C / groups, F], stride, padding, dilation, groups
CASES = {
    "1x1": ((3, 6, 5, 4), (1, 1, 4, 6), 1, "SAME", 1, 1),
    "1x1 stride 2": ((3, 6, 5, 4), (1, 1, 4, 6), 2, "VALID", 1, 1),
    "1x1 in 3 groups": ((3, 6, 5, 6), (1, 1, 2, 9), 1, "SAME", 1, 3),
    "3x3 to fewer": ((3, 8, 7, 6), (3, 3, 6, 4), 1, ONE, 1, 1),
    "3x3 image by image": ((4, 24, 24, 16), (3, 3, 16, 16), 1, "SAME", 1, 1),
    "3x3 stride 2": ((3, 8, 7, 4), (3, 3, 4, 6), 2, "SAME", 1, 1),
    "3x3 asymmetric": ((3, 8, 7, 6), (3, 3, 6, 4), 1, ((0, 2), (3, 1)), 1, 1),
    "3x3 far padded": ((1, 4, 5, 4), (3, 3, 4, 4), 1, ((4, 3), (3, 5)), 1, 1),
    "3x3 dilated": ((3, 9, 8, 6), (3, 3, 6, 4), 1, "SAME", 2, 1),
    "2x2 map": ((4, 2, 2, 8), (3, 3, 8, 6), 1, ONE, 1, 1),
    "2x2": ((3, 8, 7, 4), (2, 2, 4, 4), 2, "VALID", 1, 1),
    "1x7": ((3, 8, 9, 6), (1, 7, 6, 4), 1, "SAME", 1, 1),
    "11x11 stride 4": ((2, 31, 31, 3), (11, 11, 3, 8), 4, ((2, 2), (2, 2)), 1, 1),
    "depthwise 3x3": ((3, 8, 7, 16), (3, 3, 1, 16), 1, "SAME", 1, 16),
    "depthwise image by image": ((4, 24, 24, 32), (3, 3, 1, 32), 1, "SAME", 1, 32),
    "depthwise stride 2": ((3, 8, 7, 16), (3, 3, 1, 16), 2, "SAME", 1, 16),
    "depthwise 5x5 stride 2": ((3, 9, 9, 16), (5, 5, 1, 16), 2, ((2, 2), (2, 2)), 1, 16),
    "depthwise, multiplier 2": ((3, 8, 7, 16), (3, 3, 1, 32), 1, "VALID", 1, 16),
    "depthwise of 4": ((3, 8, 7, 4), (3, 3, 1, 8), 2, "SAME", 1, 4),
    "2 groups": ((3, 8, 7, 6), (5, 5, 3, 4), 1, "SAME", 1, 2),
    "32 groups of 4": ((2, 8, 7, 128), (3, 3, 4, 128), 1, "SAME", 1, 32),
    "8 groups of 4 to 2, stride 2": ((2, 8, 7, 32), (3, 3, 4, 16), 2, "SAME", 1, 8),
}
WINOGRAD = {  # 3x3, stride 1, at least 64 x 64 channels in and out
    "winograd, even map": ((3, 8, 6, 64), (3, 3, 64, 64), 1, ONE, 1, 1),
    "winograd, 7x7 map": ((2, 7, 7, 64), (3, 3, 64, 64), 1, "SAME", 1, 1),
    "winograd, 1x1 map": ((4, 1, 1, 64), (3, 3, 64, 64), 1, ONE, 1, 1),
    "winograd, 2x2 map": ((4, 2, 2, 64), (3, 3, 64, 64), 1, ONE, 1, 1),
    "winograd, unpadded, batch of 1": ((1, 8, 7, 64), (3, 3, 64, 64), 1, "VALID", 1, 1),
    "winograd, asymmetric, to more": ((2, 6, 5, 64), (3, 3, 64, 72), 1, ((2, 0), (1, 2)), 1, 1),
    "winograd, far padded, to fewer": ((2, 4, 5, 128), (3, 3, 128, 32), 1, ((4, 0), (1, 3)), 1, 1),
    "winograd, 2 groups of 64": ((2, 6, 5, 128), (3, 3, 64, 128), 1, ONE, 1, 2),
    "winograd, 7 groups of 10 merged": ((2, 6, 5, 70), (3, 3, 10, 70), 1, ONE, 1, 7),
}
CASES |= WINOGRAD


def case(name):
    """Returns the arguments of one of CASES: an image, a kernel, and the rest by keyword.

    Outputs are about 1: the sine of larger ones would make more of their rounding.
    """
    image, kernel, stride, padding, dilation, groups = CASES[name]
    x, w = (normal(i, s) for i, s in enumerate((image, kernel)))
    w /= np.sqrt(w[..., 0].size)
    return (
        x,
        w,
        {
            "window_strides": (stride, stride),
            "padding": padding,
            "rhs_dilation": (dilation, dilation),
            "dimension_numbers": NHWC,
            "feature_group_count": groups,
        },
    )


def output_and_gradients(function, x, w):
    y, gradients = jax.vjp(function, x, w)
    return y, *gradients(jnp.sin(y))


def ours_and_stock(x, w, how):
    """Returns the output and the gradients of both."""
    return (
        jax.jit(functools.partial(output_and_gradients, functools.partial(function, **how)))(x, w)
        for function in (convolve, lax.conv_general_dilated)
    )


@pytest.mark.parametrize("name", CASES)
def test_equals_stock(name):
    x, w, how = case(name)
    assert_alike(*ours_and_stock(x, w, how))


@pytest.mark.parametrize("name", WINOGRAD)
def test_wide_3x3_kernels_take_the_form_of_winograd(name):
    x, w, how = case(name)
    pads = how["padding"]
    if isinstance(pads, str):
        pads = lax.padtype_to_pads(x.shape[1:3], w.shape[:2], (1, 1), pads)
    geometry = Geometry((1, 1), pads, (1, 1), how["feature_group_count"], None)
    if geometry.groups > 1:  # each block of groups takes it
        assert choose(x, w, geometry) is grouped
        x, w = grouped.split(x, w, geometry)[0], grouped.merge(w, geometry)[0]
    assert choose(x, w, geometry._replace(groups=1)) is winograd


@pytest.mark.parametrize("name", ["3x3 to fewer", "depthwise stride 2", "winograd, 7x7 map"])
def test_bfloat16_is_as_exact_as_stock(name):
    x, w, how = case(name)
    x, w = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    assert_alike(*ours_and_stock(x, w, how), 2e-2)


@pytest.mark.parametrize(
    "name", ["3x3 image by image", "depthwise 3x3", "2 groups", "winograd, asymmetric, to more"]
)
def test_gradients_of_gradients_equal_stock(name):
    x, w, how = case(name)

    def penalty(function, x, w):
        gradients = jax.grad(lambda x, w: jnp.sum(jnp.sin(function(x, w, **how))), (0, 1))(x, w)
        return sum(jnp.sum(g**2) for g in gradients)

    second = jax.jit(jax.grad(penalty, (1, 2)), static_argnums=0)
    assert_alike(second(convolve, x, w), second(lax.conv_general_dilated, x, w), 1e-4)


@pytest.mark.parametrize(
    "name",
    [
        *("1x1", "3x3 image by image", "depthwise 3x3", "depthwise image by image"),
        *("32 groups of 4", "winograd, 7x7 map"),
    ],
)
def test_a_batch_split_over_devices_gives_the_same(name):
    x, w, how = case(name)
    x = jnp.concatenate([x] * 16)[:16]
    mesh = sharding.make_mesh()
    function = functools.partial(convolve, **how)
    split = sharding.split_batch(mesh), sharding.replicated(mesh)
    both = functools.partial(output_and_gradients, function)
    compiled = jax.jit(both, in_shardings=split).lower(x, w).compile()
    assert_alike(compiled(*jax.device_put((x, w), split)), jax.jit(both)(x, w))
    assert {one.kind for one in collectives(compiled)} == {"all-reduce"}  # none gathers the batch


@pytest.mark.parametrize(
    "name", ["1x1", "3x3 to fewer", "depthwise 3x3", "32 groups of 4", "winograd, 7x7 map"]
)
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_keep_their_own(name, platform):
    x, w, how = case(name)

    def program(function):
        traced = jax.jit(
            lambda x, w: output_and_gradients(functools.partial(function, **how), x, w)
        )
        text = traced.trace(x, w).lower(lowering_platforms=(platform,)).as_text()
        counted = ("stablehlo.convolution", "stablehlo.dot", "stablehlo.while")
        return [text.count(operation) for operation in counted]

    assert program(convolve) == program(lax.conv_general_dilated) == [3, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        {"lhs_dilation": (2, 2)},
        {"dimension_numbers": ("NHWC", "OHWI", "NHWC")},
        {"padding": ((-1, 0), (0, 0))},
        {"preferred_element_type": jnp.float32},
    ],
)
def test_leaves_the_unusual_to_stock(change):
    x, w, how = case("3x3 to fewer")
    w = jnp.moveaxis(w, -1, 0) if "dimension_numbers" in change else w
    text = str(jax.make_jaxpr(functools.partial(convolve, **how | change))(x, w))
    assert "conv_general_dilated" in text and "custom_vjp" not in text


def test_works_in_a_layer_under_vmap_and_checkpoint():
    x = normal(0, (2, 3, 8, 8, 4))
    ours = nn.Conv(6, (3, 3), conv_general_dilated=convolve)
    stock = nn.Conv(6, (3, 3))
    variables = stock.init(jax.random.key(1), x[0])

    def loss(layer, variables):
        return jnp.sum(jax.vmap(jax.checkpoint(lambda x: layer.apply(variables, x) ** 2))(x))

    gradient = jax.jit(jax.grad(loss, 1), static_argnums=0)
    leaves = (jax.tree.leaves(gradient(layer, variables)) for layer in (ours, stock))
    assert_alike(*leaves)
