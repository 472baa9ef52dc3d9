"""Activations whose gradient needs the result alone, so that their argument need not be kept."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.switch import instead_of


@instead_of(nn.relu)
def relu(x):
    """Returns max(x, 0)."""
    return _relu(x)


@instead_of(nn.relu6)
def relu6(x):
    """Returns x cut to [0, 6]."""
    return _relu6(x)


@jax.custom_vjp
def _relu(x):
    return jnp.maximum(x, 0)


_relu.defvjp(lambda x: (_relu(x), _relu(x)), lambda y, dy: (jnp.where(y > 0, dy, 0),))


@jax.custom_vjp
def _relu6(x):
    return jnp.clip(x, 0, 6)


_relu6.defvjp(
    lambda x: (_relu6(x), _relu6(x)), lambda y, dy: (jnp.where((y > 0) & (y < 6), dy, 0),)
)
