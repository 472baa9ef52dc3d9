"""Loss and error of training runs over their steps."""

import pathlib

from matplotlib.figure import Figure

from analysis import style
from training import files, metrics


def draw(runs: dict[str, str], output: str, title: str = "") -> None:
    """Draws loss and top-1 error over the steps: training as thin lines, evaluation with dots.

    Args:
      runs: label in the legend -> workdir; its metrics.jsonl is read.
      output: file of the picture, for example curve.png, or an object of a bucket.
      title: above the picture.

    Raises:
      FileNotFoundError: a workdir without metrics.
      ValueError: a run that was stopped before its first evaluation.
    """
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (label, workdir) in enumerate(runs.items()):
        lines = _read(workdir)
        color = f"C{number}"
        for axes, name, scale in ((left, "loss", lambda v: v), (right, "top1", _error)):
            for phase, marks in (("train", "-"), ("eval", "o-")):
                points = [
                    (x["step"], scale(x[f"{phase}/{name}"]))
                    for x in lines
                    if f"{phase}/{name}" in x
                ]
                if not points:
                    raise ValueError(f"{workdir} has no {phase}/{name} yet: let it run longer")
                thin = {"linewidth": 1, "alpha": 0.5} if phase == "train" else {"markersize": 3}
                thin["label"] = label if phase == "eval" else None
                axes.plot(*zip(*points, strict=True), marks, color=color, **thin)
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel="top-1 error (%)", ylim=(0, None))
    right.legend(frameon=False, title="dots: evaluation\nthin: training", alignment="left")
    for axes in (left, right):
        style.clean(axes)
    figure.suptitle(title)
    picture = style.picture(figure, pathlib.PurePath(output).suffix[1:] or "png")
    files.write_bytes(files.absolute(output), picture)


def _error(top1: float) -> float:
    return 100 * (1 - top1)


def _read(workdir: str) -> list[dict]:
    lines = metrics.read_lines(workdir)
    if not lines:
        raise FileNotFoundError(f"{workdir} has no metrics.jsonl: is it the workdir of a run?")
    return lines
