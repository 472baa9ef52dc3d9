"""Reports on ablations: is a network better with the part that its paper or a recipe added, and how sure is that?

--workdir is the folder of a sweep of configs/ablations.py or configs/gains.py, or holds several. It gets report.md,
report.json and ablations.png: error and training time of each variant, gains within a seed with their 95 % intervals,
all of them together by Holm's method, and the papers' figures.

Examples:
  python scripts/sweep.py --config=configs/ablations.py:shuffle --workdir=runs/ablations/shuffle
  python scripts/ablation.py --workdir=runs/ablations/shuffle
  python scripts/ablation.py --workdir=runs/ablations
  python scripts/sweep.py --config=configs/gains.py:small --workdir=runs/gains --parallel=2
  python scripts/ablation.py --workdir=runs/gains
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags

from analysis import ablation
from sweeps import folder as sweep_folder
from sweeps import watch
from training import command, files

flags.declare_key_flag("workdir")


def main() -> None:
    if command.WORKDIR.value is None:
        raise ValueError(
            "--workdir=DIR is missing: the folder of a sweep of configs/ablations.py or gains.py"
        )
    into = sweep_folder.path(command.WORKDIR.value)
    folders = [
        file.parent for file in (*into.glob("sweep.json"), *sorted(into.glob("*/sweep.json")))
    ]
    found = {}
    for folder in folders:
        name, *arguments = read(str(folder))
        if name in found:
            raise ValueError(f"{into} holds two sweeps of {name}: report on each by itself")
        if arguments[0]:
            found[name] = arguments
        else:
            print(f"no run of {name} is finished yet")
    if not folders:
        raise FileNotFoundError(f"{into} holds no sweep: no sweep.json in it or in its folders")
    if not found:
        sys.exit(1)
    found = {name: found[name] for name in ablation.QUESTIONS if name in found}
    text = ablation.report(found, " ".join(["python", *sys.argv]))
    (into / "ablations.png").write_bytes(
        ablation.picture({n: runs for n, (runs, *_) in found.items()})
    )
    files.write_json(into / "report.json", ablation.figures(found))
    (into / "report.md").write_text(text, encoding="utf-8")
    for name, (runs, _, missing) in found.items():
        print(f"{ablation.QUESTIONS[name].asks}\n\n{ablation.claims(name, runs)}\n")
        print("".join(f"missing: {run}\n" for run in missing), end="")
    print(f"report: {into / 'report.md'}")


def read(folder: str) -> tuple[str, list[ablation.Run], dict, list[str]]:
    """Returns the ablation's name, its finished runs, the header of one, and the names of the others."""
    sweep = sweep_folder.read(folder)
    try:
        name, variants = ablation.asked(sweep["config"])
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    runs, header, missing = [], {}, []
    for standing in watch.look(folder):
        if standing.missing:
            missing.append(f"{standing.name}, {standing.missing}")
            continue
        header = header or standing.header
        overrides = sweep["runs"][standing.name]
        runs.append(
            ablation.Run(
                ablation.variant_of(variants, overrides),
                overrides["seed"],
                100 * (1 - standing.latest("eval/top1")),
                standing.header["parameters"],
                standing.header["multiply_adds"],
                standing.seconds,
            )
        )
    runs.sort(key=lambda run: list(variants).index(run.variant))
    return name, runs, header, missing


if __name__ == "__main__":
    command.run(main, trains=False)
