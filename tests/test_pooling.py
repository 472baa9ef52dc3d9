"""The pooling of the CPU is stock's in other clothes, which other platforms never see."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_alike, normal

from models import layers
from models.layers import pooling

ONE = ((1, 1), (1, 1))

# image [N, height, width, C], window, stride, padding
CASES = {
    "3x3 stride 2": ((2, 8, 6, 3), 3, 2, ONE),
    "3x3 stride 2, odd, unpadded": ((2, 9, 7, 3), 3, 2, "VALID"),
    "3x3 stride 2, even, SAME": ((2, 8, 6, 3), 3, 2, "SAME"),
    "3x3 stride 1": ((2, 7, 6, 3), 3, 1, ONE),
    "2x2 stride 2": ((2, 8, 6, 3), 2, 2, "VALID"),
    "3x3 stride 2, asymmetric": ((2, 8, 7, 3), 3, 2, ((0, 1), (0, 2))),
    "3x3 stride 2 of 1x2": ((2, 1, 2, 3), 3, 2, ONE),
    "2x2 stride 3": ((2, 9, 8, 3), 2, 3, "VALID"),
    "5x5 stride 3": ((2, 14, 11, 3), 5, 3, "VALID"),
}
MAX = (pooling.max_pool, nn.max_pool)
AVERAGE = (pooling.avg_pool, nn.avg_pool)
AVERAGE_INSIDE = tuple(functools.partial(f, count_include_pad=False) for f in AVERAGE)
BOTH = pytest.mark.parametrize("kind", [MAX, AVERAGE], ids=["max", "average"])
ALL = pytest.mark.parametrize(
    "kind", [MAX, AVERAGE, AVERAGE_INSIDE], ids=["max", "average", "average inside"]
)


def case(name):
    """Returns the arguments of one of CASES: an image, and the rest by keyword."""
    shape, window, stride, padding = CASES[name]
    x = normal(0, shape)
    return x, {
        "window_shape": (window, window),
        "strides": (stride, stride),
        "padding": padding,
    }


def output_and_gradient(function, x):
    y, gradient = jax.vjp(function, x)
    return y, *gradient(jnp.sin(y))


def ours_and_stock(kind, x, how):
    """Returns the output and the gradient of both."""
    functions = [functools.partial(function, **how) for function in kind]
    return jax.jit(lambda x: [output_and_gradient(function, x) for function in functions])(x)


@pytest.mark.parametrize("name", CASES)
@BOTH
def test_equals_stock(kind, name):
    x, how = case(name)
    assert_alike(*ours_and_stock(kind, x, how), 1e-6)


@pytest.mark.parametrize(
    "name", ["3x3 stride 2", "3x3 stride 2, even, SAME", "3x3 stride 2, asymmetric"]
)
def test_averages_without_the_padding_equal_stock(name):
    x, how = case(name)
    assert_alike(*ours_and_stock(AVERAGE_INSIDE, x, how), 1e-6)


def test_rows_and_columns_may_differ():
    x = normal(0, (2, 11, 9, 3))
    how = {"window_shape": (2, 4), "strides": (3, 1), "padding": ((1, 0), (0, 2))}
    for kind in (MAX, AVERAGE, AVERAGE_INSIDE):
        assert_alike(*ours_and_stock(kind, x, how), 1e-6)


@pytest.mark.parametrize("name", ["3x3 stride 2", "3x3 stride 1"])
def test_the_gradient_goes_to_the_same_of_equal_values(name):
    x, how = case(name)
    x = jnp.asarray(np.random.default_rng(1).integers(-1, 2, x.shape), jnp.float32)
    # whole numbers, different for each window: their sums are exact and name the windows
    y = nn.max_pool(x, **how)
    dy = 1 + jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape)
    ours, stock = (
        jax.jit(lambda x, dy, f=f: jax.vjp(functools.partial(f, **how), x)[1](dy)[0])(x, dy)
        for f in MAX
    )
    np.testing.assert_array_equal(ours, stock)


@ALL
def test_bfloat16_stays_and_equals_stock(kind):
    x, how = case("3x3 stride 2")
    ours, stock = kind
    # stock divides by float32 numbers of pixels inside, and so returns float32
    both = ours, lambda x, **how: stock(x, **how).astype(jnp.bfloat16)
    assert_alike(*ours_and_stock(both, x.astype(jnp.bfloat16), how), 1e-2)


@BOTH
def test_gradients_of_gradients_equal_stock(kind):
    x, how = case("3x3 stride 2")

    def penalty(function, x):
        gradient = jax.grad(lambda x: jnp.sum(jnp.sin(function(x, **how))))(x)
        return jnp.sum(gradient**2)

    ours, stock = jax.jit(lambda x: [jax.grad(penalty, 1)(f, x) for f in kind])(x)
    assert_alike([ours], [stock])


@pytest.mark.parametrize("name", ["3x3 stride 2", "3x3 stride 2, asymmetric"])
@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@ALL
def test_other_platforms_keep_their_own(kind, platform, name):
    x, how = case(name)

    def program(function):
        traced = jax.jit(lambda x: output_and_gradient(functools.partial(function, **how), x))
        text = traced.trace(x).lower(lowering_platforms=(platform,)).as_text()
        counted = ("stablehlo.reduce_window", "stablehlo.select_and_scatter")
        return [text.count(operation) for operation in counted]

    ours, stock = map(program, kind)
    assert ours == stock and sum(stock) >= 2


@pytest.mark.parametrize("name", ["3x3 stride 2", "3x3 stride 2, asymmetric"])
@BOTH
def test_the_portable_form_pads_before_and_pools_alike(kind, name):
    ours, stock = kind
    x, window = case(name)
    with layers.use_stock(portable=True):
        program = str(jax.make_jaxpr(functools.partial(ours, **window))(x))
        assert_alike([ours(x, **window)], [stock(x, **window)])
    assert "padding=((0, 0), (0, 0), (0, 0), (0, 0))" in program
