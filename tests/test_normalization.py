"""Our BatchNorm is `nn.BatchNorm` with another way to the same gradient."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_alike, normal

from models.layers.normalization import BatchNorm
from training import sharding

SHAPES = pytest.mark.parametrize("shape", [(8, 6, 6, 12), (16, 5)], ids=["images", "features"])
TRAINING = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])


def draw(shape):
    """Returns (x, variables), all random."""
    scale, bias, mean, var = normal(0, (4, *shape[-1:]))
    return 1 + 2 * normal(1, shape), {
        "params": {"scale": 1 + scale / 4, "bias": bias},
        "batch_stats": {"mean": mean, "var": jnp.exp(var)},
    }


def results(layer, training, x, variables):
    """Returns the output, new statistics, and the gradients for x, scale and bias, in one order."""
    module = layer(use_running_average=not training)

    def apply(x, params):
        return module.apply(variables | {"params": params}, x, mutable=["batch_stats"])

    y, gradients, new = jax.vjp(apply, x, variables["params"], has_aux=True)
    return jax.tree.leaves((y, new, gradients(jnp.sin(1 + y))))


def ours_and_stock(x, variables, training=True, **fields):
    """Returns the results of both."""
    layers = [
        functools.partial(layer, **{"momentum": 0.9} | fields)
        for layer in (BatchNorm, nn.BatchNorm)
    ]
    return jax.jit(lambda *arrays: [results(layer, training, *arrays) for layer in layers])(
        x, variables
    )


@SHAPES
@TRAINING
def test_equals_stock(training, shape):
    x, variables = draw(shape)
    assert_alike(*ours_and_stock(x, variables, training))


def test_momentum_and_epsilon_are_those_of_stock():
    x, variables = draw((16, 5))
    assert_alike(*ours_and_stock(x / 10, variables, momentum=0.7, epsilon=0.1))


@TRAINING
def test_bfloat16_equals_stock(training):
    x, variables = draw((8, 6, 6, 12))
    ours, stock = ours_and_stock(x.astype(jnp.bfloat16), variables, training, dtype="bfloat16")
    assert ours[0].dtype == jnp.bfloat16
    assert_alike(ours, stock, 1e-2)


def test_statistics_far_from_zero_equal_stock():
    x, variables = draw((8, 6, 6, 12))
    x = 30 + (x - 1) / 2  # mean 30, deviation 1: the mean of squares is exact to 900 * 6e-8
    assert_alike(*ours_and_stock(x, variables), 1e-3)


def test_initial_variables_are_those_of_stock():
    x, _ = draw((4, 3, 3, 12))
    how = {"use_running_average": False, "scale_init": nn.initializers.constant(0.5)}
    ours, stock = (
        jax.jit(layer(**how).init)(jax.random.key(0), x) for layer in (BatchNorm, nn.BatchNorm)
    )
    assert jax.tree.structure(ours) == jax.tree.structure(stock)
    assert_alike(jax.tree.leaves(ours), jax.tree.leaves(stock), 0)


@TRAINING
def test_gradients_of_gradients_equal_stock(training):
    x, variables = draw((8, 6, 6, 12))

    def second(layer):
        module = layer(use_running_average=not training)

        def loss(x, params):
            y, _ = module.apply(variables | {"params": params}, x, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y))

        def penalty(x, params):
            gradients = jax.grad(loss, (0, 1))(x, params)
            return sum(jnp.sum(g**2) for g in jax.tree.leaves(gradients))

        return jax.tree.leaves(jax.jit(jax.grad(penalty, (0, 1)))(x, variables["params"]))

    assert_alike(*map(second, (BatchNorm, nn.BatchNorm)), 1e-4)


def test_a_constant_channel_has_a_finite_gradient():
    x, variables = draw((8, 6, 6, 12))
    ours, stock = ours_and_stock(x.at[..., 3].set(0.0), variables)
    assert all(np.isfinite(leaf).all() for leaf in ours)
    assert_alike(ours, stock, 1e-4)  # the rounding of sums, times 1 / sqrt(epsilon)


@SHAPES
def test_a_batch_split_over_devices_gives_the_same(shape):
    x, variables = draw(shape)
    mesh = sharding.make_mesh()
    split = sharding.split_batch(mesh), sharding.replicated(mesh)
    both = functools.partial(results, BatchNorm, True)
    assert_alike(jax.jit(both, in_shardings=split)(x, variables), jax.jit(both)(x, variables))
