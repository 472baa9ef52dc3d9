"""What came of configs/transfer.py: how many photographs a published network saves.

Accuracies are in percent of the evaluation images, differences in points, intervals of 95 % by Student's
t over differences within a seed.
"""

from typing import NamedTuple

from matplotlib.figure import Figure

from analysis import markdown, style
from analysis.intervals import interval, spread
from configs.transfer import CLASSES, PER_CLASS, PUBLISHED, SCRATCH


class Run(NamedTuple):
    """A trained network."""

    start: str  # PUBLISHED or SCRATCH
    per_class: int  # photographs to learn from
    seed: int
    top1: float  # of the evaluation images, at the end


def accuracies(runs: list[Run], start: str, per_class: int) -> dict[int, float]:
    """Returns top-1 of each seed."""
    chosen = (run for run in runs if (run.start, run.per_class) == (start, per_class))
    return {run.seed: run.top1 for run in sorted(chosen, key=lambda run: run.seed)}


def table(runs: list[Run]) -> str:
    """Returns a row a number of photographs: both accuracies and the gain within a seed."""
    heads = ["photographs a class", PUBLISHED, SCRATCH, "gain, points (95 % interval)"]
    rows = [[*heads]]
    for number in PER_CLASS:
        published, scratch = (accuracies(runs, start, number) for start in (PUBLISHED, SCRATCH))
        both = published.keys() & scratch.keys()
        if both:
            gain = interval([published[seed] - scratch[seed] for seed in sorted(both)])
            cells = [spread(list(found.values())) for found in (published, scratch)]
            rows.append([f"{number}", *cells, str(gain)])
    return markdown.table(rows)


def picture(runs: list[Run]) -> bytes:
    """Draws top-1 over the number of photographs, a point a seed and a line through the means."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for start, color in zip((PUBLISHED, SCRATCH), style.colors(2), strict=True):
        means = {}
        for number in PER_CLASS:
            found = list(accuracies(runs, start, number).values())
            if found:
                means[number] = sum(found) / len(found)
                axes.scatter([number] * len(found), found, color=color, s=14, alpha=0.6)
        axes.plot(means.keys(), means.values(), color=color, label=start)
    axes.axhline(100 / CLASSES, color="grey", linestyle=":")
    axes.annotate("chance", (PER_CLASS[-1], 100 / CLASSES), va="bottom", ha="right", color="grey")
    axes.set(xscale="log", xlabel="photographs a class", ylabel="top-1 accuracy, %")
    axes.set_xticks(PER_CLASS, [str(number) for number in PER_CLASS])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    style.clean(axes)
    return style.png(figure)
