"""Pictures of training runs."""

import matplotlib

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
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
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


def _error(top1: float) -> float:
    return 100 * (1 - top1)


def _read(workdir: str) -> list[dict]:
    lines = metrics.read_lines(workdir)
    if not lines:
        raise FileNotFoundError(f"{workdir} has no metrics.jsonl: is it the workdir of a run?")
    return lines
