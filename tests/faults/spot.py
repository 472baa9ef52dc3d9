"""Runs a sweep on spot machines that are taken away at random, with one bucket as the only memory.

A machine is a PID namespace with a home and a temporary folder of its own, in which a run of the sweep is
trained, `scripts/sweep.py --run=N`. It is killed by SIGKILL with all that runs in it, or warned by SIGTERM
some seconds before, and its folders are deleted; another one takes the run up. The bucket is that of a server
on loopback. Each run must end to the bit as on an undisturbed disk, and `sweep.py status` must tell the truth
at all times. Signs of life come every 2 s, and a run counts as lost after 10 s, in place of 20 and 90.
Needs root, for the namespaces.

Example:
  python tests/faults/spot.py --kills=40
"""

import argparse
import collections
import contextlib
import logging
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

import stores  # noqa: E402 - after the path is set
from conftest import SMALLEST  # noqa: E402

from sweeps import folder as sweep_folder  # noqa: E402
from sweeps import watch  # noqa: E402
from training import metrics  # noqa: E402

RUNS = 12
AT_A_TIME = 3
CONFIG = f"""
from ml_collections import ConfigDict
from configs import digits, spaces

def get_config():
    config = digits.get_config()
    config.model = ConfigDict({SMALLEST})
    config.batch_size = 64
    config.total_steps = 60
    config.log_steps = 1  # of several steps a line has the mean, from the last stop on
    config.eval_steps = 20
    config.checkpoint_steps = 10
    return config

def sweep():
    return spaces.product({{"seed": range({RUNS})}})
"""
RENEWED, LOST = 2.0, 10.0
FASTER = f"""
import runpy, sys
sys.path.insert(0, {str(PROJECT)!r})
from sweeps import folder
folder.RENEWED, folder.LOST = {RENEWED}, {LOST}
sys.argv = ["scripts/sweep.py", *sys.argv[1:]]
runpy.run_path("scripts/sweep.py", run_name="__main__")
"""
VARY = "train/images_per_second"


class Machine:
    """Trains one run until it is done, or this is taken away."""

    def __init__(self, number: int, arguments: list[str], folder: pathlib.Path, env: dict, cache):
        self.number, self.began = number, time.time()
        self._folder = folder
        shutil.copytree(cache, folder / "cache")
        own = {
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        }
        self._log = open(folder.with_suffix(".log"), "w")
        self.process = subprocess.Popen(
            [
                *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
                *(sys.executable, "-c", FASTER, *arguments, f"--run={number}"),
            ],
            cwd=PROJECT,
            env=os.environ | env | own,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def warn(self) -> None:
        """Sends SIGTERM to the first process in it."""
        number = self.process.pid
        children = pathlib.Path(f"/proc/{number}/task/{number}/children").read_text().split()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGTERM)

    def kill(self) -> None:
        """Ends it, and all that is on it."""
        self.process.kill()
        self.clean()

    def clean(self) -> None:
        self.process.wait()
        self._log.close()
        time.sleep(0.2)  # until Linux has ended the namespace
        shutil.rmtree(self._folder, ignore_errors=True)


def figures(workdir: str) -> list[dict]:
    """Returns what a run has logged, without its speed and its headers."""
    found = []
    for line in metrics.read_lines(workdir):
        if not line.keys() & {"config", "resumed"}:
            found.append({name: value for name, value in line.items() if name != VARY})
    return found


class Truth:
    """Compares what `status` says of the runs with what was done to them."""

    def __init__(self, folder: str):
        self._folder = folder
        self.looks, self.lies = 0, []
        self.ended: dict[int, tuple[int | None, float]] = {}  # exit status (None: killed), and when
        self._before = ["waiting"] * RUNS
        self._seen = set()  # machines that have given a sign of life

    def look(self, alive: dict[int, Machine]) -> None:
        with contextlib.suppress(
            FileNotFoundError
        ):  # the first machine has yet to write sweep.json
            asked = time.time()
            standings = watch.look(self._folder)
            self.looks += 1
            for number, one in enumerate(standings):
                allowed = self._allowed(number, alive.get(number), one, asked)
                if one.state not in allowed:
                    self.lies.append(f"run {number} is {one.state}, of {sorted(allowed)}")
                self._before[number] = one.state

    def _allowed(self, number, machine, one, asked) -> set[str]:
        before = self._before[number]
        if machine is not None:
            if one.noted.get("time", 0) > machine.began and one.state == "running":
                self._seen.add(machine)
            if machine in self._seen:
                return {"running", "finished", "stopped"}  # the last ones: it has just ended
            return {"running", "finished", "stopped", "lost", before}  # it has yet to begin
        if number not in self.ended:
            return {"waiting"}
        status, when = self.ended[number]
        if status is not None:
            return {"finished"} if status == 0 else {"stopped"}
        late = asked - when > LOST + 1
        return {"lost", "finished", "stopped", "waiting"} | (set() if late else {"running"})


def campaign(kills: int, rng: random.Random, scheme: str, root: pathlib.Path) -> bool:
    config = root / "twelve.py"
    config.write_text(CONFIG)
    cache = root / "cache"
    cache.mkdir()
    arguments = [f"--config={config}"]
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "scripts/sweep.py", *arguments, f"--workdir={root / 'disk'}"],
        cwd=PROJECT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    each = (time.monotonic() - began) / RUNS
    print(f"undisturbed, one after another: {each:.0f} s a run", flush=True)
    with stores.server(scheme) as address:
        env = stores.environment("http://{}:{}".format(*address))
        os.environ.update(env)
        folder = f"{scheme}://bucket/twelve"
        truth = Truth(folder)
        arguments.append(f"--workdir={folder}")
        queue, alive, ends = collections.deque(range(RUNS)), {}, {}
        warned, machines, done = {}, 0, collections.Counter()
        while queue or alive:
            while queue and len(alive) < AT_A_TIME:
                number = queue.popleft()
                own = root / f"machine-{machines}"
                alive[number] = Machine(number, arguments, own, env, cache)
                machines += 1
                if done["killed"] + len(ends) < kills:
                    # A run takes about three times as long beside two others.
                    ends[number] = time.time() + rng.uniform(0, 4 * each)
                    if rng.random() < 0.5:
                        warned[number] = ends[number] - rng.uniform(0, 30)
            time.sleep(0.5)
            for number, machine in list(alive.items()):
                status = machine.process.poll()
                if status is not None:
                    machine.clean()
                    done[f"ended with {status}"] += 1
                    truth.ended[number] = (status, time.time())
                elif number in warned and time.time() > warned[number]:
                    del warned[number]
                    machine.warn()
                    done["warned"] += 1
                    continue
                elif number in ends and time.time() > ends[number]:
                    machine.kill()
                    done["killed"] += 1
                    truth.ended[number] = (None, time.time())
                else:
                    continue
                ends.pop(number, None), warned.pop(number, None)
                del alive[number]
                if status != 0:
                    queue.append(number)
            truth.look(alive)
        same = [
            figures(f"{folder}/seed={seed}") == figures(str(root / "disk" / f"seed={seed}"))
            for seed in range(RUNS)
        ]
        last = watch.totals(watch.look(folder))
    print(f"{machines} machines: {', '.join(f'{n} {what}' for what, n in done.items())}")
    print(f"{truth.looks} looks at the status, {len(truth.lies)} of them wrong; the last: {last}")
    print("".join(f"  {lie}\n" for lie in truth.lies[:20]), end="")
    print(f"{sum(same)} of {RUNS} runs ended to the bit as undisturbed")
    return all(same) and not truth.lies


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=40, help="(%(default)s)")
    parser.add_argument("--store", choices=("s3", "gs"), default="gs", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="keep the machines' logs")
    args = parser.parse_args()
    logging.getLogger("gcsfs").setLevel(
        logging.ERROR
    )  # it would like to know what kind of bucket this is
    sweep_folder.RENEWED, sweep_folder.LOST = RENEWED, LOST
    began, root = time.monotonic(), pathlib.Path(tempfile.mkdtemp())
    try:
        right = campaign(args.kills, random.Random(args.seed), args.store, root)
    finally:
        if not args.keep:
            shutil.rmtree(root, ignore_errors=True)
    print(f"{time.monotonic() - began:.0f} s")
    sys.exit(not right)


if __name__ == "__main__":
    main()
