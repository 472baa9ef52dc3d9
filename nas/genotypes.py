"""Genotypes, networks as data, in words and pictures.

Both kinds of models/genotypes: "cell" and "layers".
"""

import io
import itertools
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from scipy.optimize import isotonic_regression

from models.genotypes import parse

FORMATS = ("png", "svg")

# Of the states of a cell and of their lines: the cell before last, the last cell, nodes.
COLORS = ("#0f8a7e", "#8e44ad", "#c0392b", "#2c6fbb", "#b9770e", "#5b6470", "#5d8a1f", "#b03a7a")
KINDS = {  # first letters of an operation: colour of its box, meaning
    "sep": ("#cfe2f7", "separable convolution"),
    "conv": ("#fbdcc4", "convolution"),
    "dil": ("#fbdcc4", "convolution"),
    "avg": ("#d3ecd0", "pooling"),
    "max": ("#d3ecd0", "pooling"),
    "id": ("#ebebeb", "identity"),
}


def kind(genotype) -> str:
    """Returns "cell" or "layers"; raises ValueError where the genotype is neither."""
    return parse(genotype)[0]


def text(genotype) -> str:
    """Returns the genotype in words, a line a node or a layer.

    Raises:
      ValueError: it is no genotype.
    """
    found, genotype = parse(genotype)
    if found == "layers":
        lines = []
        for number, (height, width, filters, stride, inputs) in enumerate(genotype, 1):
            steps = f", stride {stride}" if stride != 1 else ""
            names = _list("the image" if i == 0 else i for i in inputs or (0,))
            lines.append(f"{number}: {height}x{width}, {filters} filters{steps}, from {names}")
        return "\n".join([*lines, f"output: {_combined(_ends(genotype))}"])
    lines = []
    for name, (nodes, output) in zip(("normal", "reduction"), genotype, strict=True):
        lines.append(f"{name} cell")
        for number, (one, a, other, b, *combiner) in enumerate(nodes, 2):
            terms = f"{one}({a})", f"{other}({b})"
            sum_ = f"concat({', '.join(terms)})" if "concat" in combiner else " + ".join(terms)
            lines.append(f"  {number} = {sum_}")
        lines.append(f"  output: {_combined(output)}")
    return "\n".join(lines)


def draw(genotype, format: str = "png") -> bytes:
    """Draws the genotype: cells as graphs side by side, layers as a chain; data flow upwards.

    Args:
      genotype: of either kind.
      format: "png" or "svg"; the bytes of an SVG depend on the genotype alone.

    Raises:
      ValueError: it is no genotype, or there is no such format.
    """
    if format not in FORMATS:
        raise ValueError(f"format {format!r}: choose one of {', '.join(FORMATS)}")
    found, genotype = parse(genotype)
    settings = {"svg.fonttype": "none", "svg.hashsalt": "genotype"}
    settings["font.family"] = ["DejaVu Sans", "sans-serif"]
    with matplotlib.rc_context(settings):
        figure = _draw_layers(genotype) if found == "layers" else _draw_cells(genotype)
        output = io.BytesIO()
        metadata = {"Date": None} if format == "svg" else None
        figure.savefig(output, format=format, dpi=110, metadata=metadata)
    return output.getvalue()


def _list(names) -> str:
    return ", ".join(map(str, names))


def _combined(states) -> str:
    return f"concat of {_list(states)}" if len(states) > 1 else _list(states)


def _ends(layers) -> tuple[int, ...]:
    """Returns the numbers of the layers that no other reads."""
    read = {i for *_, inputs in layers for i in inputs}
    return tuple(i for i in range(1, len(layers) + 1) if i not in read)


# Cells. Lengths are inches. Rows from below: the two inputs, nodes by their longest way to an input, the
# output. What only passes a row has a place of its own in it, so that no line crosses a box.

BOX, HEIGHT = 0.78, 0.32  # of an operation
BLOCK, NODE = 1.66, 0.78  # of a node: two operations side by side, a circle above
WIDE = 1.1  # of inputs and output
GAP, SPACE = 0.2, 0.8  # between columns, between rows
MARGIN = 0.25
OUT = -1  # the output, among the numbers of inputs and nodes


class Item(NamedTuple):
    """A place in a row."""

    state: int
    row: int
    passes: bool = False  # its lines only pass this row

    @property
    def width(self) -> float:
        return 0.05 if self.passes else BLOCK if self.state > 1 else WIDE

    @property
    def bottom(self) -> float:
        return HEIGHT + SPACE + (self.row - 1) * (NODE + SPACE) if self.row else 0.0

    @property
    def top(self) -> float:
        return self.bottom + (NODE if self.row else HEIGHT)


def _draw_cells(genotype) -> Figure:
    cells = [_Cell(*cell) for cell in genotype]
    used = {name for nodes, _ in genotype for node in nodes for name in (node[0], node[2])}
    kinds = {KINDS[start] for name in used for start in KINDS if name.startswith(start)}
    legend = sorted(kinds, key=list(KINDS.values()).index)
    steps = [0.55 + 0.075 * len(meaning) for _, meaning in legend]
    apart, wide = 0.8, [cell.right - cell.left for cell in cells]
    width = max(sum(wide) + apart, sum(steps)) + 2 * MARGIN
    figure, axes = _canvas(width, max(cell.height for cell in cells) + 0.85 + 2 * MARGIN)
    x, y = (width - sum(wide) - apart) / 2, MARGIN + 0.45
    for cell, name in zip(cells, ("normal cell", "reduction cell"), strict=True):
        cell.draw(axes, x - cell.left, y)
        middle = x - cell.left + cell.out
        _write(axes, middle, y + cell.height + 0.3, name, fontsize=13, weight="bold")
        x += cell.right - cell.left + apart
    x = (width - sum(steps)) / 2
    for (color, meaning), step in zip(legend, steps, strict=True):
        _box(axes, x + 0.12, MARGIN, 0.24, 0.16, color)
        _write(axes, x + 0.32, MARGIN, meaning, ha="left", fontsize=8.5, color="#444444")
        x += step
    return figure


class _Cell:
    """Where the parts of a cell lie."""

    def __init__(self, nodes, output):
        self.nodes, self.output = nodes, output
        rows = {0: 0, 1: 0}
        for number, node in enumerate(nodes, 2):
            rows[number] = 1 + max(rows[node[1]], rows[node[3]])
        rows[OUT] = 1 + max(rows.values())
        reads = [(node[i], number) for number, node in enumerate(nodes, 2) for i in (1, 3)]
        links = {}  # between neighbouring rows; a dictionary keeps the order
        for state, reader in (*reads, *((state, OUT) for state in output)):
            ends = Item(state, rows[state]), Item(reader, rows[reader])
            between = [Item(state, row, True) for row in range(rows[state] + 1, rows[reader])]
            links |= dict.fromkeys(itertools.pairwise((ends[0], *between, ends[1])))
        self.links = list(links)
        items = dict.fromkeys(Item(state, row) for state, row in rows.items())
        items |= dict.fromkeys(item for link in links for item in link)
        self.near = {item: [] for item in items}
        for one, other in links:
            self.near[one].append(other)
            self.near[other].append(one)
        self.rows = [[i for i in items if i.row == row] for row in range(rows[OUT] + 1)]
        self.x = {}
        self.arrange()
        self.left = min(x - item.width / 2 for item, x in self.x.items())
        self.right = max(x + item.width / 2 for item, x in self.x.items())
        self.out = self.x[Item(OUT, rows[OUT])]
        self.height = Item(OUT, rows[OUT]).bottom + HEIGHT

    def arrange(self) -> None:
        """Swaps items of a row as long as that shortens the lines or saves a crossing."""
        self.place()
        best, better = self.cost(), True
        while better:
            better = False
            for row in self.rows[1:]:  # the cell before last stays on the left
                for i, j in itertools.combinations(range(len(row)), 2):
                    row[i], row[j] = row[j], row[i]
                    self.place()
                    if self.cost() < best - 1e-6:
                        best, better = self.cost(), True
                    else:
                        row[i], row[j] = row[j], row[i]
        self.place(sweeps=40)

    def place(self, sweeps: int = 4) -> None:
        """Moves each item above and below its neighbours, as far as the order of its row lets it."""
        for row in self.rows:
            self.x |= zip(row, _apart([0.0] * len(row), row), strict=True)
        for _ in range(sweeps):
            for row in (*self.rows, *self.rows[::-1]):
                near = [[self.x[other] for other in self.near[item]] or [0.0] for item in row]
                wanted = [sum(x) / len(x) for x in near]
                self.x |= zip(row, _apart(wanted, row), strict=True)

    def cost(self) -> float:
        crossings = sum(
            (self.x[a] - self.x[c]) * (self.x[b] - self.x[d]) < -1e-9
            for (a, b), (c, d) in itertools.combinations(self.links, 2)
            if a.row == c.row
        )
        return 3 * crossings + sum(abs(self.x[a] - self.x[b]) for a, b in self.links)

    def draw(self, axes, dx: float, dy: float) -> None:
        """Draws the cell with its origin at (dx, dy)."""
        below = {(b, a.state): a for a, b in self.links}  # where a reader's line comes from
        for a, b in self.links:
            if b.passes:
                _line(axes, (self.x[a] + dx, a.top + dy), (self.x[b] + dx, b.bottom + dy), a.state)
                _line(axes, (self.x[b] + dx, b.bottom + dy), (self.x[b] + dx, b.top + dy), a.state)
        for item in (item for row in self.rows for item in row if not item.passes):
            x, y = self.x[item] + dx, item.bottom + dy
            if item.row == 0:
                _box(axes, x, y + HEIGHT / 2, WIDE, HEIGHT, "white", _color(item.state))
                name = ("cell i-2", "cell i-1")[item.state]
                _write(axes, x, y + HEIGHT / 2, name, fontsize=10, color=_color(item.state))
                continue
            if item.state == OUT:
                _box(axes, x, y + HEIGHT / 2, WIDE, HEIGHT, "#333333", "#333333")
                _write(axes, x, y + HEIGHT / 2, "concat", fontsize=10, color="white")
                sources = sorted((below[item, state] for state in set(self.output)), key=self.x.get)
                step = min(0.2, (WIDE - 0.2) / len(sources))
                for number, source in enumerate(sources):
                    end = x + step * (number - (len(sources) - 1) / 2), y
                    start = self.x[source] + dx, source.top + dy
                    _line(axes, start, end, source.state, arrow=True)
                continue
            one, a, other, b, *combiner = self.nodes[item.state - 2]
            middle = y + NODE - 0.13
            pairs = sorted(((one, a), (other, b)), key=lambda pair: self.x[below[item, pair[1]]])
            for (name, state), side in zip(pairs, (-1, 1), strict=True):
                centre = x + side * (BLOCK - BOX) / 2
                source = below[item, state]
                start = self.x[source] + dx, source.top + dy
                _line(axes, start, (centre, y), state, arrow=True)
                _line(axes, (centre, y + HEIGHT), (x + side * 0.2, middle), item.state)
                color = next(KINDS[start][0] for start in KINDS if name.startswith(start))
                _box(axes, centre, y + HEIGHT / 2, BOX, HEIGHT, color)
                size = 9.5 if len(name) < 8 else 7
                _write(axes, centre, y + HEIGHT / 2, name, fontsize=size)
            color = _color(item.state)
            axes.add_patch(Ellipse((x, middle), 0.6, 0.26, facecolor=color, linewidth=0, zorder=3))
            _write(axes, x, middle, (*combiner, "add")[0], fontsize=8.5, color="white")
            _write(axes, x + 0.36, middle + 0.05, str(item.state), fontsize=8, color=color)


def _apart(wanted: list[float], row: list[Item]) -> np.ndarray:
    """Returns the places nearest to those wanted at which the items of a row do not overlap.

    Least squares under an order is isotonic regression.
    """
    wide = [item.width + GAP for item in row]
    starts = [(a + b) / 2 for a, b in itertools.pairwise(wide)]
    offsets = list(itertools.accumulate(starts, initial=0.0))
    return isotonic_regression(np.subtract(wanted, offsets)).x + offsets


# Layers: a chain upwards. Skips leave and arrive on the right, what the end reads on the left; the longer
# an arc, the farther out.


def _draw_layers(layers) -> Figure:
    wide, high, step, last, ends = 2.3, 0.36, 0.68, len(layers), _ends(layers)
    names = [f"{h}x{w}, {n} filters" + f", stride {s}" * (s > 1) for h, w, n, s, _ in layers]
    names = ["image", *names, *["concat"] * (len(ends) > 1), "softmax"]
    links = [(i, number) for number, layer in enumerate(layers, 1) for i in layer[4] or (0,)]
    links = [*dict.fromkeys(links), *((i, last + 1) for i in ends)]
    if len(ends) > 1:
        links.append((last + 1, last + 2))
    arcs = {(a, b): 0.2 + 0.17 * (b - a) for a, b in links if b - a > 1}
    left = max((out for (_, b), out in arcs.items() if b > last), default=0.3)
    right = max((out for (_, b), out in arcs.items() if b <= last), default=0.0)
    size = left + wide + right + 2 * MARGIN, step * (len(names) - 1) + high + 2 * MARGIN
    figure, axes = _canvas(*size)
    x, y = MARGIN + left + wide / 2, [MARGIN + high / 2 + step * i for i in range(len(names))]
    for number, name in enumerate(names):
        layer = 1 <= number <= last
        color, ink = (KINDS["conv"][0], "black") if layer else ("#333333", "white")
        _box(axes, x, y[number], wide if layer else WIDE, high, color)
        _write(axes, x, y[number], name, fontsize=9.5, color=ink)
        if layer:
            style = {"fontsize": 9.5, "weight": "bold", "color": _color(number + 1)}
            _write(axes, x - wide / 2 + 0.18, y[number], str(number), **style)
    for a, b in links:
        color = _color(a + 1 if 1 <= a <= last else 5)
        if b - a == 1:
            points = [(x, y[a] + high / 2), (x, y[b] - high / 2)]
            _path(axes, Path(points), color, arrow=True)
            continue
        side = 1 if b <= last else -1
        start, end = (x + side / 2 * (wide if 1 <= i <= last else WIDE) for i in (a, b))
        far = x + side * (wide / 2 + 4 / 3 * arcs[a, b])
        low, top = y[a] + high / 5, y[b] - high / 5
        points = [(start, low), (far, low), (far, top), (end, top)]
        _path(axes, Path(points, [1, 4, 4, 4]), color, arrow=True)
    return figure


def _canvas(width: float, height: float):
    """Returns a figure of width x height inches, and axes in which an inch is 1."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def _color(state: int) -> str:
    return COLORS[state if state < 2 else 2 + (state - 2) % (len(COLORS) - 2)]


def _box(axes, x: float, y: float, wide: float, high: float, color: str, edge="#555555") -> None:
    style = f"round,pad=0,rounding_size={0.25 * high}"
    corner = (x - wide / 2, y - high / 2)
    patch = FancyBboxPatch(corner, wide, high, style, facecolor=color, edgecolor=edge, zorder=3)
    axes.add_patch(patch)


def _write(axes, x: float, y: float, words: str, ha="center", **style) -> None:
    axes.text(x, y, words, ha=ha, va="center_baseline", zorder=4, **style)


def _line(axes, start, end, state: int, arrow: bool = False) -> None:
    """Draws a line that leaves and arrives upright, in the colour of a state."""
    (x, y), (to, top) = start, end
    half = 0.55 * (top - y)
    points = [(x, y), (x, y + half), (to, top - half), (to, top)]
    _path(axes, Path(points, [1, 4, 4, 4]), _color(state), arrow)


def _path(axes, path: Path, color: str, arrow: bool) -> None:
    style = "-|>,head_length=4,head_width=2" if arrow else "-"
    patch = FancyArrowPatch(path=path, arrowstyle=style, color=color, linewidth=1.3, zorder=2)
    axes.add_patch(patch)
