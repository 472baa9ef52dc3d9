"""Pictures of searches."""

import numpy as np
from matplotlib.figure import Figure

from analysis import style


def rewards(asked: dict[str, dict[int, list[dict]]], titles: dict[str, str], window: int) -> bytes:
    """Draws the best reward so far and that of what is asked for, over the asks; bands over the seeds.

    Args:
      asked: method -> seed -> lines with "reward".
      titles: method -> its name in the legend.
      window: number of asks that are averaged.

    Returns:
      The picture, as a PNG.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (method, searches) in enumerate(asked.items()):
        all_rewards = 100 * np.array([[x["reward"] for x in lines] for lines in searches.values()])
        best = np.maximum.accumulate(all_rewards, axis=1)
        kernel = np.ones(window) / window
        running = np.array([np.convolve(one, kernel, "valid") for one in all_rewards])
        for axes, values, first in ((left, best, 1), (right, running, window)):
            x = np.arange(first, first + values.shape[1])
            label = f"{titles.get(method, method)} (n = {len(searches)})"
            axes.plot(x, values.mean(axis=0), color=f"C{number}", label=label, linewidth=1.8)
            axes.fill_between(
                x,
                values.min(axis=0),
                values.max(axis=0),
                color=f"C{number}",
                alpha=0.13,
                linewidth=0,
            )
    left.set(xlabel="genotypes asked for", ylabel="best reward so far (x 100)")
    right.set(xlabel="genotypes asked for", ylabel=f"mean reward of the last {window} (x 100)")
    left.set_ylim(bottom=max(0, left.get_ylim()[1] - 1.5 * _span(left)))
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        style.clean(axes)
    figure.suptitle("Means over the seeds; bands from the lowest to the highest", fontsize=10)
    return style.png(figure)


def _span(axes) -> float:
    """Returns how far the means of an axes' lines reach, from the first tenth on."""
    values = np.concatenate(
        [line.get_ydata()[len(line.get_ydata()) // 10 :] for line in axes.lines]
    )
    return max(float(values.max() - values.min()), 1.0)


def sharing(shared: dict[int, dict]) -> bytes:
    """Draws accuracy with shared weights against accuracy trained alone; a colour a seed.

    Args:
      shared: seed -> {"shared": accuracies, "alone": those of the same children}.

    Returns:
      The picture, as a PNG.
    """
    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (seed, one) in enumerate(shared.items()):
        alone, together = ([100 * value for value in one[k]] for k in ("alone", "shared"))
        axes.plot(alone, together, "o", color=f"C{number}", alpha=0.6, label=f"seed {seed}")
    axes.set(
        xlabel="validation top-1 trained alone (%)", ylabel="validation top-1, shared weights (%)"
    )
    axes.legend(frameon=False)
    style.clean(axes)
    return style.png(figure)


def pareto(children: list[dict], best: list[dict], cost: str) -> bytes:
    """Draws accuracy against cost of all children, and the front of those that no other beats in both.

    Args:
      children: lines of children.jsonl.
      best: those on the front, by their cost.
      cost: "parameters" or "multiply_adds".

    Returns:
      The picture, as a PNG.
    """
    good = [child for child in children if "error" not in child]
    figure = Figure(figsize=(6.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(
        [c[cost] for c in good], [100 * c["accuracy"] for c in good], ".", color="grey", alpha=0.35,
        label=f"children (n = {len(good)})",
    )  # fmt: skip
    axes.step(
        [c[cost] for c in best], [100 * c["accuracy"] for c in best], "o-", where="post", color="C3",
        markersize=4, label="Pareto front",
    )  # fmt: skip
    axes.set(xlabel=cost.replace("_", "-"), ylabel="validation top-1 (%)", xscale="log")
    axes.legend(frameon=False, loc="lower right")
    style.clean(axes)
    return style.png(figure)
