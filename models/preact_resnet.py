"""Pre-activation ResNet: Identity Mappings in Deep Residual Networks (He et al., 2016).

arXiv:1603.05027. ImageNet (224 x 224), CIFAR (32 x 32), parameters and multiply-adds:

  depth            parameters    multiply-adds (stride in the 3x3, in the 1x1)
  50               25,549,480     4,089,184,256,  3,857,973,248 (with `first_unit_norm`)
  200              64,666,152    15,007,481,856, 14,776,270,848
  CIFAR 110 basic   1,727,962       252,887,680 (shortcut A)
  CIFAR 164         1,703,258       247,646,720,    244,500,992
  CIFAR 1001       10,327,706     1,490,995,712,  1,487,849,984

A unit is BN, ReLU, convolution, repeated, plus the shortcut: nothing after the addition, so that the
signal can pass from any unit to any other unchanged. The first unit has no BN and ReLU of its own: the
stem's serve (appendix). `first_unit_norm` adds them, as other code bases do; without `stem_norm` it has
them alone, as in pytorchcv's CIFAR networks, and its shortcut starts before them. `order` gives the five
orderings of figure 4, which the paper compares.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from models import layers
from models.layers import stages
from models.resnet import shortcut_a

STAGES = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
ORDERS = (
    "original",  # (a) conv, BN, ReLU, conv, BN, addition, ReLU
    "bn_after_addition",  # (b) conv, BN, ReLU, conv, addition, BN, ReLU
    "relu_before_addition",  # (c) conv, BN, ReLU, conv, BN, ReLU, addition
    "relu_only_preactivation",  # (d) ReLU, conv, BN, ReLU, conv, BN, addition
    "full_preactivation",  # (e) BN, ReLU, conv, BN, ReLU, conv, addition
)


class Shortcut(nn.Module):
    """Where the shape changes. A: subsampled, padded with zeros; B: 1x1, and BN where there is any."""

    features: int
    stride: int
    option: str
    conv: Callable
    norm: Callable | None

    @nn.compact
    def __call__(self, x):
        if self.option == "A":
            return shortcut_a(x, self.features, self.stride)
        x = self.conv(self.features, 1, self.stride, name="conv")(x)
        return self.norm(name="bn")(x) if self.norm else x


class Unit(nn.Module):
    """A residual unit in one of the orders of figure 4, with two or, in a bottleneck, three convolutions.

    A unit that changes the shape, and the first one, activate before they split: the shortcut, too,
    starts from BN, ReLU (appendix).
    """

    convolutions: tuple[tuple[int, int, int], ...]  # features, kernel, stride of each
    order: str
    option: str
    first: bool  # the stem has activated the input already
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x, drop=None):
        features = self.convolutions[-1][0]
        stride = max(stride for _, _, stride in self.convolutions)
        same_shape = stride == 1 and x.shape[-1] == features
        full = self.order == "full_preactivation"
        pre = full or self.order == "relu_only_preactivation"

        y = x
        if pre and not self.first:
            y = layers.relu(self.norm(name="bn1")(x) if full else x)
        shortcut = x
        if not same_shape:
            # Where BN comes after each convolution, it comes after this one.
            norm = None if self.order in ("full_preactivation", "bn_after_addition") else self.norm
            shortcut = Shortcut(features, stride, self.option, self.conv, norm, name="shortcut")(y)
        for i, (width, kernel, step) in enumerate(self.convolutions, 1):
            if i > 1:
                bn = f"bn{i}" if full else f"bn{i - 1}"  # each before its convolution, or after it
                y = layers.relu(self.norm(name=bn)(y))
            y = self.conv(width, kernel, step, name=f"conv{i}")(y)
        if self.order in ("original", "relu_before_addition", "relu_only_preactivation"):
            y = self.norm(name=f"bn{i}")(y)
        if self.order == "relu_before_addition":
            y = layers.relu(y)
        y = layers.drop_path(y, drop) + shortcut
        if self.order == "bn_after_addition":
            y = self.norm(name=f"bn{i}")(y)
        return layers.relu(y) if self.order in ("original", "bn_after_addition") else y


class Model(nn.Module):
    """A pre-activation residual network.

    Raises:
      ValueError: a depth or an option that the paper does not have.
    """

    num_classes: int
    depth: int = 50
    layout: str = "imagenet"  # "cifar": depth 6n + 2 of basic, 9n + 2 of bottleneck blocks
    block: str = "bottleneck"  # "basic": 18, 34 and CIFAR 110
    order: str = "full_preactivation"  # one of ORDERS
    shortcut: str = "B"  # where the shape changes: "B", a 1x1 convolution; "A", zeros
    bottleneck_stride: str = "3x3"  # fb.resnet.torch; "1x1": the authors' code
    stem_norm: bool = True  # the stem ends in BN and ReLU
    first_unit_norm: bool = False  # the first unit has its own BN and ReLU
    drop_path_rate: float = 0.0  # stochastic depth: of the last unit, see layers.stochastic_depth
    scan: bool = False  # the units of a stage are compiled once, see stages.chain
    remat: bool = False  # less memory, more time, see stages.chain
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        depths = blocks_per_stage(self.layout, self.depth, self.block)
        layers.one_of("order", self.order, ORDERS)
        layers.one_of("shortcut", self.shortcut, ("A", "B"))
        layers.one_of("bottleneck_stride", self.bottleneck_stride, ("1x1", "3x3"))
        conv = partial(layers.conv, dtype=self.dtype)
        norm = layers.batch_norm(train, dtype=self.dtype)
        unit = partial(Unit, order=self.order, option=self.shortcut, conv=conv, norm=norm)

        def activate(x):
            return layers.relu(norm(name="bn1")(x)) if self.stem_norm else x

        if self.layout == "imagenet":
            width = 64
            x = activate(conv(width, 7, 2, name="conv1")(x))
            x = layers.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        else:
            width = 16
            x = activate(conv(width, 3, name="conv1")(x))
        x = layers.see(self, "stem", x)
        keeps = layers.stochastic_depth(self.drop_path_rate if train else 0, depths)
        for stage, units in enumerate(depths):
            made = tuple(
                partial(
                    unit,
                    self.convolutions(width * 2**stage, 2 if stage > 0 and i == 0 else 1),
                    first=stage == 0 and i == 0 and not self.first_unit_norm,
                )
                for i in range(units)
            )
            x = stages.Stage(made, self.scan, self.remat, keeps[stage], name=f"stage{stage + 1}")(x)
            x = layers.see(self, f"stage{stage + 1}", x)
        if self.order == "full_preactivation":
            x = norm(name="last_bn")(x)
        if self.order in ("full_preactivation", "relu_only_preactivation"):
            x = layers.relu(x)
        x = layers.see(self, "last", x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)

    def convolutions(self, width: int, stride: int) -> tuple[tuple[int, int, int], ...]:
        if self.block == "basic":
            return ((width, 3, stride), (width, 3, 1))
        in_1x1, in_3x3 = (stride, 1) if self.bottleneck_stride == "1x1" else (1, stride)
        return ((width, 1, in_1x1), (width, 3, in_3x3), (4 * width, 1, 1))


def blocks_per_stage(layout: str, depth: int, block: str) -> tuple[int, ...]:
    """Returns how many units each stage has."""
    layers.one_of("layout", layout, ("imagenet", "cifar"))
    layers.one_of("block", block, ("basic", "bottleneck"))
    if layout == "imagenet":
        layers.one_of("depth", depth, tuple(STAGES))
        layers.one_of("block", block, ("basic",) if depth in (18, 34) else ("bottleneck",))
        return STAGES[depth]
    per_stage = 6 if block == "basic" else 9
    if depth < per_stage + 2 or (depth - 2) % per_stage:
        raise ValueError(
            f"depth {depth}: a CIFAR network has 6n + 2 layers of basic blocks, for example 110, "
            "or 9n + 2 of bottleneck blocks, for example 164 or 1001"
        )
    return ((depth - 2) // per_stage,) * 3
