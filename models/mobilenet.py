"""MobileNet: Efficient Convolutional Neural Networks for Mobile Vision Applications (Howard et al., 2017).

arXiv:1704.04861, table 1. Parameters and multiply-adds at 224 x 224:

  width multiplier  parameters  multiply-adds
  1.0               4,231,976   568,740,352
  0.75              2,585,560   325,400,448
  0.5               1,331,592   149,497,088
  0.25                470,072    41,030,272

The paper's table prints stride 2 for the last depthwise convolution, but its map stays 7 x 7: the stride
is 1. TensorFlow pads only below and on the right where the stride is 2 ("SAME", the paper's); PyTorch's
ports pad alike on both sides. The paper has ReLU; TF-slim, Keras and timm have ReLU6.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from models import layers

# (stride, output channels) of the 13 separable convolutions
BODY = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *((1, 512),) * 5,
    *((2, 1024), (1, 1024)),
)
TRUNCATED_NORMAL = nn.initializers.truncated_normal(0.09)  # TF-slim's


class SeparableConv(nn.Module):
    """Depthwise 3x3, BN, ReLU, pointwise 1x1, BN, ReLU (figure 3, right)."""

    features: int
    stride: int
    conv: Callable
    norm: Callable
    activation: Callable

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        x = self.conv(channels, 3, self.stride, groups=channels, name="depthwise")(x)
        x = self.activation(self.norm(name="bn1")(x))
        x = self.conv(self.features, 1, name="pointwise")(x)
        return self.activation(self.norm(name="bn2")(x))


class Model(nn.Module):
    """A convolution and thirteen depthwise separable ones.

    Raises:
      ValueError: a padding, an activation or a stem that is not there.
    """

    num_classes: int
    width_multiplier: float = 1.0
    padding: str = "SAME"  # TensorFlow's; "symmetric": PyTorch's
    activation: str = "relu"  # "relu6"
    separable: bool = True  # False: full convolutions (table 4)
    shallow: bool = False  # without the five layers 14 x 14 x 512 (table 5)
    head_conv: bool = False  # a 1x1 to 1024, BN, activation before the pooling: mobilenetv1_100h
    stem: str = "imagenet"  # "small": strides of 1 in the first and third convolution; 32 to 64
    dropout: float = 0.001
    epsilon: float = 1e-3  # of BatchNorm: TF-slim's, Keras's; 1e-5: timm's
    bn_momentum: float = 0.9997  # TF-slim's, for long runs; short ones need 0.9
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("padding", self.padding, ("SAME", "symmetric"))
        layers.one_of("activation", self.activation, ("relu", "relu6"))
        layers.one_of("stem", self.stem, ("imagenet", "small"))
        small = self.stem == "small"
        activation = layers.relu6 if self.activation == "relu6" else layers.relu
        conv = partial(
            layers.conv,
            padding="SAME" if self.padding == "SAME" else None,
            kernel_init=TRUNCATED_NORMAL,
            dtype=self.dtype,
        )
        norm = layers.batch_norm(
            train, momentum=self.bn_momentum, epsilon=self.epsilon, dtype=self.dtype
        )

        def width(channels):
            return max(int(channels * self.width_multiplier), 8)

        x = conv(width(32), 3, 1 if small else 2, name="conv1")(x)
        x = activation(norm(name="bn1")(x))
        x = layers.see(self, "stem", x)
        for i, (stride, channels) in enumerate(BODY, 2):
            if self.shallow and i in range(8, 13):
                continue
            name, stride = f"conv{i}", 1 if small and i == 3 else stride
            if self.separable:
                x = SeparableConv(width(channels), stride, conv, norm, activation, name=name)(x)
            else:
                x = conv(width(channels), 3, stride, name=name)(x)
                x = activation(norm(name=f"bn{i}")(x))
            x = layers.see(self, name, x)
        if self.head_conv:
            x = conv(1024, 1, name="head_conv")(x)
            x = activation(norm(name="head_bn")(x))
            x = layers.see(self, "head_conv", x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)
