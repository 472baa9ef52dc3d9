"""What the networks share.

The operations of this folder are fast on the CPU, too; docs/performance.md says how.
"""

import operator

import flax.linen as nn
import jax.numpy as jnp

from models.layers.activation import relu, relu6
from models.layers.convolution import convolve
from models.layers.drop_path import drop_path, stochastic_depth
from models.layers.fusion import materialize
from models.layers.normalization import (
    batch_norm,
    keep_batch_statistics,
    local_response_norm,
)
from models.layers.pooling import adaptive_average_pool, avg_pool, max_pool, max_pool_ceil
from models.layers.switch import use_stock

__all__ = [
    "HE_FAN_IN",
    "HE_FAN_OUT",
    "adaptive_average_pool",
    "avg_pool",
    "batch_norm",
    "channel_shuffle",
    "check_not_empty",
    "conv",
    "convolve",
    "drop_path",
    "keep_batch_statistics",
    "local_response_norm",
    "materialize",
    "max_pool",
    "max_pool_ceil",
    "one_of",
    "relu",
    "relu6",
    "see",
    "stochastic_depth",
    "use_stock",
]

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
    convolve=convolve,
    name: str | None = None,
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
      name: of the layer.
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
        name=name,
    )


def channel_shuffle(x, groups: int):
    """Spreads the channels of each group over all groups (arXiv:1707.01083, section 3.1).

    The channels are seen as (groups, n), transposed, and flattened: 0 1 2 3 4 5 in three groups
    become 0 2 4 1 3 5.
    """
    *shape, channels = x.shape
    x = x.reshape(*shape, groups, channels // groups)
    return jnp.swapaxes(x, -1, -2).reshape(*shape, channels)


def see(network: nn.Module, name: str, x):
    """Returns a feature map, and lets `models.features` see it, under a name that a layer may have, too.

    What "perturbations" has under that name is added, so that a gradient can be taken by the map.
    """
    network.sow("intermediates", "features", {name: x}, init_fn=dict, reduce_fn=operator.or_)
    added = network.get_variable("perturbations", name)
    return x if added is None else x + added


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
