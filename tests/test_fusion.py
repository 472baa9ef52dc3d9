"""What is materialised stays one array, on the CPU only, and is the identity to gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers.fusion import materialize


def used_twice(keep):
    def function(x):
        joined = keep(jnp.concatenate([x, 2 * x]))
        return jnp.sum(jnp.sin(joined)) + jnp.sum(joined[::2] * joined[1::2])

    return function


def test_value_and_gradients_are_those_of_the_identity():
    x = jnp.linspace(-1, 1, 16)
    for derivative in (lambda f: f, jax.grad, lambda f: jax.jacrev(jax.grad(f))):
        ours, plain = (jax.jit(derivative(used_twice(f)))(x) for f in (materialize, lambda x: x))
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)


def test_the_cpu_keeps_the_array_and_its_gradient():
    def calls(function):
        text = jax.jit(function).lower(jnp.ones(16)).compile().as_text()
        return text.count(" call(")

    function = used_twice(materialize)
    assert calls(function) == 1
    assert calls(jax.grad(function)) == 2
    assert calls(jax.grad(used_twice(lambda x: x))) == 0


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_fuse_as_they_like(platform):
    traced = jax.jit(jax.grad(used_twice(materialize))).trace(jnp.ones(16))
    assert "inlineable" not in traced.lower(lowering_platforms=(platform,)).as_text()
