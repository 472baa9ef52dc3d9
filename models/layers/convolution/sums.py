"""Sums over pixels and images, of which weight gradients are made."""

import jax
import jax.numpy as jnp
from jax import lax


def of_outer_products(x, dy):
    """Sums the outer products of all pixels, [..., I] and [..., O] to [I, O].

    As a product of matrices: with more axes, XLA would transpose x in memory first.
    """
    x, dy = (a.reshape(-1, a.shape[-1]) for a in (x, dy))
    return lax.dot_general(x, dy, (((0,), (0,)), ((), ())))


def over_images(product, x, dy, least):
    """Sums product(x, dy) over parts of `least` images or few more: what they need stays in the cache.

    Where the batch is split over all devices, each goes through its own images, and the sums are added
    at the end.
    """
    devices = jax.device_count()
    images = len(x) // devices if len(x) % devices == 0 else len(x)
    part = next(n for n in range(1, images + 1) if images % n == 0 and (n >= least or n == images))
    if part == images:
        return product(x, dy)

    def of_device(x, dy):
        x, dy = (a.reshape(part, images // part, *a.shape[1:]) for a in (x, dy))

        def add(i, total):
            return total + product(*(lax.dynamic_index_in_dim(a, i, 1, False) for a in (x, dy)))

        shape = jax.eval_shape(product, x[:, 0], dy[:, 0])
        return lax.fori_loop(0, images // part, add, jnp.zeros(shape.shape, shape.dtype))

    if images == len(x):
        return of_device(x, dy)
    x, dy = (a.reshape(devices, images, *a.shape[1:]) for a in (x, dy))
    return jax.vmap(of_device)(x, dy).sum(0)
