"""ResNet: Deep Residual Learning for Image Recognition (He et al., 2015), arXiv:1512.03385.

ImageNet networks (table 1), parameters and multiply-adds at 224 x 224:

  depth  block       parameters   multiply-adds
  18     basic       11,689,512    1,814,073,344
  34     basic       21,797,672    3,663,761,408
  50     bottleneck  25,557,032    3,857,973,248 (stride in the 1x1),  4,089,184,256 (in the 3x3)
  101    bottleneck  44,549,160    7,570,194,432                       7,801,405,440
  152    bottleneck  60,192,808   11,282,415,616                      11,513,626,624

CIFAR networks (section 4.2), depth 6n + 2, shortcut A: 20 has 269,722 parameters, 32 464,154,
44 658,586, 56 853,018, 110 1,727,962, 1202 19,421,274.

What differs from the paper, each by a field: torchvision and NVIDIA put a bottleneck's stride in
its 3x3 convolution ("v1.5", `bottleneck_stride="3x3"`), the paper in the first 1x1; both are
common. The scale of each block's last BatchNorm may start at zero (arXiv:1706.02677, section 5.1).
`residual=False` gives the paper's plain networks: the same layers without shortcuts. `stem="small"`
keeps table 1's stages for images of 32 to 64: conv1 is 3x3 with stride 1, and there is no max pooling, as
in much code for CIFAR-10, where 18 layers then have 11.2 million parameters.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from models import layers
from models.layers import stages

STAGES = {
    18: (2, 2, 2, 2),
    26: (2, 2, 2, 2),  # bottleneck; not in the paper, but timm publishes weights of it
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class Shortcut(nn.Module):
    """The input itself where the shape stays; else A: subsampled, padded with zeros; B: 1x1, BN.

    C is the 1x1, BN everywhere (section 3.3 and table 3). A's zeros come after the input's channels;
    in Idelbayev's CIFAR weights, half of them before and half after.
    """

    features: int
    stride: int
    option: str
    zeros: str
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x):
        same_shape = self.stride == 1 and x.shape[-1] == self.features
        if same_shape and self.option != "C":
            return x
        if self.option == "A":
            return shortcut_a(x, self.features, self.stride, self.zeros)
        x = self.conv(self.features, 1, self.stride, name="conv")(x)
        return self.norm(name="bn")(x)


def shortcut_a(x, features: int, stride: int, zeros: str = "after"):
    """Returns x, subsampled and padded with channels of zeros: a shortcut without parameters."""
    x = x[:, ::stride, ::stride]
    missing = features - x.shape[-1]
    before = missing // 2 if zeros == "around" else 0
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, missing - before)))


class BasicBlock(nn.Module):
    """3x3, BN, ReLU, 3x3, BN, plus shortcut, ReLU (figure 5, left)."""

    width: int
    stride: int
    conv: Callable
    norm: Callable
    last_scale: Callable
    shortcut: Callable | None

    @nn.compact
    def __call__(self, x, drop=None):
        y = self.conv(self.width, 3, self.stride, name="conv1")(x)
        y = layers.relu(self.norm(name="bn1")(y))
        y = self.conv(self.width, 3, name="conv2")(y)
        y = self.norm(scale_init=self.last_scale, name="bn2")(y)
        if self.shortcut is not None:
            y = layers.drop_path(y, drop)
            y += self.shortcut(self.width, self.stride, name="shortcut")(x)
        return layers.relu(y)


class BottleneckBlock(nn.Module):
    """1x1, BN, ReLU, 3x3, BN, ReLU, 1x1 to 4 x width, BN, plus shortcut, ReLU (figure 5, right)."""

    width: int
    stride: int
    conv: Callable
    norm: Callable
    last_scale: Callable
    shortcut: Callable | None
    stride_in: str

    @nn.compact
    def __call__(self, x, drop=None):
        stride_1x1, stride_3x3 = (self.stride, 1) if self.stride_in == "1x1" else (1, self.stride)
        y = self.conv(self.width, 1, stride_1x1, name="conv1")(x)
        y = layers.relu(self.norm(name="bn1")(y))
        y = self.conv(self.width, 3, stride_3x3, name="conv2")(y)
        y = layers.relu(self.norm(name="bn2")(y))
        y = self.conv(4 * self.width, 1, name="conv3")(y)
        y = self.norm(scale_init=self.last_scale, name="bn3")(y)
        if self.shortcut is not None:
            y = layers.drop_path(y, drop)
            y += self.shortcut(4 * self.width, self.stride, name="shortcut")(x)
        return layers.relu(y)


class Model(nn.Module):
    """A residual network, or its plain twin.

    Raises:
      ValueError: a depth or an option that the paper does not have.
    """

    num_classes: int
    depth: int = 50
    layout: str = "imagenet"  # table 1; "cifar": section 4.2, for images of about 32 x 32
    stem: str = "imagenet"  # "small": conv1 3x3, stride 1, no max pooling; for images of 32 to 64
    residual: bool = True  # False: the plain network
    shortcut: str = "B"  # "A", "B" or "C"
    shortcut_zeros: str = "after"  # where A pads the channels; "around": as in Idelbayev's weights
    bottleneck_stride: str = "3x3"  # v1.5; "1x1": the paper's
    zero_init_last: bool = False  # never on plain networks, which would output zero
    drop_path_rate: float = 0.0  # stochastic depth: of the last block, see layers.stochastic_depth
    scan: bool = False  # the blocks of a stage are compiled once, see stages.chain
    remat: bool = False  # less memory, more time, see stages.chain
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        depths = blocks_per_stage(self.layout, self.depth)
        layers.one_of("stem", self.stem, ("imagenet", "small"))
        layers.one_of("shortcut", self.shortcut, ("A", "B", "C"))
        layers.one_of("shortcut_zeros", self.shortcut_zeros, ("after", "around"))
        layers.one_of("bottleneck_stride", self.bottleneck_stride, ("1x1", "3x3"))

        conv = partial(layers.conv, dtype=self.dtype)
        norm = layers.batch_norm(train, dtype=self.dtype)
        if self.layout == "imagenet" and self.depth not in (18, 34):
            block = partial(BottleneckBlock, stride_in=self.bottleneck_stride)
        else:
            block = BasicBlock
        block = partial(
            block,
            conv=conv,
            norm=norm,
            last_scale=nn.initializers.constant(
                0.0 if self.zero_init_last and self.residual else 1.0
            ),
            shortcut=partial(
                Shortcut, option=self.shortcut, zeros=self.shortcut_zeros, conv=conv, norm=norm
            )
            if self.residual
            else None,
        )

        if self.layout == "imagenet":
            width = 64
            kernel, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
            x = conv(width, kernel, stride, name="conv1")(x)
            x = layers.relu(norm(name="bn1")(x))
            if self.stem == "imagenet":
                x = layers.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        else:
            width = 16
            x = conv(width, 3, name="conv1")(x)
            x = layers.relu(norm(name="bn1")(x))
        x = layers.see(self, "stem", x)
        keeps = layers.stochastic_depth(self.drop_path_rate if train else 0, depths)
        for stage, blocks in enumerate(depths):
            strides = (2 if stage > 0 else 1, *(1,) * (blocks - 1))
            made = tuple(partial(block, width * 2**stage, stride=stride) for stride in strides)
            x = stages.Stage(made, self.scan, self.remat, keeps[stage], name=f"stage{stage + 1}")(x)
            x = layers.see(self, f"stage{stage + 1}", x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)


def blocks_per_stage(layout: str, depth: int) -> tuple[int, ...]:
    """Returns how many blocks each stage has (table 1; section 4.2)."""
    layers.one_of("layout", layout, ("imagenet", "cifar"))
    if layout == "imagenet":
        layers.one_of("depth", depth, tuple(STAGES))
        return STAGES[depth]
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(
            f"depth {depth}: a CIFAR ResNet has 6n + 2 layers: 8, 14, 20, 32, 44, 56, 110"
        )
    return ((depth - 2) // 6,) * 3
