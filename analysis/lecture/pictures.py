"""The pictures of docs/lecture.md."""

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import style
from analysis.count import Layer
from analysis.lecture import charts, counted, years
from analysis.lecture.tables import SLIDE_ALEXNET
from analysis.lecture.towers import Part
from analysis.summary import shape_text

VGG_LAYERS = [f"conv{s}_{i}" for s, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)] + [
    "fc6",
    "fc7",
    "fc8",
]


def make(networks: list[dict], parts: list[Part]) -> dict[str, bytes]:
    """Returns name -> picture, as a PNG.

    Args:
      networks: of tests/counts.json.
      parts: of `towers.alexnet`.
    """
    alexnet, vgg = counted.alexnet(), counted.vgg16()
    names = list(SLIDE_ALEXNET)
    products = [name for name in names if not name.startswith("pool")]
    return {
        "lecture_alexnet": costs(
            {"AlexNet": (names, [layer for layer in alexnet.layers if layer.memory])}
        ),
        "lecture_vgg": costs(
            {"AlexNet": (products, alexnet.products), "VGG-16": (VGG_LAYERS, vgg.products)}
        ),
        "lecture_bubbles": bubbles(networks),
        "lecture_two_gpus": two_gpus(parts),
        "lecture_winners": charts.winners(),
        "lecture_inception": charts.inception(),
        "lecture_growth": charts.growth(),
        "lecture_shuffle": charts.shuffle(),
        "lecture_families": charts.families({network["name"]: network for network in networks}),
    }


def costs(networks: dict[str, tuple[list[str], list[Layer]]]) -> bytes:
    """Draws memory, parameters and multiply-adds of each layer as bars, a row a network.

    Args:
      networks: name -> names of its layers, and these.

    Returns:
      The picture, as a PNG.
    """
    sizes = [len(layers) for _, layers in networks.values()]
    size = (10, 1.2 * len(networks) + 0.21 * sum(sizes))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(networks), 3, sharex="col", height_ratios=sizes, squeeze=False)
    kinds = (
        ("memory of the output (KB)", "memory", 2**10, 0),
        ("parameters (million)", "parameters", 1e6, 2),
        ("multiply-adds (million)", "multiply_adds", 1e6, 0),
    )
    parts = {
        "conv": ("C0", "convolution"),
        "max pool": ("0.6", "pooling"),
        "average pool": ("0.6", "pooling"),
        "global average": ("0.6", "pooling"),
        "dense": ("C1", "fully connected"),
    }
    legend = {}
    for (name, (labels, layers)), row in zip(networks.items(), panels, strict=True):
        colors = [parts[layer.kind][0] for layer in layers]
        for color, part in (parts[layer.kind] for layer in layers):
            legend.setdefault(part, Rectangle((0, 0), 1, 1, color=color))
        for axes, (label, field, unit, digits) in zip(row, kinds, strict=True):
            values = [getattr(layer, field) / unit for layer in layers]
            drawn = axes.barh(range(len(layers)), values, color=colors)
            axes.bar_label(drawn, [f"{v:,.{digits}f}" for v in values], padding=2, fontsize=7)
            axes.set_yticks(range(len(layers)), labels, fontsize=8)
            axes.invert_yaxis()
            axes.margins(x=0.2)
            axes.spines[["top", "right"]].set_visible(False)
            if axes in panels[-1]:
                axes.set_xlabel(label)
        row[0].set_title(name, loc="left", fontsize=10)
    panels[0][2].legend(legend.values(), legend, frameon=False, fontsize=8)
    return style.png(figure)


def bubbles(networks: list[dict]) -> bytes:
    """Draws published top-1 accuracy against multiply-adds, the parameters as area.

    Args:
      networks: of tests/counts.json; those of `years.charted` are drawn.

    Returns:
      The picture, as a PNG.
    """
    drawn = years.charted(networks)
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    axes = figure.subplots()
    shown = sorted({years.year(network) for network in drawn})
    shades = matplotlib.colormaps["viridis_r"]
    colors = {year: shades(0.1 + 0.9 * i / (len(shown) - 1)) for i, year in enumerate(shown)}
    for network in sorted(drawn, key=lambda network: -network["parameters"]):
        axes.scatter(
            network["multiply_adds"] / 1e9,
            100 - network["published"]["top1"],
            s=8 * network["parameters"] / 1e6,
            color=colors[years.year(network)],
            alpha=0.75,
            edgecolor="white",
        )
    axes.set(
        xscale="log",
        xlim=(0.03, 60),
        ylim=(48, 86),
        xlabel="multiply-adds of one image (billion)",
        ylabel="published top-1 accuracy on ImageNet, one crop (%)",
    )
    axes.xaxis.set_major_formatter("{x:g}")
    for year, color in colors.items():
        axes.scatter([], [], s=60, color=color, label=str(year))
    for size in (5, 25, 140):
        label = f"{size} million parameters"
        axes.scatter([], [], s=8 * size, facecolor="none", edgecolor="black", label=label)
    axes.legend(
        frameon=False, loc="lower right", fontsize=8, labelspacing=1.6, handletextpad=2, ncols=2
    )
    style.clean(axes)
    style.label(
        axes,
        [
            (n["multiply_adds"] / 1e9, 100 - n["published"]["top1"], n["name"].partition(" (")[0])
            for n in drawn
        ],
    )
    return style.png(figure)


def two_gpus(parts: list[Part]) -> bytes:
    """Draws a network on two devices: a row a device, arrows across where they exchange maps.

    Args:
      parts: of `towers.alexnet`.

    Returns:
      The picture, as a PNG.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots()
    rows, width, height = (1.55, 0.0), 1.16, 0.62
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}
    for device, y in enumerate(rows):
        axes.text(-0.75, y + 0.3, f"device {device}", ha="right", va="center", fontsize=9)
        for i, part in enumerate(parts):
            x = 1.65 * i
            convolution = len(part.local) == 4
            color = "#cfe2f3" if convolution else "#fce5cd"
            axes.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor="black"))
            axes.text(
                x + width / 2,
                y + height / 2,
                f"{part.name}\n{shape_text(part.local[:2])}"
                + (f"\n{part.local[2]} to {part.local[3]}" if convolution else ""),
                ha="center",
                va="center",
                fontsize=7.5,
            )
            axes.text(
                x + width / 2,
                y - 0.05 if device else y + height + 0.04,
                shape_text(part.local_output),
                ha="center",
                va="top" if device else "bottom",
                fontsize=7,
                color="#444444",
            )
            start = (x - 0.49, y + height / 2)
            axes.annotate("", (x, y + height / 2), start, arrowprops=arrow)
            if part.received:
                other = rows[1 - device]
                across = arrow | {"color": "#c1440e", "lw": 1.4}
                axes.annotate(
                    "", (x, y + height / 2), (x - 0.49, other + height / 2), arrowprops=across
                )
    for i, part in enumerate(parts):
        if part.received:
            axes.text(
                1.65 * i + 0.02,
                rows[0] / 2 + height / 2,
                f"{part.received / 1024:.1f} KB\neach way",
                ha="left",
                va="center",
                fontsize=7.5,
                color="#c1440e",
            )
    axes.set(xlim=(-1.6, 1.65 * len(parts) - 0.3), ylim=(-0.35, 2.5))
    axes.axis("off")
    return style.png(figure)
