"""Kills runs of train.py by SIGKILL at random moments, and compares how they end.

A run is started again each time until it is done; all its figures must be those of a run that nobody
disturbed, to the bit, each step once.

Example:
  python tests/faults/kills.py --kills=200
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
    *("--config=configs/digits.py", "--config.batch_size=64", "--config.total_steps=40"),
    *("--config.log_steps=1", "--config.checkpoint_steps=4", "--config.eval_steps=8"),
]


def start(workdir: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "train.py", *RUN, f"--workdir={workdir}"],
        cwd=PROJECT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def figures(workdir: pathlib.Path) -> list[dict]:
    """Returns the lines of metrics.jsonl without what differs from run to run: speed, and headers."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    speed = "train/images_per_second"
    found = [
        {k: v for k, v in line.items() if k != speed} for line in lines if "config" not in line
    ]
    return [line for line in found if "resumed" not in line]


def disturb(workdir: pathlib.Path, seconds: float, kills: int, rng: random.Random):
    """Runs to the end, and kills on the way; yields the step at which each kill found the run.

    Args:
      workdir: of the run.
      seconds: within which the kills come.
      kills: the most there are.
      rng: of the moments.
    """
    for _ in range(kills):
        process = start(workdir)
        try:
            process.wait(rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            file = workdir / "metrics.jsonl"
            yield file.read_bytes().count(b'"train/loss"') if file.exists() else 0
        else:
            break
    errors = start(workdir).communicate()[1]
    if errors:
        print(f"  {errors.strip().splitlines()[-1]}"[:200])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, began = random.Random(args.seed), time.monotonic()
    kills, runs, bad, moments = 0, 0, 0, collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        whole = pathlib.Path(folder, "whole")
        start(whole).communicate()  # fills the cache of compiled programs
        expected, seconds = figures(whole), float("inf")
        while kills < args.kills:
            timed = time.monotonic()  # each time: other work may come and go
            start(pathlib.Path(folder, f"timed-{runs}")).communicate()
            seconds = min(seconds, time.monotonic() - timed)
            workdir, runs = pathlib.Path(folder, str(runs)), runs + 1
            for step in disturb(workdir, seconds, min(8, args.kills - kills), rng):
                kills += 1
                moments["before the first step" if step == 0 else "in training"] += 1
            same = figures(workdir) == expected
            bad += not same
            print(f"{kills} kills, {runs} runs, {bad} of them ended otherwise", flush=True)
    print(", ".join(f"{count} {moment}" for moment, count in moments.items()))
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
