"""Stops one of several processes of a run, starts it late, changes their number, and compares how runs end.

All of it on this machine, with a tiny network and one device a process. `same`: what a launcher starts
computes what one process computes. `faults`: one process is killed, stopped or slow; the others have to end
by themselves with one line, and the same command has to go on, to the figures of an undisturbed run, to the
bit. `numbers`: a run goes on with other numbers of processes.

Examples:
  python tests/faults/processes.py same --processes=2
  python tests/faults/processes.py faults --processes=4 --lost_timeout=20
  python tests/faults/processes.py numbers --numbers=4,2,1,2,4
"""

import argparse
import atexit
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).parents[2]
sys.path.append(str(PROJECT / "tests"))

import slurm_cluster  # noqa: E402 - lies beside the tests

CONFIG = """
from configs import common, digits

def get_config():
    config = digits.get_config()
    config.model = common.model("zoph_le", num_classes=10)
    config.model.genotype = "[[3,3,8,1,[0]],[3,3,16,2,[1]]]"
    config.seed = 1
    config.batch_size = 64
    config.total_steps = 60
    config.log_steps = 1
    config.checkpoint_steps = 3
    config.eval_steps = 6
    config.eval_train = True
    return config
"""
LAUNCHERS = ("sky", "kubernetes", "mpirun", "srun")
MOMENTS = ("step", "save", "evaluation")
SIGNALS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def variables(launcher: str, number: int, rank: int, port: int) -> dict[str, str]:
    """Returns what a launcher that is not here tells process `rank` of `number`."""
    if launcher == "kubernetes":
        return {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(number),
            "JOB_COMPLETION_INDEX": str(rank),
        }
    return {
        "SKYPILOT_NODE_IPS": "\n".join(["127.0.0.1"] * number),
        "SKYPILOT_NUM_NODES": str(number),
        "SKYPILOT_NODE_RANK": str(rank),
        "JAX_COORDINATOR_PORT": str(port),
    }


class Run:
    """The processes of a run, each with its stderr in a file."""

    def __init__(self, workdir: pathlib.Path, number: int, *flags: str, launcher: str = "sky"):
        self.workdir, self._number, self._launcher = workdir, number, launcher
        config = workdir.with_name("few.py")
        config.write_text(CONFIG)
        arguments = ("train.py", f"--config={config}", f"--workdir={workdir}", *flags)
        self._command = [sys.executable, *arguments]
        self._env = os.environ | {"JAX_PLATFORMS": "cpu"}
        self._port, self.processes = free_port(), []

    def start(self, *ranks: int) -> "Run":
        if self._launcher in ("mpirun", "srun"):
            ranks, (launch, env) = (0,), self._real()
        for rank in ranks or range(self._number):
            if self._launcher not in ("mpirun", "srun"):
                launch, env = [], variables(self._launcher, self._number, rank, self._port)
            with open(self.error_file(len(self.processes)), "w") as errors:
                self.processes.append(
                    subprocess.Popen(
                        [*launch, *self._command],
                        cwd=PROJECT,
                        env=self._env | (env if self._number > 1 else {}),
                        stdout=subprocess.DEVNULL,
                        stderr=errors,
                    )
                )
        return self

    def _real(self) -> tuple[list[str], dict[str, str]]:
        if self._launcher == "srun":
            return ["srun", "--overcommit", f"-n{self._number}"], {}
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return ["mpirun", "--oversubscribe", "-np", str(self._number)], root

    def error_file(self, place: int) -> pathlib.Path:
        return self.workdir.with_name(f"{self.workdir.name}.errors-{place}")

    def wait(self) -> None:
        """Waits for the end of all, and stops this campaign where one has failed."""
        status = [process.wait() for process in self.processes]
        if any(status):
            sys.exit(f"{self.workdir}: exit status {status}, see {self.error_file(0)}")

    def wait_for(self, moment: str) -> bool:
        """Waits until the run is in a step, a save or an evaluation; False: it has ended before."""
        saving = self.workdir / "checkpoints"
        while all(process.poll() is None for process in self.processes):
            found = lines(self.workdir)
            steps = [line["step"] for line in found if "train/loss" in line]
            evaluated = {line["step"] for line in found if "eval/loss" in line}
            if (
                (moment == "step" and 7 in steps)
                or (moment == "save" and 6 in steps and any(saving.glob("*tmp*")))
                or (moment == "evaluation" and steps and steps[-1] in {12, 18, 24, 30} - evaluated)
            ):
                return True
            time.sleep(0.005)
        return False

    def ends(self, but: int, seconds: float) -> list[tuple[int | None, float, list[str]]]:
        """Returns exit status, seconds and what it said, of each process but one; None: it goes on."""
        began, found = time.monotonic(), {}
        others = [place for place in range(len(self.processes)) if place != but]
        while len(found) < len(others) and time.monotonic() - began < seconds:
            for place in others:
                if place not in found and self.processes[place].poll() is not None:
                    found[place] = time.monotonic() - began
            time.sleep(0.05)
        time.sleep(0.5)  # the last line passes through another process
        return [
            (
                self.processes[place].poll(),
                found.get(place, seconds),
                self.error_file(place).read_text().splitlines(),
            )
            for place in others
        ]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def lines(workdir: pathlib.Path) -> list[dict]:
    file = workdir / "metrics.jsonl"
    whole = file.read_text().split("\n")[:-1] if file.exists() else []
    return [json.loads(line) for line in whole]


def figures(workdir: pathlib.Path) -> list[dict]:
    """Returns what a run has logged, without its speed and its headers."""
    return [
        {key: value for key, value in line.items() if key != "train/images_per_second"}
        for line in lines(workdir)
        if not line.keys() & {"config", "resumed"}
    ]


def difference(one: list[dict], two: list[dict]) -> float:
    """Returns the largest difference of two losses; infinity where other steps or images were counted."""
    counts = [[(line["step"], line.get("eval/images")) for line in found] for found in (one, two)]
    if counts[0] != counts[1]:
        return float("inf")
    names = [(a, b, name) for a, b in zip(one, two, strict=True) for name in a if "loss" in name]
    return max(abs(a[name] - b[name]) for a, b, name in names)


def same(args, folder: pathlib.Path) -> bool:
    alone, good = figures_of_one(folder), True
    if "srun" in args.launchers:
        (folder / "slurm").mkdir()
        cluster = slurm_cluster.Cluster(folder / "slurm")
        atexit.register(cluster.stop)
        cluster.start()
        os.environ |= cluster.env
    for launcher in args.launchers:
        run = Run(folder / launcher, args.processes, launcher=launcher).start()
        run.wait()
        counted = lines(run.workdir)[0]["processes"]
        apart = difference(alone, figures(run.workdir))
        good &= counted == args.processes and apart < 1e-5
        print(f"{launcher}: {counted} processes, losses differ by at most {apart:.1e}", flush=True)
    return good


def figures_of_one(folder: pathlib.Path) -> list[dict]:
    run = Run(folder / "alone", 1).start()
    run.wait()
    return figures(run.workdir)


def numbers(args, folder: pathlib.Path) -> bool:
    alone, workdir = figures_of_one(folder), folder / "numbers"
    for number in args.numbers[:-1]:
        run, done = Run(workdir, number).start(), len(lines(workdir))
        while len(lines(workdir)) < done + 4 and run.processes[0].poll() is None:
            time.sleep(0.005)
        run.processes[-1].terminate()  # one of them, and all save
        status = [process.wait() for process in run.processes]
        print(f"{number} processes: {status}, step {lines(workdir)[-1]['step']}", flush=True)
    Run(workdir, args.numbers[-1]).start().wait()
    apart = difference(alone, figures(workdir))
    print(f"losses differ from those of one process by at most {apart:.1e}")
    return apart < 1e-5


def faults(args, folder: pathlib.Path) -> bool:
    flags = (f"--config.lost_timeout={args.lost_timeout}",)
    whole = Run(folder / "whole", args.processes, *flags).start()
    whole.wait()
    expected, good = figures(whole.workdir), True
    for fault in args.faults:
        for moment in args.moments:
            for victim in args.victims:
                name = f"{fault} in {moment}, process {victim} of {args.processes}"
                run = Run(folder / f"{fault}-{moment}-{victim}", args.processes, *flags).start()
                if not run.wait_for(moment):
                    run.kill()
                    print(f"{name}: had ended before")
                    continue
                run.processes[victim].send_signal(SIGNALS[fault])
                ended = run.ends(victim, args.lost_timeout * 3 + 60)
                run.kill()
                again = Run(run.workdir, args.processes, *flags).start()
                again.wait()
                alike = figures(run.workdir) == expected
                well = alike and all(status and len(said) == 1 for status, _, said in ended)
                good &= well
                seconds = max(seconds for _, seconds, _ in ended)
                print(
                    f"{name}: {'good' if well else 'BAD'}, the others ended after {seconds:.0f} s with "
                    f"{[status for status, _, _ in ended]}, then {'alike' if alike else 'OTHERWISE'}",
                    flush=True,
                )
                if not well:
                    print("\n".join(line for _, _, said in ended for line in said)[:2000])
    return good


def slow(args, folder: pathlib.Path) -> bool:
    good = True
    for late, fits in ((args.lost_timeout, True), (10 * args.lost_timeout, False)):
        flags = (f"--config.start_timeout={2 * args.lost_timeout}",)
        run = Run(folder / f"slow-{late}", args.processes, *flags).start(*range(args.processes - 1))
        if fits:
            time.sleep(late)
            run.start(args.processes - 1).wait()
            print(f"one process {late} s late: all went on")
            continue
        ended = run.ends(-1, late)
        good &= all(status and len(said) == 1 for status, _, said in ended)
        print(f"one process does not come: {ended}")
        run.kill()
    return good


def numbers_of(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def names_of(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("same", "numbers", "faults", "slow"))
    parser.add_argument("--processes", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--lost_timeout", type=int, default=30, help="seconds (%(default)s)")
    parser.add_argument("--launchers", type=names_of, default=LAUNCHERS)
    parser.add_argument("--numbers", type=numbers_of, default=[4, 2, 1, 2, 4])
    parser.add_argument("--faults", type=names_of, default=list(SIGNALS))
    parser.add_argument("--moments", type=names_of, default=MOMENTS)
    parser.add_argument("--victims", type=numbers_of, default=[0, 1])
    args = parser.parse_args()
    began = time.monotonic()
    folder = pathlib.Path(tempfile.mkdtemp())
    good = globals()[args.what](args, folder)
    print(f"{time.monotonic() - began:.0f} s")
    if good:
        shutil.rmtree(folder)
    sys.exit(not good)


if __name__ == "__main__":
    main()
