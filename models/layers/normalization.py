"""Normalisation: of batches (arXiv:1502.03167), with its gradient written out, and of responses."""

import contextlib
from collections.abc import Iterator
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from models.layers.switch import either

_of_one_batch = False


class BatchNorm(nn.Module):
    """Normalises each channel of [..., C] over all other axes, as `nn.BatchNorm` does.

    Batch normalisation (Ioffe and Szegedy, 2015), arXiv:1502.03167.

    Parameters, statistics and results are those of `nn.BatchNorm`. The gradient is that of section 3
    of the paper, in two passes over the arrays, where differentiating the forward pass takes twice
    as long on the CPU and keeps more of them.
    """

    use_running_average: bool  # so, too, where "batch_stats" is not mutable
    momentum: float = 0.9  # the part of the running statistics that stays
    epsilon: float = 1e-5
    dtype: str = "float32"  # of the result; statistics are float32
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x):
        channels = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        learns = self.is_initializing() or self.is_mutable_collection("batch_stats")
        if self.use_running_average or not learns:
            factor = scale * lax.rsqrt(running_var.value + self.epsilon)
            return ((x - running_mean.value) * factor + bias).astype(self.dtype)

        y, mean, var = _normalise(x, scale, bias, self.epsilon, self.dtype)
        if not self.is_initializing():
            for running, value in ((running_mean, mean), (running_var, var)):
                running.value = self.momentum * running.value + (1 - self.momentum) * value
        return y


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalise(x, scale, bias, epsilon, dtype):
    """Returns (y, mean, biased variance)."""
    return _forward(x, scale, bias, epsilon, dtype)[0]


def _forward(x, scale, bias, epsilon, dtype):
    wide = x.astype(jnp.float32)
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(wide, axes)
    var = jnp.maximum(jnp.mean(jnp.square(wide), axes) - jnp.square(mean), 0)
    inverse = lax.rsqrt(var + epsilon)
    y = ((wide - mean) * (scale * inverse) + bias).astype(dtype)
    return (y, mean, var), (x, scale, mean, inverse)


def _backward(epsilon, dtype, saved, gradients):
    x, scale, mean, inverse = saved
    dy = gradients[0].astype(jnp.float32)  # the running statistics are not differentiated
    axes = tuple(range(x.ndim - 1))
    images = x.size // x.shape[-1]
    wide = x.astype(jnp.float32)
    d_bias = jnp.sum(dy, axes)
    d_scale = (jnp.sum(dy * wide, axes) - mean * d_bias) * inverse
    # dy - mean of dy - normalised x * mean of (dy * normalised x), times the slope; as one line a x + b
    slope = scale * inverse
    bend = slope * inverse * d_scale / images
    dx = dy * slope - wide * bend + (mean * bend - slope * d_bias / images)
    return dx.astype(x.dtype), d_scale, d_bias


_normalise.defvjp(_forward, _backward)


def batch_norm(train: bool, *, momentum: float = 0.9, epsilon: float = 1e-5, dtype: str):
    """Returns a maker of BatchNorms (arXiv:1502.03167). PyTorch's momentum 0.1 is 0.9 here."""
    return partial(
        either(BatchNorm, nn.BatchNorm),
        use_running_average=not train,
        momentum=0.0 if _of_one_batch else momentum,
        epsilon=epsilon,
        dtype=dtype,
    )


@contextlib.contextmanager
def keep_batch_statistics() -> Iterator[None]:
    """Within it, networks that are traced leave the statistics of the batch behind, and none of before."""
    global _of_one_batch
    before, _of_one_batch = _of_one_batch, True
    try:
        yield
    finally:
        _of_one_batch = before


def local_response_norm(x, *, alpha: float, k: float, size: int = 5, beta: float = 0.75):
    """Divides each activation by (k + alpha * sum of squares of `size` channels around) ** beta.

    AlexNet, section 3.3: k = 2, alpha = 1e-4. Caffe and PyTorch divide their alpha by `size` and set
    k = 1: their "alpha = 1e-4" is alpha = 2e-5 here. The window is cut at the first and last channel.
    """
    squares = jnp.square(x.astype(jnp.float32))
    before = size // 2
    squares = jnp.pad(squares, ((0, 0), (0, 0), (0, 0), (before, size - 1 - before)))
    window = sum(squares[..., i : i + x.shape[-1]] for i in range(size))
    return (x / (k + alpha * window) ** beta).astype(x.dtype)
