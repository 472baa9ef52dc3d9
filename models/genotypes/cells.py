"""Genotypes of cells (Zoph et al., 2017), arXiv:1707.07012, and those that papers print.

A genotype is (normal cell, reduction cell), a cell is (nodes, output). A node is (operation, input,
operation, input), the sum of two operations; with a fifth element, "concat", their concatenation.
Input 0 is the output of the cell before last, 1 that of the last cell, 2 the first node, and so on. The
output concatenates these states.
"""

from models.genotypes.text import as_tuples, brief
from models.layers import one_of

OPERATIONS = (  # the 13 of section 3
    *("id", "avg", "max", "sep3", "sep5", "sep7", "conv1x7_7x1"),
    *("conv1x3_3x1", "dil3", "max5", "max7", "conv1", "conv3"),
)
COMBINERS = ("add", "concat")
PUBLISHED = {
    "nasnet_a": (  # arXiv:1707.07012, figure 4
        (
            (
                ("sep5", 1, "sep3", 0),
                ("sep5", 0, "sep3", 0),
                ("avg", 1, "id", 0),
                ("avg", 0, "avg", 0),
                ("sep3", 1, "id", 1),
            ),
            (0, 2, 3, 4, 5, 6),
        ),
        (
            (
                ("sep5", 1, "sep7", 0),
                ("max", 1, "sep7", 0),
                ("avg", 1, "sep5", 0),
                ("id", 3, "avg", 2),
                ("sep3", 2, "max", 1),
            ),
            (3, 4, 5, 6),
        ),
    ),
    "amoebanet_a": (  # arXiv:1802.01548
        (
            (
                ("avg", 0, "max", 1),
                ("sep3", 0, "sep5", 2),
                ("sep3", 0, "avg", 3),
                ("sep3", 1, "id", 1),
                ("id", 0, "avg", 1),
            ),
            (4, 5, 6),
        ),
        (
            (
                ("avg", 0, "sep3", 1),
                ("max", 0, "sep7", 2),
                ("sep7", 0, "avg", 1),
                ("max", 0, "max", 1),
                ("conv1x7_7x1", 0, "sep3", 5),
            ),
            (3, 4, 6),
        ),
    ),
    "enas": (  # arXiv:1802.03268, the published micro cells
        (
            (
                ("avg", 0, "sep3", 0),
                ("id", 0, "sep5", 0),
                ("id", 0, "sep5", 1),
                ("sep3", 1, "sep5", 0),
                ("avg", 0, "sep5", 1),
            ),
            (2, 3, 4, 5, 6),
        ),
        (
            (
                ("sep3", 1, "sep3", 1),
                ("max", 0, "avg", 0),
                ("sep5", 1, "sep5", 3),
                ("sep3", 1, "id", 0),
                ("max", 0, "sep5", 1),
            ),
            (2, 4, 5, 6),
        ),
    ),
}


def check(genotype: str | tuple) -> tuple:
    """Returns a genotype as tuples.

    Args:
      genotype: as those of PUBLISHED, of tuples or lists; or the same as a JSON text.

    Raises:
      ValueError: it is no JSON, or does not describe two cells.
    """
    form = "(normal, reduction), each (nodes, output), neither empty"
    node_form = "(operation, input, operation, input), and perhaps a combiner"
    genotype = as_tuples(genotype)
    if not _has_form(genotype, (tuple, tuple)) or not all(
        _has_form(cell, (tuple, tuple)) and all(cell) for cell in genotype
    ):
        raise ValueError(f"genotype {brief(genotype)}: it must be {form}")
    for nodes, output in genotype:
        for number, node in enumerate(nodes, 2):
            if not any(_has_form(node, (str, int, str, int, str)[:n]) for n in (4, 5)):
                raise ValueError(f"node {node}: it must be {node_form}")
            for operation, i in (node[:2], node[2:4]):
                one_of("operation", operation, OPERATIONS)
                one_of(f"input of node {number}", i, tuple(range(number)))
            one_of("combiner", (*node, "add")[4], COMBINERS)
        if not _has_form(output, (int,) * len(output)):
            raise ValueError(f"output {output}: it must be numbers of states")
        for i in output:
            one_of("output", i, tuple(range(2 + len(nodes))))
    return genotype


def _has_form(value, types: tuple) -> bool:
    """Whether `value` is a tuple of elements of exactly these types: True is no number."""
    return isinstance(value, tuple) and tuple(map(type, value)) == types
