"""DenseNet: Densely Connected Convolutional Networks (Huang et al., 2016), arXiv:1608.06993, table 1.

ImageNet (224 x 224), bottleneck layers and compression ("BC"), parameters and multiply-adds:

  depth  growth rate  parameters  multiply-adds
  121    32            7,978,856  2,834,161,664
  169    32           14,149,480  3,359,843,328
  201    32           20,013,928  4,291,365,888
  161    48           28,681,000  7,727,907,072
  264    32           33,337,704  5,751,653,376

CIFAR (32 x 32, section 3), three blocks: depth 40, growth rate 12 without bottleneck has 1,019,722
parameters; DenseNet-BC 100, 12 has 769,162; 250, 24 15,324,406; 190, 40 25,624,430. The stem has 16
channels, or 2 x growth rate in BC; the authors' Lua code always has the latter. pytorchcv's 40, 12
without bottleneck, 599,050 parameters, is such a network with `compression`. Convolutions start as
in torchvision (He, fan-in); the authors' code has fan-out.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from models import layers
from models.layers import stages

BLOCKS = {
    121: (6, 12, 24, 16),
    161: (6, 12, 36, 24),
    169: (6, 12, 32, 32),
    201: (6, 12, 48, 32),
    264: (6, 12, 64, 48),
}


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1 to 4 x growth rate, BN, ReLU, 3x3 to growth rate; appended to the input.

    Without bottleneck: BN, ReLU, 3x3. Dropout, where there is any, after each convolution.
    """

    growth_rate: int
    bottleneck: bool
    conv: Callable
    norm: Callable
    drop: Callable

    @nn.compact
    def __call__(self, x):
        y = layers.relu(self.norm(name="bn1")(x))
        if self.bottleneck:
            y = self.drop()(self.conv(4 * self.growth_rate, 1, name="conv1")(y))
            y = layers.relu(self.norm(name="bn2")(y))
        last = "conv2" if self.bottleneck else "conv1"
        y = self.drop()(self.conv(self.growth_rate, 3, name=last)(y))
        return layers.materialize(jnp.concatenate([x, y], axis=-1))


class DenseBlock(nn.Module):
    """Dense layers, of which each sees the maps of all before."""

    depth: int
    layer: Callable
    remat: bool

    @nn.compact
    def __call__(self, x):
        for i in range(1, self.depth + 1):
            x = stages.call(self.layer(name=f"layer{i}"), x, remat=self.remat)
        return x


class Transition(nn.Module):
    """BN, ReLU, 1x1, 2x2 average pooling."""

    features: int
    conv: Callable
    norm: Callable
    drop: Callable

    @nn.compact
    def __call__(self, x):
        x = layers.relu(self.norm(name="bn")(x))
        x = self.drop()(self.conv(self.features, 1, name="conv")(x))
        return layers.avg_pool(x, (2, 2), strides=(2, 2))


class Model(nn.Module):
    """A densely connected network.

    Raises:
      ValueError: a depth or a layout that the paper does not have.
    """

    num_classes: int
    depth: int = 121
    growth_rate: int = 32  # 48 for depth 161
    layout: str = "imagenet"  # "cifar": section 3, three blocks
    bottleneck: bool = True  # and compression: "BC"; False: CIFAR only
    compression: bool = False  # without bottleneck, too: "C", with a stem of 2 x growth rate
    dropout: float = 0.0  # 0.2 on CIFAR without augmentation
    remat: bool = False  # less memory, more time, see stages.call (arXiv:1707.06990)
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        blocks = layers_per_block(self.layout, self.depth, self.bottleneck)
        conv = partial(layers.conv, kernel_init=layers.HE_FAN_IN, dtype=self.dtype)
        norm = layers.batch_norm(train, dtype=self.dtype)
        drop = partial(nn.Dropout, self.dropout, deterministic=not train)
        compression = self.bottleneck or self.compression
        layer = partial(DenseLayer, self.growth_rate, self.bottleneck, conv, norm, drop)
        if self.layout == "imagenet":
            x = conv(2 * self.growth_rate, 7, 2, name="conv1")(x)
            x = layers.relu(norm(name="bn1")(x))
            x = layers.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        else:
            x = conv(2 * self.growth_rate if compression else 16, 3, name="conv1")(x)
        x = layers.see(self, "stem", x)
        for block, dense_layers in enumerate(blocks, 1):
            x = DenseBlock(dense_layers, layer, self.remat, name=f"block{block}")(x)
            x = layers.see(self, f"block{block}", x)
            if block < len(blocks):
                features = x.shape[-1] // 2 if compression else x.shape[-1]
                x = Transition(features, conv, norm, drop, name=f"transition{block}")(x)
        layers.check_not_empty(x)
        x = layers.see(self, "last", layers.relu(norm(name="last_bn")(x)))
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)


def layers_per_block(layout: str, depth: int, bottleneck: bool) -> tuple[int, ...]:
    """Returns how many layers each dense block has (table 1; section 3, "Implementation details")."""
    layers.one_of("layout", layout, ("imagenet", "cifar"))
    if layout == "imagenet":
        layers.one_of("depth", depth, tuple(BLOCKS))
        layers.one_of("bottleneck", bottleneck, (True,))
        return BLOCKS[depth]
    if depth < 10 or (depth - 4) % (6 if bottleneck else 3):
        raise ValueError(
            f"depth {depth}: a CIFAR DenseNet has 3n + 4 layers, for example 40 or 100; "
            "with bottleneck 6n + 4, for example 100, 190 or 250"
        )
    return ((depth - 4) // (6 if bottleneck else 3),) * 3
