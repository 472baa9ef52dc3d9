"""Do deeper plain networks get worse, and do shortcuts mend it? Trains both kinds, and reports the verdict.

The experiment of "Deep Residual Learning" (arXiv:1512.03385, figures 4 and 6): networks with the same
layers, parameters, initial weights and order of the data, with and without shortcuts, several depths, several
seeds. WORKDIR gets report.md, report.json, depth.png (error over the steps) and why.png (gradients, responses,
blocks removed). The same command goes on where it was stopped; trained networks are not trained again.

  --preset=quick    the embedded digits, 20 and 56 layers, 5 seeds: minutes
  --preset=laptop   CIFAR-10 at 16 x 16, 20 and 56 layers, 3 seeds, 24 epochs: a night on two cores
  --preset=paper    CIFAR-10, 20 to 110 layers, 5 seeds, 64,000 steps; with --data=tfds:imagenet2012
                    18 and 34 layers on ImageNet, 3 seeds, 90 epochs

Exit status: 0 where all claims hold, 3 where one does not, or is open since there is one seed, 2 where runs
are missing, 1 where the command has a mistake. On a cluster, launch with scripts/sweep.py and configs/depth.py, and report with --report.

Examples:
  python scripts/depth_experiment.py --preset=quick
  python scripts/depth_experiment.py --preset=quick --seeds=1 --workdir=runs/depth
  python scripts/depth_experiment.py --data=tfds:cifar10 --epochs=2 --parallel=2
  python scripts/depth_experiment.py --data=folder:PATH --depths=20,32,44,56
  python scripts/depth_experiment.py --report --workdir=DIR
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags
from ml_collections import ConfigDict

import data
from analysis import depth as verdict
from analysis import signals
from configs import depth
from sweeps import estimate, expand, local, watch
from sweeps import folder as sweep_folder
from training import command, files
from training.runs import git_revision, writable

PRESET = flags.DEFINE_enum("preset", None, ["quick", "laptop", "paper"], "Default: as the data.")
DATA = flags.DEFINE_string("data", None, "digits, folder:PATH or tfds:NAME; default: the preset's.")
DEPTHS = flags.DEFINE_list("depths", None, "Layers, such as 20,56; default: the preset's.")
SEEDS = flags.DEFINE_integer(
    "seeds", None, "How many, from 0 on; default: the preset's.", lower_bound=1
)
EPOCHS = flags.DEFINE_float(
    "epochs", None, "Length of each run; default: the preset's.", lower_bound=0.01
)
IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Pixels a side; default: the preset's.", lower_bound=4
)
PARALLEL = flags.DEFINE_integer(
    "parallel", None, "Runs at a time; default: one a GPU, or a core.", lower_bound=1
)
REPORT = flags.DEFINE_bool("report", False, "Train nothing, report on what is in --workdir.")
flags.declare_key_flag("workdir")

HOLD, MISSING, NOT_ALL_HOLD = 0, 2, 3  # exit statuses; 1 is a mistake


def main() -> None:
    if REPORT.value:
        if command.WORKDIR.value is None:
            raise ValueError("--report needs --workdir=DIR, the folder of the runs")
        sys.exit(report(command.WORKDIR.value))
    name = preset()
    folder = str(files.absolute(command.WORKDIR.value or f"runs/depth-{name}"))
    config = depth.get_config(name)
    changes = overrides(name, config)
    config = expand.override(config, changes)
    layers = depth.PRESETS[name].depths
    if DEPTHS.value is not None:
        layers = tuple(sorted({int(d) for d in DEPTHS.value if d.isdecimal()}))
        if len(layers) < max(2, len(DEPTHS.value)):
            raise ValueError("--depths: choose two or more different ones, such as 20,56")
    runs = expand.runs(depth.sweep(name, layers, SEEDS.value or 0), config)
    costs = estimate.costs(runs)

    writable(folder)
    sweep = sweep_folder.describe(
        f"configs/depth.py:{name}", changes, config.to_dict(), git_revision()
    )
    sweep_folder.record(folder, sweep | {"runs": {run.name: run.overrides for run in runs}})
    weights = {run.name: cost.total for run, cost in zip(runs, costs, strict=True)}
    pace = watch.Pace(folder, weights)
    names = [one.name for one in watch.look(folder, list(weights)) if one.to_do]
    print(f"{len(runs)} runs in {folder}, {len(runs) - len(names)} of them done or running already")
    if names:
        complete = local.follow(folder, names, parallel(len(names)), "eval_train/top1", pace)
        if complete is None:
            print("stopped; the runs have saved their state, and the same command goes on")
            sys.exit(MISSING)
    sys.exit(report(folder))


def preset() -> str:
    """Returns the name of the preset in configs/depth.py.

    Raises:
      ValueError: preset and data do not go together.
    """
    name, source = PRESET.value, DATA.value
    if source == "tfds:imagenet2012" and name in (None, "paper"):
        return "imagenet"
    if name is None:
        return "quick" if source in (None, "digits") else "laptop"
    if source is not None and (name == "quick") != (source == "digits"):
        other = "--preset=laptop or paper" if name == "quick" else "--preset=quick"
        raise ValueError(f"--preset={name} does not go with --data={source}: choose {other}")
    return name


def overrides(name: str, config) -> dict:
    """Returns the fields of the config that the flags change."""
    found = {}
    if DATA.value is not None and DATA.value != config.input.source:
        kind, _, path = DATA.value.partition(":")
        source = f"folder:{files.absolute(path)}" if kind == "folder" else DATA.value
        found["input.source"] = source
        if kind == "folder":
            names = ("test", "val", "validation", "valid")
            there = [n for n in names if (files.absolute(path) / n).is_dir()]
            found["input.eval_split"] = there[0] if there else config.input.eval_split
    opened = data.open_source(expand.override(config, found).input, train=True)
    if len(opened.class_names) != config.model.num_classes:
        found["model.num_classes"] = len(opened.class_names)
    if EPOCHS.value is not None:
        found |= depth.length(EPOCHS.value, depth.PRESETS[name].evaluations)
    if IMAGE_SIZE.value is not None:
        if name == "quick":
            raise ValueError("--image_size: the digits have 8 pixels a side; leave it out")
        scale = IMAGE_SIZE.value / config.input.image_size
        found["input.image_size"] = IMAGE_SIZE.value
        found["input.resize"] = round(scale * config.input.resize)
        found["input.padding"] = max(1, round(scale * config.input.padding))
    return found


def parallel(runs: int) -> int:
    """Returns how many runs at a time; a core each is the fastest way to train many small networks."""
    if PARALLEL.value is not None:
        return PARALLEL.value
    if local.is_tpu_host():
        return 1
    return min(runs, len(local.accelerators()) or min(4, len(local.worker.cores())))


def report(folder: str) -> int:
    """Writes the report on the finished runs; returns the exit status."""
    standings = watch.look(folder)
    missing = [one for one in standings if one.missing]
    for one in missing:
        why = f": {one.last.splitlines()[-1]}" if one.last else ""
        print(f"missing: {one.name}, {one.missing}{why}")
    finished = {one.name: as_run(one) for one in standings if not one.missing}
    runs = list(finished.values())
    verdict.check_control(runs)
    try:
        claims = verdict.claims(runs)
    except ValueError as error:
        print(f"no report yet: {error}")
        return MISSING
    header = next(one for one in standings if one.name in finished).header
    inputs = command.config_of(header).input  # of all runs alike
    training = signals.sample(inputs, True, signals.BATCH)
    test = signals.sample(inputs, False, signals.IMAGES)
    networks = {}
    for name, run in finished.items():
        if run.seed == min(r.seed for r in runs) and run.depth in verdict.ends(runs):
            label = verdict.label(run.depth, run.residual)
            print(
                f"measuring gradients, responses and the worth of each block of {label}", flush=True
            )
            config = ConfigDict(run.config)
            measured = signals.look_inside(config, f"{folder}/{name}", training, test)
            networks[label] = {"depth": run.depth, "residual": run.residual, **measured}
    left = [one.name for one in missing]
    classes = data.open_source(inputs, train=True).class_names
    published = verdict.published_for(inputs.source, classes)
    text = verdict.report(
        runs, claims, networks, header, left, published, " ".join(["python", *sys.argv])
    )
    found = {
        "claims": [claim.figures() for claim in claims],
        "runs": [run.figures() for run in runs],
        "missing": left,
        "networks": networks,
        "header": header,
    }
    into = sweep_folder.path(folder)
    (into / "depth.png").write_bytes(verdict.picture(runs))
    (into / "why.png").write_bytes(signals.picture(networks))
    files.write_json(into / "report.json", found)
    (into / "report.md").write_text(text)
    print(verdict.table(runs, published), verdict.claimed(claims), sep="\n\n")
    print(f"report: {into / 'report.md'}")
    if missing:
        return MISSING
    return HOLD if all(claim.holds for claim in claims) else NOT_ALL_HOLD


def as_run(standing: watch.Standing) -> verdict.Run:
    """Returns a finished run, with its errors in percent."""

    def curve(phase):
        return [
            (line["step"], 100 * (1 - line[f"{phase}/top1"]))
            for line in standing.lines
            if f"{phase}/top1" in line and "step" in line
        ]

    if standing.latest("eval_train/images") is None:
        raise ValueError(
            f"{standing.name} was trained without --config.eval_train=True: "
            "--report is for runs of configs/depth.py"
        )
    header = standing.header
    images = [int(standing.latest(f"{phase}/images")) for phase in ("eval_train", "eval")]
    return verdict.Run(
        header["config"], header["parameters"], *images, curve("eval_train"), curve("eval")
    )


if __name__ == "__main__":
    command.run(main, trains=False)
