"""Reports on the sweep of configs/transfer.py: what a published network is worth on few photographs.

--workdir is the folder of the sweep. It gets transfer.md and transfer.png.

Examples:
  python scripts/sweep.py --config=configs/transfer.py --workdir=runs/transfer \\
      --config.input.source=folder:imagenette2-160
  python scripts/transfer.py --workdir=runs/transfer
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # before what is installed

if __name__ == "__main__":
    from training import start

    start.early()

from absl import flags

from analysis import transfer
from configs import transfer as config
from sweeps import folder as sweep_folder
from sweeps import watch
from training import command

flags.declare_key_flag("workdir")
flags.mark_flag_as_required("workdir")


def main() -> None:
    folder = command.workdir()
    sweep = sweep_folder.read(folder)
    if not sweep["config"].endswith("configs/transfer.py"):
        raise ValueError(f"{folder} is a sweep of {sweep['config']}, not of configs/transfer.py")
    runs, missing = [], []
    for standing in watch.look(folder):
        if standing.missing:
            missing.append(f"missing: {standing.name}, {standing.missing}\n")
            continue
        overrides = sweep["runs"][standing.name]
        seed, split = overrides["seed"], overrides["input.train_split"]
        runs.append(
            transfer.Run(
                config.SCRATCH if "init" in overrides else config.PUBLISHED,
                next(n for n in config.PER_CLASS if config.photographs(seed, n) == split),
                seed,
                100 * standing.latest("eval/top1"),
            )
        )
    if not runs:
        raise ValueError(f"no run of {folder} is finished yet")
    report = f"{transfer.table(runs)}\n\n{''.join(missing)}".strip()
    into = sweep_folder.path(folder)
    (into / "transfer.md").write_text(report + "\n", encoding="utf-8")
    (into / "transfer.png").write_bytes(transfer.picture(runs))
    print(f"{report}\n\n{into / 'transfer.png'}")


if __name__ == "__main__":
    command.run(main, trains=False)
