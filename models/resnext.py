"""ResNeXt: Aggregated Residual Transformations for Deep Neural Networks (Xie et al., 2016).

arXiv:1611.05431, tables 1 and 2. Parameters and multiply-adds at 224 x 224:

  depth  cardinality x width  parameters  multiply-adds
  50     32 x 4d              25,028,904   4,230,479,872
  101    32 x 4d              44,177,704   7,969,996,800
  101    64 x 4d              83,455,272  15,460,270,080
  101    32 x 8d              88,791,336  16,414,015,488
  50     1 x 64d              25,557,032   4,089,184,256 (ResNet-50)
  50     2 x 40d, 4 x 24d, 8 x 14d: the same cost with other cardinalities (table 3)

CIFAR ResNeXt-29 (section 5.3): 8 x 64d has 34,426,698 parameters, 16 x 64d 68,155,210. The stride of a
block is in its grouped 3x3 convolution, as in the authors' code. Blocks are in form C (figure 3): one
grouped convolution, equal to the sum of the paths of forms A and B.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from models import layers
from models.layers import stages
from models.resnet import Shortcut

STAGES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


class Block(nn.Module):
    """1x1, BN, ReLU, grouped 3x3, BN, ReLU, 1x1, BN, plus shortcut, ReLU (figure 3c)."""

    width: int  # of each path times cardinality
    features: int
    stride: int
    cardinality: int
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x, drop=None):
        y = self.conv(self.width, 1, name="conv1")(x)
        y = layers.relu(self.norm(name="bn1")(y))
        y = self.conv(self.width, 3, self.stride, groups=self.cardinality, name="conv2")(y)
        y = layers.relu(self.norm(name="bn2")(y))
        y = self.conv(self.features, 1, name="conv3")(y)
        y = self.norm(name="bn3")(y)
        shortcut = Shortcut(
            self.features, self.stride, "B", "after", self.conv, self.norm, name="shortcut"
        )
        return layers.relu(shortcut(x) + layers.drop_path(y, drop))


class Model(nn.Module):
    """An aggregated residual network.

    Raises:
      ValueError: a depth or a layout that the paper does not have.
    """

    num_classes: int
    depth: int = 50
    cardinality: int = 32  # number of paths
    base_width: int = 4  # channels of a path in the first stage
    layout: str = "imagenet"  # "cifar": section 5.3, three stages, depth 9n + 2
    drop_path_rate: float = 0.0  # stochastic depth: of the last block, see layers.stochastic_depth
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        depths = blocks_per_stage(self.layout, self.depth)
        conv = partial(layers.conv, dtype=self.dtype)
        norm = layers.batch_norm(train, dtype=self.dtype)
        if self.layout == "imagenet":
            x = conv(64, 7, 2, name="conv1")(x)
            x = layers.relu(norm(name="bn1")(x))
            x = layers.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        else:
            x = conv(64, 3, name="conv1")(x)
            x = layers.relu(norm(name="bn1")(x))
        x = layers.see(self, "stem", x)
        keeps = layers.stochastic_depth(self.drop_path_rate if train else 0, depths)
        for stage, blocks in enumerate(depths):
            made = tuple(
                partial(
                    Block,
                    width=self.cardinality * self.base_width * 2**stage,
                    features=256 * 2**stage,
                    stride=2 if stage > 0 and i == 0 else 1,
                    cardinality=self.cardinality,
                    conv=conv,
                    norm=norm,
                )
                for i in range(blocks)
            )
            x = stages.Stage(made, keeps=keeps[stage], name=f"stage{stage + 1}")(x)
            x = layers.see(self, f"stage{stage + 1}", x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)


def blocks_per_stage(layout: str, depth: int) -> tuple[int, ...]:
    """Returns how many blocks each stage has (table 1; section 5.3)."""
    layers.one_of("layout", layout, ("imagenet", "cifar"))
    if layout == "imagenet":
        layers.one_of("depth", depth, tuple(STAGES))
        return STAGES[depth]
    if depth < 11 or (depth - 2) % 9:
        raise ValueError(f"depth {depth}: a CIFAR ResNeXt has 9n + 2 layers: 11, 20, 29, 38")
    return ((depth - 2) // 9,) * 3
