"""What three or more of the networks share."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.convolution import convolution
from models.normalization import BatchNorm
from models.pooling import max_pool

HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # arXiv:1502.01852
HE_FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def conv(
    features: int,
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    *,
    padding: int | str | None = None,
    groups: int = 1,
    dilation: int = 1,
    use_bias: bool = False,
    kernel_init=HE_FAN_OUT,
    bias_init=nn.initializers.zeros,
    dtype: str = "float32",
    convolve=convolution,
) -> nn.Conv:
    """Returns a convolution of NHWC images.

    Args:
      features: output channels.
      kernel: side of the kernel, or (height, width).
      stride: of both sides, or (vertical, horizontal).
      padding: zeros on each side; None: half of what the kernel covers; or "SAME" or "VALID", TensorFlow's.
      groups: number of them into which the input and output channels are split (AlexNet, section 3.5).
      dilation: distance of the pixels that neighbouring weights see.
      use_bias: whether each output channel has a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
      dtype: of the computation; the parameters are float32.
      convolve: what computes it, with the signature of `jax.lax.conv_general_dilated`.
    """
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    if padding is None:
        padding = [(side // 2 * dilation, side // 2 * dilation) for side in kernel]
    return nn.Conv(
        features,
        kernel,
        strides=stride,
        padding=padding,
        feature_group_count=groups,
        kernel_dilation=dilation,
        use_bias=use_bias,
        kernel_init=kernel_init,
        bias_init=bias_init,
        dtype=dtype,
        conv_general_dilated=convolve,
    )


@jax.custom_vjp
def relu(x):
    """Returns max(x, 0). Its gradient needs the result alone, so x need not be kept."""
    return jnp.maximum(x, 0)


relu.defvjp(lambda x: (relu(x), relu(x)), lambda y, dy: (jnp.where(y > 0, dy, 0),))


@jax.custom_vjp
def relu6(x):
    """Returns x cut to [0, 6]; as `relu`."""
    return jnp.clip(x, 0, 6)


relu6.defvjp(lambda x: (relu6(x), relu6(x)), lambda y, dy: (jnp.where((y > 0) & (y < 6), dy, 0),))


def batch_norm(train: bool, *, momentum: float = 0.9, epsilon: float = 1e-5, dtype: str):
    """Returns a maker of BatchNorms (arXiv:1502.03167). PyTorch's momentum 0.1 is 0.9 here."""
    return partial(
        BatchNorm,
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        dtype=dtype,
    )


def max_pool_ceil(x, window: int, stride: int):
    """Max pooling without padding whose last window may hang over the edge, as in Caffe."""
    padding = []
    for size in x.shape[1:3]:
        last = -(-max(size - window, 0) // stride) * stride  # where the last window starts
        padding.append((0, max(last + window - size, 0)))
    return max_pool(x, (window, window), strides=(stride, stride), padding=padding)


def adaptive_average_pool(x, size: int):
    """Averages [N, height, width, C] to [N, size, size, C], as PyTorch's AdaptiveAvgPool2d.

    Window i of n input rows covers floor(i n / size) to ceil((i + 1) n / size), so that windows may
    overlap, and repeat where the input is smaller.
    """
    for axis in (1, 2):
        n = x.shape[axis]
        if n != size:
            windows = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
            means = [jax.lax.slice_in_dim(x, a, b, axis=axis).mean(axis) for a, b in windows]
            x = jnp.stack(means, axis)
    return x


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


def channel_shuffle(x, groups: int):
    """Spreads the channels of each group over all groups (arXiv:1707.01083, section 3.1).

    The channels are seen as (groups, n), transposed, and flattened: 0 1 2 3 4 5 in three groups
    become 0 2 4 1 3 5.
    """
    *shape, channels = x.shape
    x = x.reshape(*shape, groups, channels // groups)
    return jnp.swapaxes(x, -1, -2).reshape(*shape, channels)


def check_not_empty(x) -> None:
    """Raises ValueError where pooling has left nothing of a feature map [N, height, width, C]."""
    if 0 in x.shape[1:3]:
        raise ValueError(
            "the images are too small for this network, nothing is left of the feature maps: "
            "set a larger input.image_size, or model.stem=small where the network has it"
        )


def one_of(field: str, value, choices: tuple) -> None:
    """Raises ValueError, listing the choices, where `value` is none of them."""
    if value not in choices:
        raise ValueError(f"{field} {value!r}: choose one of {', '.join(map(str, choices))}")
