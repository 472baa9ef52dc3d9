"""Averages the weights of checkpoints, and gives the result BatchNorm statistics of its own.

The mean of the weights of one training, or of several from the same start, can answer better than the last
ones (arXiv:1803.05407). It makes other feature maps than they did, so that the statistics are computed anew,
on --batches batches of the training images, augmented as in training. Of one checkpoint nothing but the
statistics is new. --workdir becomes a run, which predict.py, eval.py and --config.init take.

A checkpoint is DIR, the latest of a run, DIR:best or DIR:STEP; DIR:all are all that are kept.

Examples:
  python scripts/average.py --workdir=runs/averaged runs/mine:all --evaluate
  python scripts/average.py --workdir=runs/averaged runs/a runs/b:best --source=folder:PATH
  python scripts/average.py --workdir=runs/precise runs/mine --batches=200
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

import jax
from absl import flags
from etils import epath

import data
import inference
from data.messages import tell
from training import checkpoints, command, files

flags.declare_key_flag("workdir")
BATCHES = flags.DEFINE_integer(
    "batches", 100, "Of training images, for the statistics; 0: their mean.", lower_bound=0
)
SOURCE = flags.DEFINE_string("source", "", "Of the images, as input.source; default: the run's.")
EVALUATE = flags.DEFINE_bool("evaluate", False, "Print the top-1 of each, and of the average.")


def main(arguments: list[str]) -> None:
    if not command.WORKDIR.value:
        raise ValueError("give --workdir=DIR, a new folder for the average")
    workdir = command.workdir()
    folder = epath.Path(workdir).expanduser() / "checkpoints"
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} holds checkpoints already: choose another --workdir")
    names = [one for argument in arguments for one in named(argument)]
    if len(names) == 1 and not BATCHES.value:
        raise ValueError(f"there is nothing to do for {names[0]} alone: give --batches, or others")
    taken, evaluate = [], None

    def runs():
        nonlocal evaluate
        for name in names:
            run = inference.find(name)
            if "config" not in run.header:
                raise ValueError(f"{name} is no run: scripts/import_torch.py makes one of it")
            if EVALUATE.value and evaluate is None:
                evaluate = inference.evaluator(run, images(run, train=False))
            taken.append({"from": name, "step": run.step})
            show(f"{name}, step {run.step}", run)
            yield run

    def show(what: str, run) -> dict | None:
        found = evaluate and evaluate(run.state)
        print(what + (f": top-1 {found['top1']:.2%}, loss {found['loss']:.4f}" if found else ""))
        return found

    run = inference.average(runs())
    found = show(f"the mean of {len(names)}", run) if len(names) > 1 else None
    batches = BATCHES.value if run.state.batch_stats else 0
    if batches:
        run = inference.with_statistics_of(run, images(run, train=True), batches)
        found = show(f"with the statistics of {batches} batches", run)
    elif BATCHES.value:
        tell("the network has no BatchNorm, so there are no statistics to compute")

    if jax.process_index() == 0:
        files.make(files.absolute(workdir))
        header = run.header | {
            "config": run.config.to_dict(),
            "command": " ".join(sys.argv),
            "averaged": taken,
            "batches": batches,
        }
        figures = {f"eval/{name}": value for name, value in (found or {}).items()}
        lines = [header] + [{"step": run.step, **figures}] * bool(figures)
        files.write_jsonl(files.absolute(workdir) / "metrics.jsonl", lines)
    saved = checkpoints.Checkpoints(workdir)
    saved.save(run.step, run.state, found)
    saved.wait()
    saved.close()
    print(f"Results are in {workdir}. Next: python eval.py --workdir={workdir}")


def named(argument: str) -> list[str]:
    """Returns the checkpoints that an argument names: one, or all of DIR:all."""
    workdir, _, which = argument.rpartition(":")
    if which != "all":
        return [argument]
    saved = checkpoints.Checkpoints(workdir, read_only=True)
    found = saved.steps()
    saved.close()
    if not found:
        raise FileNotFoundError(f"no checkpoint in {workdir}: train first")
    return [f"{workdir}:{step}" for step in found]


def images(run, train: bool):
    """Returns the source of a run's images for training, or for evaluation."""
    if SOURCE.value:
        run.config.input.source = SOURCE.value
    try:
        return data.open_source(run.config.input, train, run.header.get("classes"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{error}; --source=... says where the images are, and --batches=0 keeps the mean of the statistics"
        ) from error


if __name__ == "__main__":
    command.run(main, takes="checkpoints, as runs/mine:best")
