"""The table of a network's layers, as the lecture prints it for AlexNet."""

import json
from typing import NamedTuple

from analysis import markdown
from analysis.count import Count, Layer

HEADS = [
    "layer", "kind", "input", "output", "kernel", "stride", "padding", "groups", "memory, KB", "%",
    "parameters, k", "%", "multiply-adds, M", "%", "receptive field",
]  # fmt: skip
TEXT = 7  # columns from the left that are no numbers


class Row(NamedTuple):
    """A layer, or the layers of a block together. A block of one layer is that layer."""

    path: str
    layers: tuple[Layer, ...]
    output: tuple[int, ...]  # (height, width, channels), or (features,)
    level: int  # of indentation

    def total(self, figure: str) -> int:
        return sum(getattr(layer, figure) for layer in self.layers)


def rows(count: Count, depth: int = 0) -> list[Row]:
    """Returns the rows: of each block a row of its totals, then its layers.

    Args:
      count: of `analysis.count`.
      depth: blocks inside this number of blocks have one row alone; 0: all layers are shown.
    """
    return _rows(count.layers, count.blocks, "", 0, depth)


def _rows(layers, blocks: dict, outer: str, level: int, depth: int) -> list[Row]:
    found, groups = [], {}
    for layer in layers:
        groups.setdefault(layer.path.removeprefix(outer).partition("/")[0], []).append(layer)
    for name, members in groups.items():
        path = outer + name
        output = blocks.get(path, members[-1].output)
        found.append(Row(path, tuple(members), output, level))
        if len(members) > 1 and level + 1 != depth:
            found += _rows(members, blocks, f"{path}/", level + 1, depth)
    return found


def cells(row: Row, count: Count, indent: str) -> list[str]:
    """Returns a row of the table."""
    first = row.layers[0]
    single = len(row.layers) == 1
    figures = []
    for figure, unit, digits in (
        ("memory", 1024, 1),
        ("parameters", 1e3, 3),
        ("multiply_adds", 1e6, 2),
    ):
        value, whole = row.total(figure), getattr(count, figure)
        figures += [f"{value / unit:,.{digits}f}", f"{100 * value / whole:.1f}" if whole else ""]
    name = row.path if not row.level else indent * row.level + row.path.rpartition("/")[2]
    fields = [layer.receptive_field for layer in row.layers if layer.receptive_field]
    return [
        name,
        first.kind if single else "",
        shape_text(first.input),
        shape_text(row.output),
        _sides(first.kernel) if single else "",
        _sides(first.stride) if single else "",
        _padding(first.padding) if single else "",
        str(first.groups) if single and first.kind == "conv" else "",
        *figures,
        _sides(tuple(map(max, zip(*fields, strict=True)))) if fields else "",
    ]


def totals(count: Count, flops: float) -> list[str]:
    """Returns what the network costs in all, a line each."""
    return [
        f"parameters: {count.parameters:,}",
        f"multiply-adds of convolutions and matrix products: {count.multiply_adds:,}",
        f"FLOPs as XLA counts them (a multiply-add is two, with all other operations): {flops:,.0f}",
        f"memory of the outputs, float32: {count.memory / 2**20:,.2f} MiB, of which convolutions and "
        f"matrix products {sum(layer.memory for layer in count.products) / 2**20:,.2f}",
        f"activations: {count.activations:,}",
    ]


def as_text(count: Count, depth: int, flops: float) -> str:
    """Returns the table in columns of equal width, for a terminal."""
    table = markdown.columns(_table(count, depth, "  "), left=TEXT)
    return "\n".join([table, "", *totals(count, flops)])


def as_markdown(count: Count, depth: int, flops: float) -> str:
    table = markdown.table(_table(count, depth, "&emsp;"), left=TEXT)
    return "\n".join([table, "", *(f"- {line}" for line in totals(count, flops))])


def as_json(count: Count, depth: int, flops: float) -> str:
    """Returns totals and layers, in bytes and units, as one JSON object."""
    names = ("parameters", "multiply_adds", "activations", "memory")
    figures = {name: getattr(count, name) for name in names} | {"xla_flops": flops}
    listed = []
    for row in rows(count, depth):
        sums = {name: row.total(name) for name in names}
        first = row.layers[0]
        if len(row.layers) == 1:
            listed.append(vars(first) | sums | {"path": row.path})
        else:
            ends = {"input": first.input, "output": row.output}
            listed.append({"path": row.path, "kind": "block"} | ends | sums)
    return json.dumps(figures | {"layers": listed})


def _table(count: Count, depth: int, indent: str) -> list[list[str]]:
    """Returns heads, rows and sums."""
    sums = cells(Row("total", count.layers, (), 0), count, "")
    sums[HEADS.index("input")] = sums[HEADS.index("receptive field")] = ""
    return [HEADS, *(cells(row, count, indent) for row in rows(count, depth)), sums]


def shape_text(shape) -> str:
    """Returns for example "55 x 55 x 96"."""
    return " x ".join(map(str, shape))


def _sides(pair) -> str:
    """Returns a pair of sides, or the one number that both are."""
    return "" if not pair else str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} x {pair[1]}"


def _padding(padding) -> str:
    if not padding:
        return ""
    sides = ["+".join(map(str, dict.fromkeys(pair))) for pair in padding]
    return sides[0] if sides[0] == sides[1] else " x ".join(sides)
