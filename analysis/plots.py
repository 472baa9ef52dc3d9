"""Pictures of training runs."""

import io
import itertools
import math
from typing import Any, NamedTuple

import matplotlib

from analysis.summary import shape_text
from training import metrics

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402 - after the backend is chosen


def curves(runs: dict[str, str], output: str, title: str = "") -> None:
    """Draws loss and top-1 error over the steps: training as thin lines, evaluation with dots.

    Args:
      runs: label in the legend -> workdir; its metrics.jsonl is read.
      output: file of the picture, for example curve.png.
      title: above the picture.

    Raises:
      FileNotFoundError: a workdir without metrics.
      ValueError: a run that was stopped before its first evaluation.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for number, (label, workdir) in enumerate(runs.items()):
        lines = _read(workdir)
        color = f"C{number}"
        for axes, name, scale in ((left, "loss", lambda v: v), (right, "top1", _error)):
            for phase, style in (("train", "-"), ("eval", "o-")):
                points = [
                    (x["step"], scale(x[f"{phase}/{name}"]))
                    for x in lines
                    if f"{phase}/{name}" in x
                ]
                if not points:
                    raise ValueError(f"{workdir} has no {phase}/{name} yet: let it run longer")
                thin = {"linewidth": 1, "alpha": 0.5} if phase == "train" else {"markersize": 3}
                thin["label"] = label if phase == "eval" else None
                axes.plot(*zip(*points, strict=True), style, color=color, **thin)
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel="top-1 error (%)", ylim=(0, None))
    right.legend(frameon=False, title="dots: evaluation\nthin: training", alignment="left")
    for axes in (left, right):
        clean(axes)
    figure.suptitle(title)
    figure.savefig(output, dpi=110)
    plt.close(figure)


def bars(values: dict[str, float], output: str, label: str) -> None:
    """Draws a horizontal bar for each name, the highest value on top.

    Args:
      values: name -> value, written at the end of its bar.
      output: file of the picture.
      label: of the axis of the values.
    """
    names = sorted(values, key=values.get)
    figure, axes = plt.subplots(figsize=(7, 0.5 + 0.28 * len(names)), layout="constrained")
    drawn = axes.barh(names, [values[name] for name in names])
    axes.bar_label(drawn, fmt="%.1f", padding=3)
    axes.set(xlabel=label)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=110)
    plt.close(figure)


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
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for (label, runs), color in zip(groups.items(), _colors(len(groups)), strict=True):
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
    clean(axes)
    return png(figure)


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
    figure, panels = plt.subplots(
        1,
        len(fields),
        figsize=(1.5 + 4 * len(fields), 4),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for axes, field in zip(panels[0], fields, strict=True):
        varied = [f for f in points[0].fields if f != field] if by is None else by
        lines, style = {}, "o-"
        for point in sorted(points, key=lambda p: [_order(p.fields[name]) for name in varied]):
            label = ", ".join(f"{named(name)} {text(point.fields[name])}" for name in varied)
            lines.setdefault(label, []).append(point)
        if len(lines) > 1 and 2 * len(lines) > len(points):  # random draws: nothing to join
            lines, style = {"": points}, "o"
        for (label, line), color in zip(lines.items(), _colors(len(lines)), strict=True):
            line = sorted(line, key=lambda point: _order(point.fields[field]))
            x = [_place(point.fields[field]) for point in line]
            bars = [0 if math.isnan(point.deviation) else point.deviation for point in line]
            axes.errorbar(
                x, [p.mean for p in line], bars, fmt=style, color=color, capsize=3, label=label
            )
        if _wide([point.fields[field] for point in points]):
            axes.set_xscale("log")
        axes.set(xlabel=named(field))
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize="small")
        clean(axes)
    panels[0][0].set_ylabel(named(metric))
    return png(figure)


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
    figure, panels = plt.subplots(
        1, len(chosen), figsize=(1 + 5 * len(chosen), 4), layout="constrained", squeeze=False
    )
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
            if _wide([point.fields[field] for point in points]):
                scale("log")
        axes.set(xlabel=named(one), ylabel=named(two))
        clean(axes)
    figure.colorbar(drawn, ax=panels[0].tolist(), label=named(metric))
    return png(figure)


def depths(runs: list) -> bytes:
    """Draws error over the steps as figure 6 of arXiv:1512.03385: plain on the left, residual on the right.

    Training error is dashed, test error solid; a colour a depth; the line is the mean over seeds, the band
    reaches from the lowest to the highest seed.

    Args:
      runs: of `analysis.depth.Run`.

    Returns:
      The picture, as a PNG.
    """
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained", sharey=True)
    layers = sorted({run.depth for run in runs})
    for axes, residual in zip(panels, (False, True), strict=True):
        for depth, color in zip(layers, _colors(len(layers)), strict=True):
            alike = [run for run in runs if (run.depth, run.residual) == (depth, residual)]
            for split, style in (("train", "--"), ("test", "-")):
                curves = [dict(getattr(run, split)) for run in alike]
                steps = sorted(set.intersection(*map(set, curves))) if curves else []
                values = [[curve[step] for curve in curves] for step in steps]
                mean = [sum(v) / len(v) for v in values]
                label = f"{depth} layers" if split == "test" else None
                axes.plot(steps, mean, style, color=color, label=label)
                if len(curves) > 1:
                    low, high = map(min, values), map(max, values)
                    axes.fill_between(steps, [*low], [*high], color=color, alpha=0.15, linewidth=0)
        axes.set(title="residual" if residual else "plain", xlabel="step", ylim=(0, None))
        clean(axes)
    seeds = len({run.seed for run in runs})
    legend = f"dashed: training\nsolid: test\nn = {seeds} seed{'s' * (seeds > 1)}"
    panels[1].legend(frameon=False, title=legend, alignment="left")
    panels[0].set_ylabel("error (%)")
    return png(figure)


def signals(networks: dict[str, dict]) -> bytes:
    """Draws what flows through plain and residual networks, see `analysis.signals`.

    Args:
      networks: name -> {"residual", "depth", "gradients": {when: norms}, "responses", "branches",
        "top1", "without"}; the deepest ones are drawn bold.

    Returns:
      The picture, as a PNG.
    """
    figure, panels = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    moments = list(next(iter(networks.values()))["gradients"])[:3]
    deepest = max(found["depth"] for found in networks.values())
    for label, found in networks.items():
        style = {
            "color": "C0" if found["residual"] else "C3",
            "linewidth": 1.8 if found["depth"] == deepest else 1.0,
            "alpha": 1.0 if found["depth"] == deepest else 0.5,
            "label": label,
        }
        for axes, when in zip(panels[0], moments, strict=False):
            norms = found["gradients"][when]
            axes.plot(range(1, len(norms) + 1), norms, **style)
        panels[1][0].plot(range(1, len(found["responses"]) + 1), found["responses"], **style)
        if found["branches"]:
            panels[1][1].plot(
                range(1, len(found["branches"]) + 1), found["branches"], "o-", markersize=3, **style
            )
        lost = [100 * (found["top1"] - top1) for top1 in found["without"]]
        panels[1][2].plot(range(1, len(lost) + 1), lost, "o-", markersize=3, **style)
    for axes, when in zip(panels[0], moments, strict=False):
        axes.sharey(panels[0][0])
        axes.set(title=f"gradient norm by layer, {when}", xlabel="layer", yscale="log")
    panels[1][0].set(title="response of each layer (std after BN)", xlabel="layer", ylim=(0, None))
    panels[1][1].set(title="size of the branch / of the shortcut", xlabel="block", ylim=(0, None))
    panels[1][2].set(title="top-1 lost without the block (points)", xlabel="block")
    for axes in panels.flat:
        clean(axes)
    panels[0][0].legend(frameon=False, fontsize="small")
    return png(figure)


def ablations(found: dict[str, list]) -> bytes:
    """Draws the test error of each variant: a dot a seed, a bar at their mean; a panel an ablation.

    Args:
      found: name -> runs, of `analysis.ablation.Run`, in the order of the variants.

    Returns:
      The picture, as a PNG.
    """
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(5.5 * columns, 2.1 * rows), layout="constrained", squeeze=False
    )
    for axes in panels.flat[len(found) :]:
        axes.axis("off")
    for axes, (name, runs) in zip(panels.flat, found.items(), strict=False):
        labels = list(dict.fromkeys(run.variant for run in runs))
        for y, label in enumerate(labels):
            errors = [run.error for run in runs if run.variant == label]
            mean = sum(errors) / len(errors)
            axes.plot([mean, mean], [y - 0.3, y + 0.3], color="C0", linewidth=3)
            axes.plot(errors, [y] * len(errors), "o", color="black", markersize=4, alpha=0.6)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.invert_yaxis()
        axes.set_title(name, fontsize=10, loc="left")
        axes.margins(y=0.2)
        axes.locator_params(axis="x", nbins=6)
        clean(axes)
    for axes in panels[-1]:
        axes.set_xlabel("test error (%)")
    return png(figure)


def costs(networks: dict[str, tuple[list[str], list]]) -> bytes:
    """Draws memory, parameters and multiply-adds of each layer as bars, a row a network.

    Args:
      networks: name -> names of its layers, and these as `analysis.count.Layer`.

    Returns:
      The picture, as a PNG.
    """
    sizes = [len(layers) for _, layers in networks.values()]
    figure, panels = plt.subplots(
        len(networks),
        3,
        figsize=(10, 1.2 * len(networks) + 0.21 * sum(sizes)),
        layout="constrained",
        sharex="col",
        height_ratios=sizes,
        squeeze=False,
    )
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
            legend.setdefault(part, plt.Rectangle((0, 0), 1, 1, color=color))
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
    return png(figure)


def bubbles(networks: list[tuple[dict, int]]) -> bytes:
    """Draws published top-1 accuracy against multiply-adds, the parameters as area.

    Args:
      networks: of tests/counts.json, each with its year; those with a published error of one crop are drawn.

    Returns:
      The picture, as a PNG.
    """
    drawn = [
        (network, year)
        for network, year in networks
        if network["published"] and network["published"]["where"].startswith("1 crop")
    ]
    figure, axes = plt.subplots(figsize=(10, 6.2), layout="constrained")
    years = sorted({year for _, year in drawn})
    shades = plt.get_cmap("viridis_r")
    colors = {year: shades(0.1 + 0.9 * i / (len(years) - 1)) for i, year in enumerate(years)}
    for network, year in sorted(drawn, key=lambda one: -one[0]["parameters"]):
        axes.scatter(
            network["multiply_adds"] / 1e9,
            100 - network["published"]["top1"],
            s=8 * network["parameters"] / 1e6,
            color=colors[year],
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
    clean(axes)
    _label(
        axes,
        [
            (n["multiply_adds"] / 1e9, 100 - n["published"]["top1"], n["name"].partition(" (")[0])
            for n, _ in drawn
        ],
    )
    return png(figure)


def _label(axes, points: list[tuple[float, float, str]]) -> None:
    """Writes a name beside each point, with a line to it, where it hides no other name and no point."""
    axes.figure.canvas.draw()
    renderer = axes.figure.canvas.get_renderer()
    centres = [axes.transData.transform(point[:2]) for point in points]
    taken = []
    places = [
        (distance * math.cos(angle), distance * math.sin(angle))
        for distance in (12, 22, 34, 48, 64)
        for angle in (0.5, -0.5, 2.6, -2.6, 1.2, -1.2, 1.9, -1.9)
    ]
    for x, y, name in sorted(points, key=lambda point: (-point[1], point[0])):
        for dx, dy in places:
            written = axes.annotate(
                name,
                (x, y),
                (dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right",
                va="center",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0},
            )
            written.update_positions(renderer)
            box = matplotlib.text.Text.get_window_extent(written, renderer)
            free = not any(box.overlaps(other) for other in taken)
            if free and not any(box.padded(3).contains(*centre) for centre in centres):
                break
            if (dx, dy) != places[-1]:
                written.remove()
        taken.append(box)


def towers(parts: list) -> bytes:
    """Draws a network on two devices: a row a device, arrows across where they exchange maps.

    Args:
      parts: of `analysis.towers.Part`.

    Returns:
      The picture, as a PNG.
    """
    figure, axes = plt.subplots(figsize=(12, 3.6), layout="constrained")
    rows, width, height = (1.55, 0.0), 1.16, 0.62
    arrow = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0}
    for device, y in enumerate(rows):
        axes.text(-0.75, y + 0.3, f"device {device}", ha="right", va="center", fontsize=9)
        for i, part in enumerate(parts):
            x = 1.65 * i
            convolution = len(part.local) == 4
            color = "#cfe2f3" if convolution else "#fce5cd"
            axes.add_patch(plt.Rectangle((x, y), width, height, facecolor=color, edgecolor="black"))
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
    return png(figure)


NAMES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "multiply_adds": "multiply-adds an image",
    "eval": "evaluation",
    "eval_train": "training images",
    "train": "training",
}


def named(field: str) -> str:
    """Returns a field of a config, or a metric, as an axis says it: "eval/top1" is "evaluation, top-1 accuracy"."""
    parts = field.rpartition(".")[2].split("/")
    return ", ".join(NAMES.get(part, part.replace("_", " ")) for part in parts)


def text(value) -> str:
    """Returns a field's value as a legend shows it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _place(value):
    """Returns where matplotlib puts a value: a number, or the name of a category."""
    return value if _is_number(value) else str(value)


def _order(value):
    return (0, value, "") if _is_number(value) else (1, 0, str(value))


def _wide(values: list) -> bool:
    """Whether values span so much that a logarithmic axis shows them better."""
    numbers = all(_is_number(value) and value > 0 for value in values)
    return numbers and max(values) / min(values) >= 20


def _colors(number: int) -> list:
    if number <= 10:
        return [f"C{i}" for i in range(number)]
    return [plt.get_cmap("viridis")(i / (number - 1)) for i in range(number)]


def clean(axes) -> None:
    """Takes off what no panel needs."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def png(figure) -> bytes:
    """Returns the picture as a PNG, and closes it."""
    output = io.BytesIO()
    figure.savefig(output, dpi=110, format="png")
    plt.close(figure)
    return output.getvalue()


def _error(top1: float) -> float:
    return 100 * (1 - top1)


def _read(workdir: str) -> list[dict]:
    lines = metrics.read_lines(workdir)
    if not lines:
        raise FileNotFoundError(f"{workdir} has no metrics.jsonl: is it the workdir of a run?")
    return lines
