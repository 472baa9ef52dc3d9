"""ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices (Zhang et al., 2017).

arXiv:1707.01083, table 1. Scale 1x, parameters and multiply-adds at 224 x 224:

  groups  parameters  multiply-adds
  1       1,531,936   143,078,976
  2       1,733,848   140,836,512
  3       1,865,728   137,460,672
  4       1,968,344   134,339,776
  8       2,434,768   138,365,952

The paper's complexities leave out the classifier. It does not say how channels are rounded at other
scales. Here, up to 1x, they go up to a multiple of 4 x groups, and the stem's to a multiple of groups
(tensorpack); above, the stem has 24 (1.5x) or 48 channels (2x) and the bottleneck goes up to a multiple
of groups (the authors' code for groups 3 and 8). The authors' code shuffles in the other direction.
pytorchcv, whose weights have a scale of 0.75, too, appends the pooled input to the convolutions.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from models import layers
from models.layers import stages

CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # of the second stage (table 1)
UNITS = (4, 8, 4)


class Unit(nn.Module):
    """Grouped 1x1, BN, ReLU, shuffle, depthwise 3x3, BN, grouped 1x1, BN (figure 2b, c).

    With stride 1 added to the input, with stride 2 appended to its 3x3 average pooling, or with
    `pooled_last` put before it; then ReLU.
    """

    features: int
    bottleneck: int
    stride: int
    groups: int
    first: bool  # its first convolution is not grouped: the input has few channels
    shuffle: bool
    pooled_last: bool
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x):
        branch = self.features - x.shape[-1] if self.stride == 2 else self.features
        y = self.conv(self.bottleneck, 1, groups=1 if self.first else self.groups, name="conv1")(x)
        y = layers.relu(self.norm(name="bn1")(y))
        y = layers.channel_shuffle(y, self.groups) if self.shuffle else y
        y = self.conv(self.bottleneck, 3, self.stride, groups=self.bottleneck, name="conv2")(y)
        y = self.norm(name="bn2")(y)
        y = self.conv(branch, 1, groups=self.groups, name="conv3")(y)
        y = self.norm(name="bn3")(y)
        if self.stride == 1:
            return layers.relu(x + y)
        x = layers.avg_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        both = [y, x] if self.pooled_last else [x, y]
        return layers.relu(jnp.concatenate(both, axis=-1))


class Model(nn.Module):
    """Three stages of units with channel shuffle.

    Raises:
      ValueError: a number of groups, a scale or a stem that is not there.
    """

    num_classes: int
    groups: int = 3
    scale: float = 1.0  # of the channels: 0.25, 0.5, 0.75, 1, 1.5, 2
    shuffle: bool = True  # False: the ablation of table 3
    pooled_last: bool = False  # a unit with stride 2 ends in its pooled input, as in pytorchcv
    stem: str = "imagenet"  # "small": stride 1 and no max pooling, for images of 32 to 64
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("groups", self.groups, tuple(CHANNELS))
        layers.one_of("scale", self.scale, (0.25, 0.5, 0.75, 1.0, 1.5, 2.0))
        layers.one_of("stem", self.stem, ("imagenet", "small"))
        conv = partial(layers.conv, kernel_init=layers.HE_FAN_IN, dtype=self.dtype)
        norm = layers.batch_norm(train, dtype=self.dtype)
        g = self.groups
        if self.scale <= 1:
            stem, rounded = multiple_of(24 * self.scale, g), 4 * g
        else:
            stem, rounded = (24 if self.scale == 1.5 else 48), 1

        x = conv(stem, 3, 2 if self.stem == "imagenet" else 1, name="conv1")(x)
        x = layers.relu(norm(name="bn1")(x))
        if self.stem == "imagenet":
            x = layers.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        x = layers.see(self, "stem", x)
        for stage, units in enumerate(UNITS):
            features = multiple_of(CHANNELS[g] * 2**stage * self.scale, rounded)
            made = tuple(
                partial(
                    Unit,
                    features,
                    bottleneck=multiple_of(features / 4, g),
                    stride=2 if i == 0 else 1,
                    groups=g,
                    first=stage == 0 and i == 0,
                    shuffle=self.shuffle,
                    pooled_last=self.pooled_last,
                    conv=conv,
                    norm=norm,
                )
                for i in range(units)
            )
            x = stages.Stage(made, name=f"stage{stage + 2}")(x)
            x = layers.see(self, f"stage{stage + 2}", x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)


def multiple_of(channels: float, divisor: int) -> int:
    """Rounds up to a multiple of `divisor`."""
    return int(-(-channels // divisor) * divisor)
