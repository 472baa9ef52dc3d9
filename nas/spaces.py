"""Search spaces as data: a genotype is a sequence of tokens, each one of a few choices.

A method sees the tokens alone; `decode` makes of them the genotype that a network of models/ takes. All
sequences are valid.
"""

import numpy as np

from models import layers
from models.genotypes import cells

ENAS_OPERATIONS = ("id", "avg", "max", "sep3", "sep5")  # arXiv:1802.03268, section 2.4


class Space:
    """What all spaces share. `sizes` has the number of choices of each token."""

    sizes: tuple[int, ...]

    def draw(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Returns tokens at random, each choice equally likely."""
        return tuple(int(token) for token in rng.integers(0, self.sizes))

    def mutate(self, tokens: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
        """Returns the tokens with one of them changed, among those that have a choice."""
        at = rng.choice([i for i, size in enumerate(self.sizes) if size > 1])
        other = int(rng.integers(0, self.sizes[at] - 1))
        other += other >= tokens[at]
        return (*tokens[:at], other, *tokens[at + 1 :])

    def decode(self, tokens: tuple[int, ...]) -> tuple:
        """Returns the genotype; the two terms of a node have one order, since a + b is b + a."""
        raise NotImplementedError


class CellSpace(Space):
    """The NASNet space: a normal and a reduction cell of nodes that each combine two operations.

    Tokens of a node: two states among those before it, an operation on each, and how they are combined.
    The output of a cell concatenates the nodes that no other reads. Sections 3 and 3.1 of arXiv:1707.07012.
    """

    network = "nasnet"

    def __init__(
        self,
        nodes: int = 5,
        operations: tuple[str, ...] = cells.OPERATIONS,
        combiners: tuple[str, ...] = cells.COMBINERS,
    ):
        """Describes the space.

        Args:
          nodes: of a cell.
          operations: to choose from, names of models/nasnet.py; there all 13 of the paper.
          combiners: "add", "concat" or both.

        Raises:
          ValueError: no such operation or combiner, or none at all.
        """
        if not operations or not combiners:
            raise ValueError("nas.space needs at least one operation and one combiner")
        for operation in operations:
            layers.one_of("operation", operation, cells.OPERATIONS)
        for combiner in combiners:
            layers.one_of("combiner", combiner, cells.COMBINERS)
        self.nodes, self.operations, self.combiners = nodes, operations, combiners
        choices = (len(operations), len(operations), len(combiners))
        self.sizes = tuple(s for n in range(nodes) for s in (n + 2, n + 2, *choices)) * 2

    def decode(self, tokens):
        half = len(tokens) // 2
        return self._cell(tokens[:half]), self._cell(tokens[half:])

    def _cell(self, tokens):
        nodes, read = [], set()
        for first in range(0, len(tokens), 5):
            a, b, left, right, combiner = tokens[first : first + 5]
            terms = sorted(
                [(self.operations[left], a), (self.operations[right], b)]
            )  # a + b = b + a
            read |= {a, b}
            combined = self.combiners[combiner]
            nodes.append((*terms[0], *terms[1], *((combined,) if combined != "add" else ())))
        return tuple(nodes), tuple(n for n in range(2, 2 + self.nodes) if n not in read)


class LayerSpace(Space):
    """The space of Zoph and Le: layers, each a convolution that reads any of the layers before it.

    Tokens of a layer: height, width and number of its filters, its stride, and for each earlier layer
    whether it reads that. Sections 3.3 and 4.1 of arXiv:1611.01578, where an attention over the earlier
    layers emits the latter; here they are tokens like the others.
    """

    network = "zoph_le"

    def __init__(
        self,
        layers: int = 15,
        sides: tuple[int, ...] = (1, 3, 5, 7),
        filters: tuple[int, ...] = (24, 36, 48, 64),
        strides: tuple[int, ...] = (1,),
    ):
        for name, values in {"sides": sides, "filters": filters, "strides": strides}.items():
            if not values or not all(type(value) is int and value > 0 for value in values):
                raise ValueError(f"nas.space.{name} is {values}: choose whole numbers above 0")
        self.layers, self.sides, self.filters, self.strides = layers, sides, filters, strides
        shape = (len(sides), len(sides), len(filters), len(strides))
        self.sizes = tuple(s for n in range(layers) for s in (*shape, *(2,) * n))

    def decode(self, tokens):
        layers, rest = [], iter(tokens)
        for number in range(self.layers):
            height, width = (self.sides[next(rest)] for _ in range(2))
            filters, stride = self.filters[next(rest)], self.strides[next(rest)]
            inputs = tuple(i + 1 for i in range(number) if next(rest))
            layers.append((height, width, filters, stride, inputs))
        return tuple(layers)


SPACES = {"cells": CellSpace, "layers": LayerSpace}


def make(kind: str, **fields) -> Space:
    """Returns the space `kind`, one of SPACES, with these fields.

    Raises:
      ValueError: no such space or field.
    """
    if kind not in SPACES:
        raise ValueError(f"nas.space.kind {kind!r}: choose one of {', '.join(SPACES)}")
    try:
        return SPACES[kind](**fields)
    except TypeError as error:
        raise ValueError(f"nas.space, kind {kind!r}: {error}") from error
