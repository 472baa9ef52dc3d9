"""Kills runs, searches or launchers by SIGKILL at random moments, and compares how they end.

What was killed is started again each time until it is done; all its figures must be those of one that
nobody disturbed, to the bit, each step once. A launcher dies alone: the runs that it leaves go on.

Examples:
  python tests/faults/kills.py --kills=200
  python tests/faults/kills.py --what=search --kills=20
"""

import argparse
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).parents[2]
RUN = [
    *("train.py", "--config=configs/digits.py", "--config.batch_size=64"),
    *("--config.total_steps=40", "--config.log_steps=1"),
    *("--config.checkpoint_steps=4", "--config.eval_steps=8"),
]
SEARCH = [
    *("scripts/nas.py", "--config=configs/nas/digits.py", "--config.total_steps=3"),
    *("--config.nas.space.nodes=1", "--config.nas.space.operations=('id','max')"),
    *("--config.nas.methods=('reinforce','evolution')", "--config.nas.seeds=2"),
    *("--config.nas.asks=8", "--config.nas.batch=2", "--config.nas.proxy.total_steps=3"),
    *("--config.nas.proxy.model.filters=4", "--config.nas.proxy.model.stem_filters=4"),
    *("--config.nas.sharing.seeds=1", "--config.nas.sharing.rounds=2"),
    *("--config.nas.sharing.steps=3", "--config.nas.sharing.batches=2"),
    *("--config.nas.final.cells=()", "--config.nas.final.networks=()"),
    *("--config.nas.final.drawn=0", "--config.nas.final.seeds=1"),
    "--config.nas.final.parameters=2000",
]
FOUR = """
from configs import digits, spaces

get_config = digits.get_config

def sweep():
    return spaces.product({"seed": range(4)})
"""
VARY = {"train/images_per_second", "seconds"}  # from run to run


def command(what: str, folder: pathlib.Path) -> list[str]:
    """Returns the command that is killed, without --workdir."""
    if what == "launcher":
        four = folder / "four.py"
        four.write_text(FOUR)
        launcher = ("scripts/sweep.py", f"--config={four}", "--launcher=local", "--parallel=2")
        return [*launcher, *RUN[2:]]
    return {"run": RUN, "search": SEARCH}[what]


def start(arguments: list[str], workdir: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments, f"--workdir={workdir}"],
        cwd=PROJECT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def figures(workdir: pathlib.Path) -> dict[str, list[dict]]:
    """Returns the lines of all JSON lines in a folder, by file, without what varies, and without headers."""
    found = {}
    for file in workdir.rglob("*.jsonl"):
        lines = map(json.loads, file.read_text().splitlines())
        found[str(file.relative_to(workdir))] = [
            {key: value for key, value in line.items() if key not in VARY}
            for line in lines
            if not line.keys() & {"config", "resumed"}
        ]
    return found


def disturb(arguments, workdir: pathlib.Path, seconds: float, kills: int, rng: random.Random):
    """Runs to the end, and kills on the way; yields the lines of figures that each kill found there.

    Args:
      arguments: of `command`.
      workdir: of what is killed.
      seconds: within which the kills come.
      kills: the most there are.
      rng: of the moments.
    """
    for _ in range(kills):
        process = start(arguments, workdir)
        try:
            process.wait(rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            process.stderr.close()
            yield sum(file.read_bytes().count(b"\n") for file in workdir.rglob("*.jsonl"))
        else:
            break
    errors = start(arguments, workdir).communicate()[1]
    if errors:
        print(f"  {errors.strip().splitlines()[-1]}"[:200])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=("run", "search", "launcher"), default="run")
    parser.add_argument("--kills", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, began = random.Random(args.seed), time.monotonic()
    kills, runs, bad, moments = 0, 0, 0, collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        arguments = command(args.what, folder)
        start(arguments, folder / "whole").communicate()  # fills the cache of compiled programs
        expected, seconds = figures(folder / "whole"), float("inf")
        if not expected:
            sys.exit("the undisturbed one has no figures: try the command by itself")
        while kills < args.kills:
            timed = time.monotonic()  # each time: other work may come and go
            start(arguments, folder / f"timed-{runs}").communicate()
            seconds = min(seconds, time.monotonic() - timed)
            workdir, runs = folder / str(runs), runs + 1
            for lines in disturb(arguments, workdir, seconds, min(8, args.kills - kills), rng):
                kills += 1
                moments["before the first figure" if lines < 2 else "later"] += 1
            same = figures(workdir) == expected
            bad += not same
            print(f"{kills} kills, {runs} times, {bad} of them ended otherwise", flush=True)
    print(", ".join(f"{count} {moment}" for moment, count in moments.items()))
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
