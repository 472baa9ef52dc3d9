"""Pictures of docs/lecture.md on winners, modules and trends; those on whole networks are in pictures.py."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis import style
from analysis.lecture import counted, modules
from analysis.lecture.trends import HUMAN, WINNERS
from models import densenet, googlenet

# Families: their networks in tests/counts.json, from small to large.
FAMILIES = {
    "VGG": ("VGG-11", "VGG-13", "VGG-16", "VGG-19"),
    "ResNet": ("ResNet-18", "ResNet-34", "ResNet-50 v1.5", "ResNet-101 v1.5", "ResNet-152 v1.5"),
    "ResNeXt": ("ResNeXt-50 32x4d", "ResNeXt-101 32x8d"),
    "DenseNet": ("DenseNet-121", "DenseNet-169", "DenseNet-201", "DenseNet-161"),
    "MobileNet": ("MobileNet 0.25", "MobileNet 0.5", "MobileNet 0.75", "MobileNet 1.0"),
    "ShuffleNet, g = 3": ("ShuffleNet 0.25x, g = 3", "ShuffleNet 0.5x, g = 3", "ShuffleNet 1x, g = 3",
                          "ShuffleNet 1.5x, g = 3", "ShuffleNet 2x, g = 3"),
}  # fmt: skip
ALONE = ("AlexNet, 227 x 227", "ZFNet", "ZFNet, wide", "GoogLeNet", "NASNet-A mobile (4 @ 1056)")


def winners() -> bytes:
    """Draws the top-5 error of ILSVRC's winners by year, with their depths, as a PNG."""
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    axes = figure.subplots()
    colors = ["C0" if winner.layers else "0.6" for winner in WINNERS]
    axes.bar(range(len(WINNERS)), [winner.error for winner in WINNERS], color=colors)
    axes.axhline(HUMAN, color="C1", linestyle="--", linewidth=1)
    axes.text(len(WINNERS) - 0.5, HUMAN + 0.3, f"a person: {HUMAN}", color="C1", fontsize=8)
    for x, winner in enumerate(WINNERS):
        depth = f"{winner.layers} layers" if winner.layers else "shallow"
        y = winner.error if winner.error > HUMAN else HUMAN  # above the line
        axes.text(x, y + 0.4, f"{winner.error:.1f}\n{depth}", ha="center", fontsize=8)
    names = [
        f"{w.year}\n{w.who.partition(' (')[0].replace(' and ', chr(10) + 'and ')}" for w in WINNERS
    ]
    axes.set_xticks(range(len(WINNERS)), names, fontsize=8)
    axes.set(ylabel="top-5 error on ILSVRC's test images (%)", ylim=(0, 33))
    axes.spines[["top", "right"]].set_visible(False)
    return style.png(figure)


def inception() -> bytes:
    """Draws the multiply-adds of GoogLeNet's modules, with and without 1x1 reductions, as a PNG."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, width_ratios=(3, 1))
    found = modules.of_googlenet()
    whole, naive = (
        [getattr(one, kind).multiply_adds / 1e6 for one in found] for kind in ("whole", "naive")
    )
    stacked = sum(one.stacked.multiply_adds for one in found) / 1e6
    places = np.arange(len(found))
    for axes, shift, values, label in (
        (panels[0], -0.2, whole, "with reductions"),
        (panels[0], 0.2, naive, "without"),
    ):
        drawn = axes.bar(places + shift, values, 0.4, label=label)
        axes.bar_label(drawn, [f"{value:,.0f}" for value in values], fontsize=7)
    panels[0].set_xticks(places, list(googlenet.INCEPTION))
    panels[0].set(ylabel="multiply-adds (million)", title="each on its own input")
    panels[0].legend(frameon=False, fontsize=8, loc="upper right")
    sums = [sum(whole), stacked]
    drawn = panels[1].bar(("with\nreductions", "without"), sums, color=["C0", "C1"])
    panels[1].bar_label(drawn, [f"{value:,.0f}" for value in sums], fontsize=7)
    panels[1].set_title("all nine, one on the other")
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(y=0.12)
    return style.png(figure)


def growth() -> bytes:
    """Draws how a DenseNet-121 grows, layer by layer, as a PNG."""
    network = counted.densenet121()
    layers = [
        (block, [x for x in network.products if x.path.startswith(f"block{block}/layer{i}/")])
        for block, depth in enumerate(densenet.BLOCKS[121], 1)
        for i in range(1, depth + 1)
    ]
    places = range(1, len(layers) + 1)
    colors = [f"C{block - 1}" for block, _ in layers]
    pairs = [pair for _, pair in layers]
    whole = [4 * math.prod(one.input) / counted.MB for one, _ in pairs]
    new = [4 * math.prod(two.output) / counted.MB for _, two in pairs]
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True)
    panels[0].bar(places, [one.input[-1] for one, _ in pairs], color=colors)
    panels[0].set_ylabel("channels that\na layer sees")
    for axes, figure_, unit, label in (
        (panels[1], "parameters", 1e3, "parameters\n(thousand)"),
        (panels[2], "multiply_adds", 1e6, "multiply-adds\n(million)"),
    ):
        first, second = (
            [getattr(x, figure_) / unit for x in one] for one in zip(*pairs, strict=True)
        )
        axes.bar(places, second, color=colors)
        axes.bar(places, first, bottom=second, color=colors, alpha=0.45)
        axes.set_ylabel(label)
    panels[3].bar(places, new, color=colors)
    panels[3].bar(places, whole, bottom=new, color=colors, alpha=0.45)
    panels[3].set(ylabel="MB in float32", xlabel="layer, the four blocks one after the other")
    legends = (
        ("its 1x1, to 128 channels", "its 3x3, to 32 channels"),
        ("its 1x1", "its 3x3"),
        ("the maps before, copied", "its own 32 maps"),
    )
    corners = ("upper left", "upper right", "upper right")
    for axes, labels, place in zip(panels[1:], legends, corners, strict=True):
        patches = [
            Patch(color="0.3", alpha=alpha, label=label)
            for alpha, label in zip((0.45, 1), labels, strict=True)
        ]
        axes.legend(handles=patches, frameon=False, fontsize=8, loc=place)
    for axes in panels:
        style.clean(axes)
    return style.png(figure)


def shuffle() -> bytes:
    """Draws which channels a ShuffleNet unit's output depends on, with and without shuffle, as a PNG."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (groups, shuffled, label) in zip(
        panels,
        ((3, False, "3 groups, no shuffle"), (8, False, "8 groups, no shuffle"), (8, True, "8 groups, shuffle")),
        strict=True,
    ):  # fmt: skip
        axes.imshow(~modules.dependence(groups, shuffled), cmap="gray", vmin=-1, vmax=1)
        axes.set(title=label, xlabel="channel of the output")
    panels[0].set_ylabel("channel of the input")
    return style.png(figure)


def families(known: dict[str, dict]) -> bytes:
    """Draws published top-1 error against multiply-adds, a line a family, as a PNG.

    Args:
      known: the networks of tests/counts.json by name.
    """

    def points(names):
        return [(known[n]["multiply_adds"] / 1e9, known[n]["published"]["top1"]) for n in names]

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots()
    labels = []
    for i, (family, names) in enumerate(FAMILIES.items()):
        axes.plot(*zip(*points(names), strict=True), "o-", color=f"C{i}", label=family)
        labels += [(*point, name) for point, name in zip(points(names), names, strict=True)]
    for name, point in zip(ALONE, points(ALONE), strict=True):
        axes.plot(*point, "k^", markersize=5)
        labels.append((*point, name))
    axes.set(
        xscale="log",
        xlim=(0.008, 60),
        xlabel="multiply-adds of one image (billion)",
        ylabel="published top-1 error on ImageNet, one crop (%)",
    )
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    style.clean(axes)
    style.label(
        axes, [(x, y, name.partition(" (")[0].partition(", g")[0]) for x, y, name in labels]
    )
    return style.png(figure)
