"""One switch puts the operations of JAX and Flax in the places of ours."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from models import layers


class Layer(nn.Module):
    """One layer that `make` returns."""

    make: object

    @nn.compact
    def __call__(self, x):
        return self.make()(x)


LAYERS = {
    "convolution": lambda: layers.conv(4, 3),
    "BatchNorm": lambda: layers.batch_norm(True, dtype="float32")(),
    "ReLU": lambda: layers.relu,
    "ReLU6": lambda: layers.relu6,
    "max pooling": lambda: lambda x: layers.max_pool(x, (3, 3)),
    "average pooling": lambda: lambda x: layers.avg_pool(x, (3, 3)),
    "concatenation": lambda: layers.materialize,
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_switch_is_for_every_operation(name):
    def program():
        module, x = Layer(LAYERS[name]), jnp.ones((1, 8, 8, 4))
        return str(jax.make_jaxpr(lambda x: module.init_with_output(jax.random.key(0), x)[0])(x))

    ours = program()
    with layers.use_stock():
        stock = program()
    assert "custom_vjp" in ours and "custom_vjp" not in stock
    assert program() == ours
