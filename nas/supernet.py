"""All cells of a space in one compiled network: which operations run is an argument, not code.

Each operation of each node of each cell has weights of its own, and a switch runs one of them. With fresh
weights it trains any one cell as models/nasnet.py would, without compiling anew; with weights that stay
while the cells change it is the shared network of ENAS (arXiv:1802.03268, section 2).
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from models import layers, nasnet
from models.genotypes import cells


class Parts(NamedTuple):
    """Where the variables of several modules lie in one vector, [start, end) of each."""

    ends: tuple[int, ...]
    unravel: tuple[Callable, ...]

    @classmethod
    def of(cls, trees) -> "Parts":
        """Lays out trees of shapes one after the other."""
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), trees)
        vectors, unravel = zip(*(ravel_pytree(tree) for tree in zeros), strict=True)
        return cls(tuple(itertools.accumulate(len(vector) for vector in vectors)), unravel)

    def bounds(self, number: int) -> tuple[int, int]:
        return (0, *self.ends)[number], self.ends[number]

    def read(self, vector, number: int):
        start, end = self.bounds(number)
        return self.unravel[number](vector[start:end])

    def write(self, vector, number: int, tree):
        start, end = self.bounds(number)
        return vector.at[start:end].set(ravel_pytree(tree)[0])


class Cell(nn.Module):
    """Any cell of a space; as `nasnet.Cell`, with the weights of each operation in each term of each node.

    The terms are the steps of a loop, in which a switch runs one operation. The weights of a term are one
    vector, and its BatchNorm statistics another: a loop over hundreds of small arrays would take longer than
    the operations. One thing is not as in `nasnet.Cell`: that takes an output of the cell before last which happens
    to have F channels as it is, here it has its 1x1 convolution, too. And the classifier's first weights are those of
    an input of all nodes, so smaller where few nodes are read.
    """

    nodes: int
    operations: tuple[str, ...]
    filters: int
    stride: int
    train: bool
    operation: Callable
    conv: Callable
    norm: Callable

    @nn.compact
    def __call__(self, x, previous, terms):
        """Maps the outputs of the last cell and of the cell before.

        Args:
          x: output of the last cell.
          previous: of the cell before.
          terms: int32 [2 nodes, 3]: number of the node, of the state it reads, of the operation on it. States
            0 and 1 are the two inputs, 2 is node 0.

        Returns:
          The nodes, concatenated; zeros in place of those that other nodes read.
        """
        if previous.shape[1] != x.shape[1]:
            parts = self.filters, self.conv, self.norm
            previous = nasnet.FactorizedReduction(*parts, name="previous")(layers.relu(previous))
        elif previous.shape[-1] != self.filters:
            previous = self.conv(self.filters, 1, name="previous_conv")(layers.relu(previous))
            previous = self.norm(name="previous_bn")(previous)
        x = self.conv(self.filters, 1, name="conv")(layers.relu(x))
        inputs = jnp.stack([previous, self.norm(name="bn")(x)])
        images, height, width, _ = x.shape
        height, width = -(-height // self.stride), -(-width // self.stride)
        nodes = jnp.zeros((self.nodes, images, height, width, self.filters), inputs.dtype)

        # In a reduction cell operations on an input have a stride, those on a node have none.
        strides = (1,) if self.stride == 1 else (self.stride, 1)
        choices = [
            (self.operation(name, self.filters, stride, parent=None), i)
            for i, stride in enumerate(strides)
            for name in self.operations
        ]

        def init(key):
            found = [
                operation.init(jax.random.fold_in(key, i), (inputs, nodes)[group][0][:1])
                for i, (operation, group) in enumerate(choices)
            ]
            return [[v.get(kind, {}) for v in found] for kind in ("params", "batch_stats")]

        weight_parts, statistic_parts = (
            Parts.of(trees) for trees in jax.eval_shape(init, jax.random.key(0))
        )

        def vectors(key, kind):
            keys = jax.random.split(key, 2 * self.nodes)
            return jax.vmap(lambda key: ravel_pytree(init(key)[kind])[0])(keys)

        weights = self.param("weights", vectors, 0)
        statistics = self.variable("batch_stats", "statistics", vectors, jax.random.key(0), 1)

        def branch(number):
            operation, group = choices[number]

            def apply(operands, weights, statistics):
                variables = {
                    "params": weight_parts.read(weights, number),
                    "batch_stats": statistic_parts.read(statistics, number),
                }
                if not self.train:
                    return operation.apply(variables, operands[group]), statistics
                y, updates = operation.apply(variables, operands[group], mutable=["batch_stats"])
                updates = updates.get("batch_stats", variables["batch_stats"])
                return y, statistic_parts.write(statistics, number, updates)

            return jax.checkpoint(apply)  # else room is kept for what each operation would keep

        branches = [branch(number) for number in range(len(choices))]

        def add_term(nodes, step):
            (target, source, index), weights, statistics = step
            reads_node, node = source >= 2, nodes[source - 2]
            if len(strides) == 1:
                operands = (jnp.where(reads_node, node, inputs[source]),)
            else:
                operands = (inputs[source], node)
                index = index + len(self.operations) * reads_node
            term, statistics = jax.lax.switch(index, branches, operands, weights, statistics)
            return nodes.at[target].add(term), statistics

        nodes, updated = jax.lax.scan(add_term, nodes, (terms, weights, statistics.value))
        if self.train:
            statistics.value = updated
        read = jnp.any(terms[:, 1] - 2 == jnp.arange(self.nodes)[:, None], axis=1)
        nodes = jnp.where(read[:, None, None, None, None], 0, nodes)
        return jnp.concatenate(list(nodes), axis=-1)


class Supernet(nn.Module):
    """`nasnet.Model` of the layout "cifar" with `stem_filters` = F, for any cell of a space."""

    num_classes: int
    nodes: int
    operations: tuple[str, ...]
    cells: int = 1  # N: normal cells in each of the three groups
    filters: int = 8  # F: of the first group
    epsilon: float = 1e-5  # of BatchNorm
    bn_momentum: float = 0.9
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x, terms, train: bool = False):
        """Maps normalised images [N, height, width, C] to float32 logits [N, num_classes].

        Args:
          x: the images.
          terms: int32 [2, 2 nodes, 3]: of the normal and the reduction cell, as `Cell` takes them.
          train: whether BatchNorm takes the statistics of the batch.
        """
        conv = partial(layers.conv, padding="SAME", dtype=self.dtype)
        norm = layers.batch_norm(
            train, momentum=self.bn_momentum, epsilon=self.epsilon, dtype=self.dtype
        )
        operation = partial(nasnet.Operation, padded_average=False, conv=conv, norm=norm)
        x = norm(name="bn1")(conv(self.filters, 3, name="conv1")(x))
        outputs = [x, x]
        for group in range(3):
            for number in range(self.cells + (group > 0)):
                reduces = group > 0 and number == 0
                before = group * self.cells + number - (group > 0)  # normal cells
                cell = Cell(
                    self.nodes,
                    self.operations,
                    self.filters * 2**group,
                    2 if reduces else 1,
                    train,
                    operation,
                    conv,
                    norm,
                    name=f"reduction{group}" if reduces else f"cell{before + 1}",
                )
                new = cell(outputs[-1], outputs[-2], terms[int(reduces)])
                outputs = [outputs[-1], new]
        x = jnp.mean(layers.relu(outputs[-1]), axis=(1, 2))
        return nn.Dense(self.num_classes, dtype=self.dtype, name="fc")(x).astype(jnp.float32)


def of_config(model, nodes: int, operations: tuple[str, ...]) -> Supernet:
    """Returns the supernet of a config's `model` section.

    Args:
      model: the fields of models/nasnet.py.
      nodes: of each cell.
      operations: that a node may choose from.

    Raises:
      ValueError: it has a field that the supernet has not, or there is no such operation.
    """
    wanted = {
        "name": "nasnet",
        "layout": "cifar",
        "stem_filters": model.filters,
        "skip_reduction": False,
        "padded_average": False,
        "dropout": 0.0,
        "drop_path_keep": 1.0,
        "aux_head": False,
    }
    for field, value in wanted.items():
        if model[field] != value:
            raise ValueError(
                f"children in one compiled network need model.{field}={value}, not {model[field]}: "
                "set it in nas.proxy, or nas.children to runs"
            )
    for operation in operations:
        layers.one_of("operation", operation, cells.OPERATIONS)
    return Supernet(
        model.num_classes, nodes, tuple(operations), model.cells, model.filters,
        model.epsilon, model.bn_momentum, model.dtype,
    )  # fmt: skip


def terms(genotype, operations: tuple[str, ...]):
    """Returns what `Supernet` takes of a genotype of models/nasnet.py: int32 [2, 2 nodes, 3]."""
    return np.array(
        [
            [
                (number, source, operations.index(operation))
                for number, node in enumerate(nodes)
                for operation, source in (node[:2], node[2:4])
            ]
            for nodes, _ in genotype
        ],
        np.int32,
    )
