"""Pictures of sweeps."""

import itertools
import math
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from analysis import style


class Point(NamedTuple):
    """What runs that differ in their seed alone came to."""

    fields: dict[str, Any]  # for example {"depth": 56, "residual": False}
    mean: float
    deviation: float  # over the seeds; nan for one run


def means(groups: dict[str, list[list[tuple[int, float]]]], metric: str) -> bytes:
    """Draws a metric over the steps: each run thin, the mean of a group's runs thick.

    Args:
      groups: label -> a list of (step, value) for each run.
      metric: its name.

    Returns:
      The picture, as a PNG.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for (label, runs), color in zip(groups.items(), style.colors(len(groups)), strict=True):
        values = {}
        for run in filter(None, runs):
            axes.plot(*zip(*run, strict=True), color=color, linewidth=0.7, alpha=0.4)
            for step, value in run:
                values.setdefault(step, []).append(value)
        every = max(map(len, values.values()), default=0)  # steps that all of its runs have
        mean = [(s, sum(v) / len(v)) for s, v in sorted(values.items()) if len(v) == every]
        axes.plot(*zip(*mean, strict=True), color=color, linewidth=2, label=label)
    axes.set(xlabel="step", ylabel=named(metric))
    if len(groups) <= 20:
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    style.clean(axes)
    return style.png(figure)


def against(
    points: list[Point], fields: list[str], metric: str, by: list[str] | None = None
) -> bytes:
    """Draws a metric against each of the fields, a panel a field, with the deviation over seeds.

    Args:
      points: of the groups of a sweep.
      fields: of the panels; any that the points have.
      metric: its name.
      by: fields in which the points of a line are alike; None: all but the panel's.

    Returns:
      The picture, as a PNG.
    """
    figure = Figure(figsize=(1.5 + 4 * len(fields), 4), layout="constrained")
    panels = figure.subplots(1, len(fields), sharey=True, squeeze=False)
    for axes, field in zip(panels[0], fields, strict=True):
        varied = [f for f in points[0].fields if f != field] if by is None else by
        lines, marks = {}, "o-"
        for point in sorted(points, key=lambda p: [_order(p.fields[name]) for name in varied]):
            label = ", ".join(f"{named(name)} {text(point.fields[name])}" for name in varied)
            lines.setdefault(label, []).append(point)
        if len(lines) > 1 and 2 * len(lines) > len(points):  # random draws: nothing to join
            lines, marks = {"": points}, "o"
        for (label, line), color in zip(lines.items(), style.colors(len(lines)), strict=True):
            line = sorted(line, key=lambda point: _order(point.fields[field]))
            x = [_place(point.fields[field]) for point in line]
            bars = [0 if math.isnan(point.deviation) else point.deviation for point in line]
            axes.errorbar(
                x, [p.mean for p in line], bars, fmt=marks, color=color, capsize=3, label=label
            )
        if is_wide([point.fields[field] for point in points]):
            axes.set_xscale("log")
        axes.set(xlabel=named(field))
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize="small")
        style.clean(axes)
    panels[0][0].set_ylabel(named(metric))
    return style.png(figure)


def pairs(points: list[Point], fields: list[str], metric: str) -> bytes:
    """Draws two fields against each other, the metric as colour, a panel for each of up to 3 pairs.

    Args:
      points: of the groups of a sweep; where several lie on one place, their mean is shown.
      fields: two or more.
      metric: its name.

    Returns:
      The picture, as a PNG.
    """
    chosen = list(itertools.combinations(fields, 2))[:3]
    figure = Figure(figsize=(1 + 5 * len(chosen), 4), layout="constrained")
    panels = figure.subplots(1, len(chosen), squeeze=False)
    low, high = min(p.mean for p in points), max(p.mean for p in points)
    for axes, (one, two) in zip(panels[0], chosen, strict=True):
        places = {}
        for point in sorted(points, key=lambda p: (_order(p.fields[one]), _order(p.fields[two]))):
            place = _place(point.fields[one]), _place(point.fields[two])
            places.setdefault(place, []).append(point.mean)
        values = [sum(means) / len(means) for means in places.values()]
        drawn = axes.scatter(*zip(*places, strict=True), c=values, s=130, vmin=low, vmax=high)
        if len(places) == len({x for x, _ in places}) * len({y for _, y in places}) <= 25:  # a grid
            for place, value in zip(places, values, strict=True):
                axes.annotate(
                    f"{value:.3g}", place, (0, 9), textcoords="offset points", ha="center"
                )
        axes.margins(0.2)
        for field, scale in ((one, axes.set_xscale), (two, axes.set_yscale)):
            if is_wide([point.fields[field] for point in points]):
                scale("log")
        axes.set(xlabel=named(one), ylabel=named(two))
        style.clean(axes)
    figure.colorbar(drawn, ax=panels[0].tolist(), label=named(metric))
    return style.png(figure)


NAMES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "multiply_adds": "multiply-adds an image",
    "eval": "evaluation",
    "eval_train": "training images",
    "eval_raw": "evaluation of the raw weights",
    "train": "training",
}


def named(field: str) -> str:
    """Returns a field of a config, or a metric, as an axis says it: "eval/top1" is "evaluation, top-1 accuracy"."""
    parts = field.rpartition(".")[2].split("/")
    return ", ".join(NAMES.get(part, part.replace("_", " ")) for part in parts)


def text(value) -> str:
    """Returns a field's value as a legend shows it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _place(value):
    """Returns where matplotlib puts a value: a number, or the name of a category."""
    return value if is_number(value) else str(value)


def _order(value):
    return (0, value, "") if is_number(value) else (1, 0, str(value))


def is_wide(values: list) -> bool:
    """Whether values span so much that a logarithmic axis shows them better."""
    numbers = all(is_number(value) and value > 0 for value in values)
    return numbers and max(values) / min(values) >= 20
