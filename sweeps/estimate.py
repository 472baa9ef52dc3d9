"""What a sweep will cost: parameters, multiply-adds, device hours, money."""

import dataclasses
import json
import subprocess
import sys
import tempfile

import analysis
import data
import models
from analysis import markdown
from sweeps import folder as sweep_folder
from sweeps.expand import Run
from training import metrics
from training.steps import interval

# Images of one epoch where the data are not on this machine: their papers' training sets.
TRAINING_IMAGES = {"tfds:imagenet2012": 1_281_167, "tfds:cifar10": 50_000, "tfds:cifar100": 50_000}
# Forward, and backward to the activations and to the weights.
PASSES = 3


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one run."""

    parameters: int
    multiply_adds: int  # of one image, forward
    images: int | None  # that it trains on, all epochs together; None: unknown

    @property
    def total(self) -> int | None:
        """Multiply-adds of the whole run, forward and backward."""
        return None if self.images is None else PASSES * self.multiply_adds * self.images


def costs(runs: list[Run], images: int = 0) -> list[Cost]:
    """Counts each run's network, without compiling anything.

    Args:
      runs: of the sweep.
      images: of one epoch; 0: as many as the data on this machine have.

    Raises:
      ValueError: a network that cannot be built.
    """
    counts, sizes, found = {}, {}, []
    for run in runs:
        config = run.config
        shape = data.input_shape(config.input)
        network = json.dumps([config.model.to_dict(), shape], default=str)
        if network not in counts:
            counts[network] = analysis.count(models.create(**config.model), shape)
        source = (config.input.source, config.input.train_split)
        if source not in sizes:
            sizes[source] = images or _images(config.input)
        trained = None
        if config.total_steps or sizes[source]:
            per_epoch = (sizes[source] or 0) / config.batch_size
            length = interval(config.total_steps, config.total_epochs, per_epoch)
            trained = length * config.batch_size
        count = counts[network]
        found.append(Cost(count.parameters, count.multiply_adds, trained))
    return found


def _images(config) -> int | None:
    try:
        return len(data.open_source(config, train=True))
    except FileNotFoundError:
        return TRAINING_IMAGES.get(config.source)


def device_hours(costs: list[Cost], images_per_second: float) -> list[float | None]:
    """Returns the hours of one device that each run takes.

    Args:
      costs: of the runs.
      images_per_second: of one device, for the first run; for others in proportion to their
        multiply-adds, which is rough: a small network seldom is that much faster.
    """
    first = costs[0].multiply_adds
    return [
        None
        if cost.images is None
        else cost.images * cost.multiply_adds / (first * images_per_second * 3600)
        for cost in costs
    ]


def measure(run: Run, sweep: dict, steps: int = 20) -> float:
    """Returns images/s a device of a short run of train.py, with noise for images.

    Raises:
      ValueError: the run failed.
    """
    with tempfile.TemporaryDirectory() as workdir:
        short = {
            "input.source": "synthetic",
            "input.in_memory": True,
            "input.mean": (0.5,) * 3,
            "input.std": (0.25,) * 3,
            "model.num_classes": 1000,
            "total_steps": steps + 1,
            "log_steps": steps + 1,
        }
        command = [sys.executable, *sweep_folder.command(sweep, workdir, run.overrides | short)]
        done = subprocess.run(
            command, env=sweep_folder.environment(), capture_output=True, text=True
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"cannot measure {run.name}: {reason}")
        header, *lines = metrics.read_lines(workdir)
    speeds = [x for line in lines if (x := line.get("train/images_per_second"))]
    return speeds[-1] / header["devices"]["count"]


def table(
    folder: str, runs: list[Run], costs: list[Cost], hours: list[float | None] | None, price: float
) -> str:
    """Returns a Markdown table of the runs, and a line of totals.

    Args:
      folder: of the sweep.
      runs: of the sweep.
      costs: of each.
      hours: of one device, of each; None: not estimated.
      price: of a device hour; 0: no cost is shown.
    """
    heads = ["run", "workdir", "parameters", "multiply-adds of the run"]
    columns = [
        [run.name for run in runs],
        [f"{folder}/{run.name}" for run in runs],
        [f"{cost.parameters:,}" for cost in costs],
        ["?" if cost.total is None else f"{cost.total:.3g}" for cost in costs],
    ]
    if hours is not None:
        heads.append("device hours")
        columns.append(["?" if h is None else f"{h:.3g}" for h in hours])
        if price:
            heads.append("cost")
            columns.append(["?" if h is None else f"{h * price:,.2f}" for h in hours])
    lines = [markdown.table([heads, *zip(*columns, strict=True)], left=2)]
    summary = [f"{len(runs)} runs"]
    if all(cost.total is not None for cost in costs):
        summary.append(f"{sum(cost.total for cost in costs):.3g} multiply-adds")
        if hours is not None:
            summary.append(f"{sum(hours):.3g} device hours")
            if price:
                summary.append(f"cost {sum(hours) * price:,.2f} at {price:g} an hour")
    else:
        summary.append("the data are not on this machine: --images=N says how many an epoch has")
    return "\n".join([*lines, "", ", ".join(summary)])
