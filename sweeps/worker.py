"""One run of a sweep, whichever engine starts it: python -m sweeps.worker FOLDER NAME.

It trains in a process of its own, and says in the run's folder how that goes. Two launchers may start
the same run: the second one finds its lock taken, or that it is done. In a bucket there are no locks: it
waits for a sign of life of the first one there, which tells two apart unless they start at the same moment.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from sweeps import folder as sweep_folder
from training import files

CORES = "SWEEP_CORES"  # environment variable: the cores of this run, "0,1"
SHARE = (
    CORES,
    "CUDA_VISIBLE_DEVICES",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
)  # what a launcher gives it
SAVED = 128 + signal.SIGTERM  # exit status of train.py: stopped by a signal, can go on
BUSY = 75  # exit status of this: another process runs it


class Worker:
    """Runs one run of a sweep."""

    def __init__(self, folder: str, name: str):
        self._folder, self._name = folder, name
        self._child = None
        self._stopping = False

    def run(self) -> int:
        """Trains the run to its end, unless it is done; returns the exit status."""
        workdir = sweep_folder.workdir(self._folder, self._name)
        workdir.mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        if sweep_folder.rank():  # one of several processes of the run: only takes part
            return 0 if self._is_finished() else self._train(None)
        try:
            with files.lock(workdir / "lock", wait=False) as lock:
                if self._is_finished():
                    return 0
                if lock is None and self._lives_elsewhere():
                    raise BlockingIOError
                return self._watch(lock)
        except BlockingIOError:
            print(f"{self._name} is running already", flush=True)
            return BUSY

    def stop(self) -> None:
        """Asks train.py to save and to stop."""
        self._stopping = True
        if self._child is not None:
            self._child.terminate()

    def wait(self) -> None:
        """Waits for train.py's end, also from a signal handler that interrupts `run`."""
        if self._child is not None:
            os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)

    def _is_finished(self) -> bool:
        return sweep_folder.state(self._folder, self._name)["state"] == "finished"

    def _lives_elsewhere(self) -> bool:
        """Waits until another worker of the run gives a sign of life, or has given none for so long that it is lost."""
        first = now = sweep_folder.state(self._folder, self._name)
        while now["state"] == "running" and not self._stopping:
            if now["time"] != first["time"]:
                return True
            time.sleep(sweep_folder.RENEWED / 4)
            now = sweep_folder.state(self._folder, self._name)
        return False

    def _watch(self, lock: int | None) -> int:
        """Trains, gives signs of life meanwhile, and notes how it ended."""
        done = threading.Event()
        host = os.uname().nodename
        share = {name: os.environ[name] for name in SHARE if name in os.environ}

        def keep_renewing():
            while True:
                sweep_folder.write_state(
                    self._folder, self._name, "running", host=host, share=share
                )
                if done.wait(sweep_folder.RENEWED):
                    return

        thread = threading.Thread(target=keep_renewing, daemon=True)
        thread.start()
        status = 1
        try:
            status = self._train(lock)
        except SystemExit:  # from a signal handler of the engine, which starts the run again
            status = SAVED
            raise
        finally:
            done.set()
            thread.join()
            state = {0: "finished", SAVED: "stopped"}.get(status, "failed")
            last = sweep_folder.last_lines(self._folder, self._name) if state == "failed" else ""
            sweep_folder.write_state(self._folder, self._name, state, status=status, last=last)
        return status

    def _train(self, lock: int | None) -> int:
        """Runs train.py; returns its exit status."""
        sweep = sweep_folder.read(self._folder)
        if self._name not in sweep["runs"]:
            raise ValueError(f"{self._folder} has no run {self._name}")
        workdir = f"{self._folder}/{self._name}"
        train = sweep_folder.command(sweep, workdir, sweep["runs"][self._name])
        # Slurm warns all processes of a run by these; what to do, this process decides.
        ignoring = ["sh", "-c", 'trap "" USR1 USR2; exec "$@"', "sh"]
        with contextlib.ExitStack() as stack:
            output = None  # in a bucket the engine keeps what is printed
            if not files.in_bucket(self._folder):
                rank = sweep_folder.rank()
                log = f"{workdir}/log-{rank}.txt" if rank else f"{workdir}/log.txt"
                output = stack.enter_context(open(log, "a"))
            self._child = subprocess.Popen(
                [*ignoring, sys.executable, *train],
                env=sweep_folder.environment(),
                stdout=output,
                stderr=output,
                # The child holds the lock, too: should this process be killed, it is still running.
                pass_fds=[] if lock is None else [lock],
                # Signals of a terminal reach it through `stop` alone.
                start_new_session=True,
            )
            if self._stopping:  # the signal came before the child
                self._child.terminate()
            status = self._child.wait()
        return 128 - status if status < 0 else status


def cores() -> list[str]:
    """Returns the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return [str(core) for core in sorted(os.sched_getaffinity(0))]
    return [str(core) for core in range(os.cpu_count() or 1)]


def main(folder: str, name: str) -> int:
    if CORES in os.environ and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in os.environ[CORES].split(",")})
    try:
        return Worker(folder, name).run()
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
