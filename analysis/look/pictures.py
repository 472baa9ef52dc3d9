"""The pictures of scripts/look.py, legible for the colour-blind and without words beside them.

A photo is uint8 [height, width, 3 or 1], as the network sees it.
"""

from typing import NamedTuple

import jax
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from analysis import style
from analysis.look import answers
from data.messages import plain

WIDTH = 10  # inches
RIGHT, WRONG = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion, told apart by all
COLORS = {True: RIGHT, False: WRONG, None: "#999999"}
CHECK, CROSS, ARROW = "\u2713", "\u2717", "\u2192"
MATRIX = 30  # classes, of which a matrix can still be read
BARS = 40  # classes, each of which can have a bar of its own
MAX_FILTERS = 128


def filters(kernel: np.ndarray) -> Figure:
    """Draws the filters of a first layer, each scaled by its own largest weight.

    Args:
      kernel: [height, width, channels of the images, filters].
    """
    height, width, channels, number = kernel.shape
    shown = min(number, MAX_FILTERS)
    columns = min(16, shown)
    rows = -(-shown // columns)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.56 * rows), layout="constrained")
    of = f"{shown} of {number}" if shown < number else f"{number}"
    figure.suptitle(f"First layer: {of} filters of {height} x {width}")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for i in range(shown):
        largest = np.abs(kernel[..., i]).max() or 1
        grid[i].imshow(pixels(0.5 + kernel[..., i] / largest / 2), vmin=0, vmax=1, cmap="gray")
    scale = ScalarMappable(cmap="gray")
    scale.set_clim(-1, 1)
    of_colors = "" if channels == 1 else " (of red, green, blue as colours)"
    figure.colorbar(
        scale,
        ax=grid.tolist(),
        location="bottom",
        shrink=0.5,
        aspect=40,
        ticks=[-1, 0, 1],
        label=f"weight, of the largest of its filter{of_colors}",
    )
    return figure


class Stage(NamedTuple):
    """The strongest channels of a feature map."""

    name: str
    channels: int  # of the feature map
    chosen: np.ndarray  # int [n], their numbers
    maps: np.ndarray  # [height, width, n]


def features(photo: np.ndarray, stages: list[Stage], title: str) -> Figure:
    """Draws the strongest channels of each feature map, each from its lowest to its highest value.

    Args:
      photo: what the network sees.
      stages: from the image to the answer.
      title: above the picture.
    """
    columns = 1 + max(len(stage.chosen) for stage in stages)
    figure = Figure(figsize=(WIDTH, 1 + 1.14 * (1 + len(stages))), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(1 + len(stages), columns, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    labels = ["image\n{} x {}".format(*photo.shape)]
    grid[0, 1].imshow(pixels(photo), cmap="gray", vmin=0, vmax=255)
    for row, (name, channels, chosen, maps) in zip(grid[1:], stages, strict=True):
        labels.append("{}\n{} x {}\n{:,} maps".format(name, *maps.shape[:2], channels))
        for axes, number, map_ in zip(row[1:], chosen, np.moveaxis(maps, -1, 0), strict=False):
            axes.imshow(map_, cmap="viridis")
            axes.set_title(f"no. {number}", fontsize=7, pad=2)
    for axes, label in zip(grid[:, 0], labels, strict=True):
        axes.text(0.5, 0.5, label, transform=axes.transAxes, ha="center", va="center", fontsize=9)
    scale = ScalarMappable(cmap="viridis")
    bar = figure.colorbar(
        scale, ax=grid.ravel().tolist(), location="bottom", shrink=0.4, aspect=40, ticks=[0, 1]
    )
    bar.ax.set_xticklabels(["lowest of the map", "highest"])
    return figure


class Answer(NamedTuple):
    """A class that a network found likely."""

    name: str
    probability: float
    right: bool | None  # None: that is not known


class Evidence(NamedTuple):
    """A photo, the answer to it, and where the network found it."""

    photo: np.ndarray
    name: str  # above the photo
    top: list[Answer]  # the likeliest
    activation: np.ndarray | None  # class activation map of the answer, [height, width]
    gradients: list[tuple[str, np.ndarray]]  # (class, Grad-CAM [height, width])


def evidence(rows: list[Evidence], title: str) -> Figure:
    """Draws photos, a row each: what was answered, and where the network found it."""
    with_activation = rows[0].activation is not None
    columns = 2 + with_activation + len(rows[0].gradients)
    side = WIDTH / 5
    figure = Figure(figsize=(WIDTH, 1.1 + (side + 0.3) * len(rows)), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for (first, second, *others), row in zip(grid, rows, strict=True):
        first.imshow(pixels(row.photo), cmap="gray", vmin=0, vmax=255)
        first.set_title(short(row.name), fontsize=9)
        _top(second, row.top)
        if with_activation:
            axes = others.pop(0)
            largest = np.abs(row.activation).max() or 1
            drawn = _over(axes, row.photo, row.activation, cmap="PuOr", vmin=-largest, vmax=largest)
            axes.set_title(f"CAM of\n{short(row.top[0].name)}", fontsize=9)
            bar = figure.colorbar(
                drawn, ax=axes, shrink=0.7, aspect=12, pad=0.02, ticks=[-largest, 0, largest]
            )
            bar.ax.set_yticklabels([f"-{largest:.1f}", "0", f"+{largest:.1f}"], fontsize=7)
            bar.ax.set_title("logits", fontsize=7)
        for axes, (name, map_) in zip(others, row.gradients, strict=True):
            drawn = _over(axes, row.photo, map_, cmap="viridis", vmin=0, vmax=map_.max() or 1)
            axes.set_title(f"Grad-CAM of\n{short(name)}", fontsize=9)
    bar = figure.colorbar(
        ScalarMappable(cmap="viridis"),
        ax=grid.ravel().tolist(),
        location="bottom",
        shrink=0.4,
        aspect=40,
        ticks=[0, 0.5, 1],
        format=PercentFormatter(1),
    )
    bar.set_label("Grad-CAM: evidence for the class, of the largest in that picture")
    return figure


def _top(axes, top: list[Answer]) -> None:
    axes.axis("on")
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_box_aspect(1)
    colors = [COLORS[answer.right] for answer in top]
    axes.barh(range(len(top)), [answer.probability for answer in top], color=colors, height=0.35)
    for place, (name, probability, _) in enumerate(top):
        axes.text(0.02, place - 0.25, short(name), fontsize=8, va="bottom")
        axes.text(1, place - 0.25, f"{probability:.0%}", fontsize=8, va="bottom", ha="right")
    axes.set(xlim=(0, 1), ylim=(len(top) - 0.5, -0.9), xticks=[], yticks=[])


def confusion(counts: np.ndarray, names: list[str]) -> Figure:
    """Draws what share of each class got each answer; of more than MATRIX classes the most confused pairs.

    Args:
      counts: of `answers.confusion`.
      names: of the classes.
    """
    if len(names) > MATRIX:
        return _confused_pairs(counts, names)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(5.5, 1.8 + 0.42 * len(names))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(share, cmap="cividis", norm=PowerNorm(0.5, 0, 1))
    labels = [short(name) for name in names]
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    is_long = max(map(len, labels)) > 3
    axes.set_xticks(range(len(names)), labels, **(slanted if is_long else {}))
    axes.set_yticks(range(len(names)), labels)
    axes.set(xlabel="answer", ylabel="truth", title="Which class is taken for which (images)")
    for truth, answer in np.argwhere(counts):
        axes.text(
            answer,
            truth,
            f"{counts[truth, answer]:,}",
            ha="center",
            va="center",
            fontsize=8 if len(names) <= 15 else 6,
            color="black" if share[truth, answer] > 0.3 else "white",
        )
    bar = figure.colorbar(
        drawn, ax=axes, shrink=0.8, format=PercentFormatter(1), ticks=[0, 0.01, 0.05, 0.2, 0.5, 1]
    )
    bar.set_label("share of the images of a class")
    return figure


def _confused_pairs(counts: np.ndarray, names: list[str], most: int = 25) -> Figure:
    pairs = answers.most_confused(counts, most)
    figure = Figure(figsize=(WIDTH, 1.2 + 0.25 * max(len(pairs), 2)), layout="constrained")
    axes = figure.subplots()
    number = counts.sum(1)
    shares = [counts[truth, answer] / number[truth] for truth, answer in pairs]
    axes.barh(range(len(pairs)), shares, color=WRONG)
    labels = [
        f"{short(names[truth], 32)} {ARROW} {short(names[answer], 32)}" for truth, answer in pairs
    ]
    axes.set_yticks(range(len(pairs)), labels, fontsize=8)
    for place, (truth, answer) in enumerate(pairs):
        text = f" {counts[truth, answer]:,} of {number[truth]:,}"
        axes.text(shares[place], place, text, va="center", fontsize=8)
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set(
        title=f"The most confused pairs of {len(names):,} classes",
        xlabel="share of the images of the true class (left) that got the wrong answer (right)",
        xlim=(0, 1.12 * max(shares, default=1)),
    )
    style.clean(axes)
    axes.set_axisbelow(True)
    return figure


def classes(counts: np.ndarray, names: list[str]) -> Figure:
    """Draws the accuracy of each class, lowest first; of more than BARS classes the lowest and the highest.

    Args:
      counts: of `answers.confusion`.
      names: of the classes.
    """
    number, right = counts.sum(1), counts.diagonal()
    accuracy = right / np.maximum(number, 1)
    order = [i for i in np.argsort(accuracy, kind="stable") if number[i]]
    half = BARS // 2
    parts = [order] if len(order) <= BARS else [order[:half], order[-half:]]
    figure = Figure(figsize=(WIDTH, 1.2 + 0.25 * max(4, *map(len, parts))), layout="constrained")
    mean = right.sum() / number.sum()
    for axes, part in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts, strict=True):
        axes.barh(range(len(part)), accuracy[part], color=RIGHT)
        axes.set_yticks(range(len(part)), [short(names[i], 32) for i in part], fontsize=8)
        for place, i in enumerate(part):
            text = f"{accuracy[i]:.0%}, {right[i]:,} of {number[i]:,}"
            axes.text(1.01, place, text, va="center", fontsize=8)
        axes.axvline(mean, color="black", linestyle="--", linewidth=1)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlim=(0, 1), xlabel="images that were answered right")
        style.clean(axes)
        axes.set_axisbelow(True)
    shown = (
        "" if len(parts) == 1 else f": the {half} lowest and the {half} highest of {len(order):,}"
    )
    figure.suptitle(f"Accuracy of each class{shown} (dashed: of all images, {mean:.1%})")
    return figure


class Card(NamedTuple):
    """A photo of a contact sheet."""

    photo: np.ndarray
    truth: str
    answers: list[Answer]


def sheet(cards: list[Card], title: str, columns: int = 5) -> Figure:
    """Draws photos side by side, each below its true class and above the answers to it."""
    rows, longest = -(-len(cards) // columns), max(len(card.answers) for card in cards)
    height = WIDTH / columns + 0.22 * (1 + longest)
    figure = Figure(figsize=(WIDTH, 0.5 + height * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, card in zip(grid, cards, strict=False):
        axes.imshow(pixels(card.photo), cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"truth: {short(card.truth)}", fontsize=9, pad=3)
        for place, (name, probability, right) in enumerate(card.answers):
            axes.text(
                0.5,
                -0.03 - 0.11 * place,
                f"{CHECK if right else CROSS} {short(name)} ({probability:.0%})",
                color=COLORS[right],
                transform=axes.transAxes,
                ha="center",
                va="top",
                fontsize=9,
            )
    return figure


def short(name: str, most: int = 24) -> str:
    """Returns a name that fits a picture, on one line, of which matplotlib takes nothing for a formula."""
    name = plain(name)
    name = name if len(name) <= most else f"{name[: most - 1].rstrip()}\u2026"
    return name.replace("$", r"\$")


def pixels(image: np.ndarray) -> np.ndarray:
    """Returns an image as matplotlib takes it."""
    return image[..., 0] if image.shape[-1] == 1 else image


def _over(axes, photo: np.ndarray, map_: np.ndarray, **colors):
    """Draws a map as colours over a photo of which light and dark are left."""
    place = {"extent": (0, 1, 1, 0)}
    axes.imshow(photo.mean(-1), cmap="gray", vmin=-150, vmax=255, **place)
    side = max(256, *photo.shape[:2])
    large = np.asarray(jax.image.resize(map_, (side, side), "bilinear"))
    return axes.imshow(large, alpha=0.65, **place, **colors)
