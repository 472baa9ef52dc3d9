"""ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design (Ma et al., 2018).

arXiv:1807.11164, table 5. Parameters and multiply-adds at 224 x 224:

  width multiplier  parameters  multiply-adds
  0.5               1,366,792    40,476,448
  1.0               2,278,604   144,907,992
  1.5               3,503,624   295,759,392
  2.0               7,393,996   583,253,464

The shuffle is at the end of a unit, as in the paper and in torchvision; the authors' code has it at the
start of the next one. pytorchcv's first networks (without "b") pool without padding in the stem.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from models import layers
from models.layers import stages

CHANNELS = {  # of the three stages and of conv5
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
UNITS = (4, 8, 4)


class Unit(nn.Module):
    """Half of the channels: 1x1, BN, ReLU, depthwise 3x3, BN, 1x1, BN, ReLU; the rest untouched.

    With stride 2 both branches see all channels, and the other is depthwise 3x3, BN, 1x1, BN, ReLU.
    Concatenated, then shuffled in two groups (figure 3c, d).
    """

    features: int
    stride: int
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x):
        half = self.features // 2
        if self.stride == 1:
            left, right = jnp.split(x, 2, axis=-1)
        else:
            left = right = x
            left = self.conv(x.shape[-1], 3, 2, groups=x.shape[-1], name="left_conv1")(left)
            left = self.norm(name="left_bn1")(left)
            left = self.conv(half, 1, name="left_conv2")(left)
            left = layers.relu(self.norm(name="left_bn2")(left))
        right = self.conv(half, 1, name="right_conv1")(right)
        right = layers.relu(self.norm(name="right_bn1")(right))
        right = self.conv(half, 3, self.stride, groups=half, name="right_conv2")(right)
        right = self.norm(name="right_bn2")(right)
        right = self.conv(half, 1, name="right_conv3")(right)
        right = layers.relu(self.norm(name="right_bn3")(right))
        return layers.channel_shuffle(jnp.concatenate([left, right], axis=-1), 2)


class Model(nn.Module):
    """Three stages of units that split, transform one half, and shuffle.

    Raises:
      ValueError: a width multiplier or a stem that is not there.
    """

    num_classes: int
    width_multiplier: float = 1.0  # 0.5, 1, 1.5, 2
    stem: str = "imagenet"  # "small": stride 1 and no max pooling, for images of 32 to 64
    ceil_pooling: bool = False  # the stem's has no padding, its windows may hang over the edge
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("width_multiplier", self.width_multiplier, tuple(CHANNELS))
        layers.one_of("stem", self.stem, ("imagenet", "small"))
        conv = partial(layers.conv, kernel_init=layers.HE_FAN_IN, dtype=self.dtype)
        norm = layers.batch_norm(train, dtype=self.dtype)
        *widths, last = CHANNELS[self.width_multiplier]

        x = conv(24, 3, 2 if self.stem == "imagenet" else 1, name="conv1")(x)
        x = layers.relu(norm(name="bn1")(x))
        if self.stem == "imagenet" and self.ceil_pooling:
            x = layers.max_pool_ceil(x, 3, 2)
        elif self.stem == "imagenet":
            x = layers.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        x = layers.see(self, "stem", x)
        for stage, (features, units) in enumerate(zip(widths, UNITS, strict=True), 2):
            unit = partial(Unit, features, conv=conv, norm=norm)
            made = (partial(unit, stride=2), *[partial(unit, stride=1)] * (units - 1))
            x = stages.Stage(made, name=f"stage{stage}")(x)
            x = layers.see(self, f"stage{stage}", x)
        x = conv(last, 1, name="conv5")(x)
        x = layers.relu(norm(name="bn5")(x))
        x = layers.see(self, "conv5", x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)
