"""Launches, watches and compares the runs of a config that has a `sweep()`.

  python scripts/sweep.py --config=... --workdir=DIR --launcher=local   # launch; again: go on
  python scripts/sweep.py status --workdir=DIR                          # live on a terminal
  python scripts/sweep.py results --workdir=DIR                         # table and pictures

Each run's folder, DIR/NAME, is a workdir of train.py. Flags such as --config.total_epochs=2 hold for all
runs. docs/sweeps.md shows Slurm, the clouds and TPU pods.

Examples:
  python scripts/sweep.py --config=configs/depth.py --workdir=runs/depth --dry_run
  python scripts/sweep.py --config=configs/depth.py --workdir=runs/depth --parallel=2
  python scripts/sweep.py --config=configs/resnet50.py --workdir=/shared/lr --launcher=slurm \\
      --engine=sweeps/engines/slurm_node.yaml --images_per_second=2500 --price=2.5
  python scripts/sweep.py --config=configs/resnet50.py --workdir=runs/search --optimize=eval/top1 --trials=40
  python scripts/sweep.py --config=configs/resnet50.py --workdir=gs://bucket/lr --run=3
  python scripts/sweep.py results --workdir=gs://bucket/lr --output=lr --x=multiply_adds
"""

import math
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags
from ml_collections import config_flags

import configs
import models
from sweeps import estimate, expand, local, results, sky, slurm, watch, worker
from sweeps import folder as sweep_folder
from training import command, files
from training.runs import git_revision, writable

flags.adopt_module_key_flags(command)  # --config and --workdir
LAUNCHER = flags.DEFINE_enum("launcher", "local", ["local", "slurm", "sky"], "What runs them.")
PARALLEL = flags.DEFINE_integer(
    "parallel",
    0,
    "Runs at a time; local: each gets its share of GPUs or cores (1; a GPU each).",
    lower_bound=0,
)
ENGINE = flags.DEFINE_string("engine", None, "YAML of settings; see sweeps/engines/.")
RUN = flags.DEFINE_integer(
    "run",
    None,
    "Only the run of this number, from 0: for the job arrays of any engine.",
    lower_bound=0,
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only list the runs and what they cost.")
SPEED = flags.DEFINE_string(
    "images_per_second", None, "Of one device, for the first run; measure: by a short run here."
)
PRICE = flags.DEFINE_float("price", 0.0, "Of a device hour.", lower_bound=0.0, upper_bound=1e6)
IMAGES = flags.DEFINE_integer(
    "images", 0, "Number in an epoch, where the data are elsewhere.", lower_bound=0
)
OPTIMIZE = flags.DEFINE_string("optimize", None, "Search the space for this metric with Optuna.")
TRIALS = flags.DEFINE_integer("trials", 20, "Of the search, over all launchers.", lower_bound=1)
METRIC = flags.DEFINE_string("metric", "eval/top1", "Of status and results.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for results; default: the workdir.")
X = flags.DEFINE_string("x", None, "results: also draw the metric against this column.")

flags.register_validator("price", math.isfinite, "a number from 0 on")

METRICS = ("eval/top1", "eval/top5", "eval/loss", "train/top1", "train/loss")


def launch() -> None:
    config, folder = command.CONFIG.value, workdir()
    models.resolve(config.model)
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    settings = sweep_folder.engine_settings(ENGINE.value)
    if LAUNCHER.value == "local":
        local.shares(parallel())
    elif not DRY_RUN.value:
        {"slurm": slurm, "sky": sky}[LAUNCHER.value].check(folder)
    changes = config_flags.get_override_values(flags.FLAGS["config"])
    sweep = sweep_folder.describe(
        sweep_folder.relative(path), changes, config.to_dict(), git_revision()
    )
    if OPTIMIZE.value:
        search(path, config, folder, sweep)
        return
    runs = expand.expand(path, config)
    if RUN.value is not None and not DRY_RUN.value:
        launch_one(folder, sweep, runs)
    costs = estimate.costs(runs, IMAGES.value)
    hours = None
    if SPEED.value:
        hours = estimate.device_hours(costs, images_per_second(runs[0], sweep))
    table = estimate.table(folder, runs, costs, hours, PRICE.value)
    if DRY_RUN.value:
        print(table)
        return
    writable(folder)
    sweep_folder.record(folder, sweep | {"runs": {run.name: run.overrides for run in runs}})
    (sweep_folder.path(folder) / "runs.md").write_text(table + "\n")
    names = [one.name for one in watch.look(folder, [run.name for run in runs]) if one.to_do]
    print(f"{len(runs)} runs, {len(runs) - len(names)} of them finished, running or queued already")
    if not names:
        return
    if LAUNCHER.value == "local":
        weights = {run.name: cost.total for run, cost in zip(runs, costs, strict=True)}
        launch_local(folder, names, watch.Pace(folder, {name: weights[name] for name in names}))
        return
    if LAUNCHER.value == "slurm":
        jobs = slurm.launch(folder, names, PARALLEL.value, settings)
    else:
        file = pathlib.Path(
            "runs" if files.in_bucket(folder) else folder, f"{name_of(folder)}.yaml"
        )
        sky.write(folder, name_of(folder), settings, file)
        print(f"SkyPilot's task: {file}")
        jobs = sky.launch(names, file)
    for name, job in jobs:  # noted one by one, should an engine refuse a later one
        noted = {"jobs": {name: {"engine": LAUNCHER.value, "id": job}}}
        sweep_folder.record(folder, sweep | noted)
    print(f"submitted {len(names)} jobs; python scripts/sweep.py status --workdir={folder}")


def launch_one(folder: str, sweep: dict, runs: list) -> None:
    """Runs the one of --run in this process, and ends the command with its exit status."""
    if RUN.value >= len(runs):
        raise ValueError(f"--run={RUN.value}: choose 0 to {len(runs) - 1}, the runs of the sweep")
    sweep_folder.record(folder, sweep | {"runs": {run.name: run.overrides for run in runs}})
    # Of an indexed job of Kubernetes, whose pods are runs here, not processes of one.
    os.environ.pop("JOB_COMPLETION_INDEX", None)
    sys.exit(worker.main(folder, runs[RUN.value].name))


def launch_local(folder: str, names, pace=None, searched=None) -> None:
    """Runs `names` here, tells how they stand, and ends the command with status 1 where one failed."""
    statuses = local.follow(folder, names, parallel(), METRIC.value, pace, searched)
    if searched:
        print(searched.summary())
    print(watch.totals(watch.look(folder, None if searched else list(pace.costs))))
    if statuses is None:
        sys.exit("stopped; the runs have saved their state, and the same command goes on")
    if any(status not in local.NO_FAILURE for status in statuses.values()):
        sys.exit(1)
    print(f"next: python scripts/sweep.py results --workdir={folder}")


def search(path: str, config, folder: str, sweep: dict) -> None:
    if OPTIMIZE.value not in METRICS:
        raise ValueError(f"--optimize={OPTIMIZE.value}: choose one of {', '.join(METRICS)}")
    if LAUNCHER.value != "local":
        raise ValueError(
            "--optimize runs its trials where it is started (--launcher=local); start it in several jobs "
            "of the cluster with one --workdir, and they share the study"
        )
    try:
        from sweeps.search import Search, as_distributions, space
    except ModuleNotFoundError as error:
        raise ValueError("--optimize needs Optuna: pip install -e '.[sweeps]'") from error
    fields = space(path)
    as_distributions(fields)
    if DRY_RUN.value:
        print("\n".join(f"{field}: {values}" for field, values in fields.items()))
        return
    expand.override(config, {field: list(values)[0] for field, values in fields.items()})
    writable(folder)
    sweep_folder.record(folder, sweep | {"runs": {}})
    searched = Search(folder, sweep, config, fields, OPTIMIZE.value, TRIALS.value)
    launch_local(folder, searched.names(), searched=searched)


def status() -> None:
    watch.follow(workdir(), METRIC.value)


def show_results() -> None:
    folder = workdir()
    groups = results.collect(folder, METRIC.value)
    output = OUTPUT.value or folder
    names = results.write(output, groups, METRIC.value, X.value)
    print(results.as_markdown(results.rows(groups, METRIC.value)), end="")
    print(f"wrote {', '.join(names)} into {output}")


def workdir() -> str:
    return str(files.absolute(command.workdir()))


def name_of(folder: str) -> str:
    return folder.rstrip("/").rpartition("/")[2]


def parallel() -> int:
    return PARALLEL.value or max(1, len(local.accelerators()))


def images_per_second(run, sweep: dict) -> float:
    if SPEED.value == "measure":
        speed = estimate.measure(run, sweep)
        print(f"measured here, with noise for images: {speed:,.0f} images/s a device ({run.name})")
        return speed
    try:
        speed = float(SPEED.value)
    except ValueError:
        speed = 0.0
    if not 0 < speed < math.inf:
        raise ValueError(f"--images_per_second={SPEED.value}: a number above 0, or measure")
    return speed


COMMANDS = {"launch": launch, "status": status, "results": show_results}

if __name__ == "__main__":
    chosen = sys.argv.pop(1) if sys.argv[1:2] and sys.argv[1] in COMMANDS else "launch"
    command.run(COMMANDS[chosen], configs, trains=False)
