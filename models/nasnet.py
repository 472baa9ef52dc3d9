"""NASNet: Learning Transferable Architectures for Scalable Image Recognition (Zoph et al., 2017).

arXiv:1707.07012. A network of cells that were found by search; a cell is data, a genotype of
models/genotypes/cells.py, so that any searched cell is a model. NASNet-A (figure 4), N @ filters in the last cells:

  network                      parameters  auxiliary head  multiply-adds
  mobile 4 @ 1056, 224 x 224    5,289,978  2,411,240          563,638,816
  large 6 @ 4032, 331 x 331    88,753,150  4,567,784       23,783,414,658
  CIFAR 6 @ 768, 32 x 32        3,346,538  1,631,498          544,333,312

Details that the paper leaves open follow TF-slim's code: padding, how states of another shape are
adjusted, and which cell a cell after a reduction sees as the one before last.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from models import layers
from models.genotypes import cells


class Operation(nn.Module):
    """One of `cells.OPERATIONS`, to `filters` channels. Separable: twice ReLU, depthwise, pointwise, BN.

    A convolution is ReLU, convolution, BN; "dil3" is a 3x3 of dilation 2. Poolings without a number are 3x3.
    The identity becomes "conv1", and pooling gets a 1x1, BN, where the shape changes.
    """

    operation: str
    filters: int
    stride: int
    padded_average: bool
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x):
        operation = self.operation
        if operation == "id":
            if self.stride == 1 and x.shape[-1] == self.filters:
                return x
            operation = "conv1"
        if operation.startswith("sep"):
            for i, stride in enumerate((self.stride, 1), 1):
                channels, kernel = x.shape[-1], int(operation.removeprefix("sep"))
                x = self.conv(
                    channels,
                    kernel,
                    stride,
                    groups=channels,
                    kernel_init=layers.HE_FAN_IN,
                    name=f"sep{i}_depthwise",
                )(layers.relu(x))
                x = self.conv(self.filters, 1, name=f"sep{i}_pointwise")(x)
                x = self.norm(name=f"bn{i}")(x)
            return x
        if operation in ("conv1x3_3x1", "conv1x7_7x1"):
            kernel = int(operation[-3])
            x = layers.relu(x)
            x = self.conv(self.filters, (1, kernel), (1, self.stride), name="conv1")(x)
            x = self.conv(self.filters, (kernel, 1), (self.stride, 1), name="conv2")(x)
            return self.norm(name="bn")(x)
        if operation in ("conv1", "conv3", "dil3"):
            kernel, dilation = int(operation[-1]), 2 if operation == "dil3" else 1
            conv = self.conv(self.filters, kernel, self.stride, dilation=dilation, name="conv")
            return self.norm(name="bn")(conv(layers.relu(x)))
        strides = (self.stride, self.stride)
        if operation.startswith("max"):
            kernel = int(operation.removeprefix("max") or 3)
            x = layers.max_pool(x, (kernel, kernel), strides=strides, padding="SAME")
        else:
            padded = self.padded_average and self.stride > 1
            x = layers.avg_pool(x, (3, 3), strides, padding="SAME", count_include_pad=padded)
        if x.shape[-1] != self.filters:
            x = self.norm(name="bn")(self.conv(self.filters, 1, name="conv")(x))
        return x


class FactorizedReduction(nn.Module):
    """Two 1x1 convolutions of stride 2, the second shifted by a pixel; concatenated; BN."""

    filters: int
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x):
        shifted = jnp.pad(x[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
        half = self.filters // 2
        left = self.conv(half, 1, name="left")(x[:, ::2, ::2])
        right = self.conv(self.filters - half, 1, name="right")(shifted[:, ::2, ::2])
        return self.norm(name="bn")(jnp.concatenate([left, right], axis=-1))


class Cell(nn.Module):
    """Nodes that each combine two operations on earlier states (section 3, figure 4)."""

    nodes: tuple[tuple, ...]  # (operation, input, operation, input[, combiner])
    output: tuple[int, ...]
    filters: int
    stride: int
    operation: Callable
    conv: Callable
    norm: Callable
    drop_path: Callable

    @nn.compact
    def __call__(self, x, previous):
        """Maps the outputs of the last cell and of the cell before (None: there is none)."""
        used = {i for _, a, _, b, *_ in self.nodes for i in (a, b)} | set(self.output)
        if previous is None:
            previous = x
        elif 0 in used:
            previous = self.adjust(previous, x.shape)
        x = self.conv(self.filters, 1, name="conv")(layers.relu(x))
        states = [previous, self.norm(name="bn")(x)]
        for node in self.nodes:
            terms = []
            for operation, i in (node[:2], node[2:4]):
                stride = self.stride if i < 2 else 1
                name = f"node{len(states)}_{'right' if terms else 'left'}"
                term = self.operation(operation, self.filters, stride, name=name)(states[i])
                terms.append(term if operation == "id" else self.drop_path(term))
            concat = "concat" in node[4:]  # 2F channels; an operation on it brings them to F
            states.append(jnp.concatenate(terms, axis=-1) if concat else terms[0] + terms[1])
        side = states[-1].shape[1]
        output = [
            self.match(states[i], side, f"output{place}") if i < 2 else states[i]
            for place, i in enumerate(self.output)
        ]
        return jnp.concatenate(output, axis=-1)

    def adjust(self, previous, shape):
        """Brings the output of the cell before last to the size of the last one's, F channels."""
        if previous.shape[1] != shape[1]:
            reduction = FactorizedReduction(self.filters, self.conv, self.norm, name="previous")
            return reduction(layers.relu(previous))
        if previous.shape[-1] != self.filters:
            conv = self.conv(self.filters, 1, name="previous_conv")
            return self.norm(name="previous_bn")(conv(layers.relu(previous)))
        return previous

    def match(self, state, side, name):
        """Brings an input that is also part of the output to the size of the nodes, F channels."""
        if state.shape[1] != side:
            return FactorizedReduction(self.filters, self.conv, self.norm, name=name)(state)
        if state.shape[-1] != self.filters:
            conv = self.conv(self.filters, 1, name=f"{name}_conv")
            return self.norm(name=f"{name}_bn")(conv(state))
        return state


class AuxiliaryHead(nn.Module):
    """ReLU, 5x5 average pooling with stride 3, 1x1 to 128, BN, ReLU, full-size to 768, BN, ReLU, fc.

    Sows its logits.
    """

    num_classes: int
    conv: Callable
    norm: Callable
    dtype: str

    @nn.compact
    def __call__(self, x):
        window = tuple(min(5, side) for side in x.shape[1:3])  # on maps of small images
        x = layers.avg_pool(layers.relu(x), window, strides=(3, 3))
        x = self.conv(128, 1, name="conv1")(x)
        x = layers.relu(self.norm(name="bn1")(x))
        x = self.conv(768, x.shape[1:3], padding="VALID", name="conv2")(x)
        x = layers.relu(self.norm(name="bn2")(x))
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x.mean((1, 2)))
        self.sow("aux_logits", "logits", x.astype(jnp.float32))


class Model(nn.Module):
    """A stem and three groups of `cells` normal cells with a reduction cell between them (figure 2).

    The logits of the auxiliary head are sown into the collection "aux_logits" where it is mutable: in
    training. ScheduledDropPath reads how far training has come, from 0 to 1, in the variable
    "progress" of the collection "schedule"; without it, training is at its end.

    Raises:
      ValueError: a layout, a cell or an operation that is not there, a genotype that is none.
    """

    num_classes: int
    cells: int = 4  # N: normal cells in each of the three groups
    filters: int = 44  # F: of the first group; "N @ P" has P = 24 F
    layout: str = "imagenet"  # two reduction cells in the stem; "cifar": none
    stem_filters: int = 32
    skip_reduction: bool = False  # a cell after a reduction takes the cell before last (large)
    cell: str = "nasnet_a"  # one of cells.PUBLISHED
    genotype: str | tuple = ""  # a cell of one's own, instead; also as JSON
    padded_average: bool = False  # strided average pooling counts the padding's zeros, as timm's
    aux_head: bool = True
    dropout: float = 0.5
    drop_path_keep: float = 1.0  # of the last cell, at the end of training
    epsilon: float = 1e-3  # of BatchNorm; CIFAR: 1e-5
    bn_momentum: float = 0.9997  # for long runs; CIFAR and short ones: 0.9
    dtype: str = "float32"  # of the computation; parameters, statistics, logits stay float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        """Maps normalised images [N, height, width, 3] to float32 logits [N, num_classes]."""
        layers.one_of("layout", self.layout, ("imagenet", "cifar"))
        layers.one_of("cell", self.cell, tuple(cells.PUBLISHED))
        normal, reduction = cells.check(self.genotype or cells.PUBLISHED[self.cell])
        conv = partial(layers.conv, padding="SAME", dtype=self.dtype)
        norm = layers.batch_norm(
            train, momentum=self.bn_momentum, epsilon=self.epsilon, dtype=self.dtype
        )
        operation = partial(Operation, padded_average=self.padded_average, conv=conv, norm=norm)
        stems = 2 if self.layout == "imagenet" else 0
        total = 3 * self.cells + 2 + stems
        progress = self.get_variable("schedule", "progress", 1.0)
        outputs = [None]

        def cell(name, genotype, filters, stride, previous):
            keep = 1 - progress * len(outputs[1:]) / total * (1 - self.drop_path_keep)
            drop_path = partial(DropPath(train and self.drop_path_keep < 1), keep=keep)
            new = Cell(*genotype, filters, stride, operation, conv, norm, drop_path, name=name)
            outputs.append(new(outputs[-1], previous))

        if self.layout == "imagenet":
            x = conv(self.stem_filters, 3, 2, padding="VALID", name="conv1")(x)
        else:
            x = conv(self.stem_filters, 3, name="conv1")(x)
        outputs.append(norm(name="bn1")(x))
        for stem in range(stems):
            filters = self.filters // 2 ** (stems - stem)
            cell(f"stem{stem + 1}", reduction, filters, 2, outputs[-2])
        outputs[-1] = layers.see(self, "stem", outputs[-1])
        for group in range(3):
            filters = self.filters * 2**group
            previous = outputs[-2]
            if group > 0:
                cell(f"reduction{group}", reduction, filters, 2, previous)
                outputs[-1] = layers.see(self, f"reduction{group}", outputs[-1])
            for i in range(self.cells):
                skip, name = self.skip_reduction and i == 0, f"cell{group * self.cells + i + 1}"
                cell(name, normal, filters, 1, previous if skip else outputs[-2])
            outputs[-1] = layers.see(self, f"cells{group + 1}", outputs[-1])
            if group == 1 and self.aux_head and self.is_mutable_collection("aux_logits"):
                AuxiliaryHead(self.num_classes, conv, norm, self.dtype, name="aux")(outputs[-1])
        x = layers.see(self, "last", layers.relu(outputs[-1]))
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x)
        return x.astype(jnp.float32)


class DropPath(nn.Module):
    """Drops a whole path of an image with probability 1 - keep, and scales the others by 1 / keep."""

    active: bool

    def __call__(self, x, keep):
        return layers.drop_path(x, (self.make_rng("dropout"), keep) if self.active else None)
