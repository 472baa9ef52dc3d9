"""Genotypes, networks as data: what a search finds and a network is built of.

There are two kinds: "cell" is that of models/nasnet.py, "layers" that of models/zoph_le.py. Each is made of
tuples or lists, or is their JSON text.
"""

from models.genotypes import cells, layers
from models.genotypes.text import as_text, as_tuples, load

__all__ = ["as_text", "cells", "layers", "load", "parse"]


def parse(genotype) -> tuple[str, tuple]:
    """Returns the kind, "cell" or "layers", and the genotype as tuples.

    Raises:
      ValueError: it is of neither kind.
    """
    genotype = as_tuples(genotype)
    first = genotype[0] if isinstance(genotype, tuple) and genotype else None
    if isinstance(first, tuple) and first and type(first[0]) is int:
        return "layers", layers.check(genotype)
    return "cell", cells.check(genotype)
