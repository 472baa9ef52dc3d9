"""Runs a sweep on this machine, some runs at a time, each with its share of the devices or cores."""

import contextlib
import glob
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from sweeps import folder as sweep_folder
from sweeps import watch, worker
from training import files

POLL = 0.5  # seconds
LOCK = "launcher"  # in a run's folder: held while a launcher here looks after it
NO_FAILURE = (0, worker.BUSY, worker.SAVED)  # exit statuses of a run


def launch(
    folder: str,
    names: Iterable[str],
    parallel: int,
    ended: Callable[[str, int], None],
    watch: Callable[[list[str]], list[str]] = lambda running: [],
) -> bool:
    """Runs `names`, `parallel` at a time; returns whether all were run.

    Ctrl-C and SIGTERM reach the runs as SIGTERM: they save and stop, and the same launch goes on later.
    Runs that a launcher left on this machine when it was killed count among those at a time.

    Args:
      folder: of the sweep.
      names: of the runs; each is asked for when there is room for it.
      parallel: the most at a time.
      ended: is told the name and exit status of each run that ends.
      watch: is told, twice a second, which runs are running; returns those to stop.

    Raises:
      ValueError: there are fewer devices or cores than runs at a time.
    """
    free, names, left = shares(parallel), iter(names), orphans(folder)
    if left:
        print(
            f"{len(left)} of the runs are still going, left by a launcher that was killed: "
            f"they count against --parallel={parallel}",
            flush=True,
        )
    running: dict[str, tuple[subprocess.Popen, dict, contextlib.ExitStack]] = {}
    stopping = False

    def stop(*_):
        nonlocal stopping
        stopping = True
        for process, *_ in running.values():
            process.terminate()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        more = True
        while running or (more and not stopping):
            left = {name: share for name, share in left.items() if is_held(folder, name, "lock")}
            while more and len(running) + len(left) < parallel and not stopping:
                name = next(names, None)
                more = name is not None
                if more:
                    used = [one.items() for one in left.values()]
                    unused = (s for s in free if not any(s.items() <= one for one in used))
                    share = next(unused, free[-1])
                    free.remove(share)
                    running[name] = _start(folder, name, share), share, _hold(folder, name)
            for name in watch(list(running)):
                running[name][0].terminate()
            for name, (process, share, held) in list(running.items()):
                if process.poll() is not None:
                    held.close()
                    del running[name]
                    free.append(share)
                    ended(name, process.returncode)
            time.sleep(POLL)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return not stopping


def follow(
    folder: str, names: Iterable[str], parallel: int, metric: str, pace=None, searched=None
) -> dict[str, int] | None:
    """Runs `names` as `launch` does, and tells how they stand: as a table on a terminal, else in lines.

    Args:
      folder: of the sweep.
      names: of the runs.
      parallel: the most at a time.
      metric: to show of each run.
      pace: a `watch.Pace` of all of them, where they are known.
      searched: a `search.Search` that names them.

    Returns:
      The exit status of each run; None where it was stopped by a signal.
    """
    statuses, shown = {}, time.monotonic()

    def ended(name, status):
        statuses[name] = status
        if searched:
            searched.ended(name)
        [standing] = watch.look(folder, [name])
        value = standing.latest(metric)
        text = f"{name}: {standing.state}" + (f", {metric} {value:.4f}" if value else "")
        print(text + (f" ({pace.text()})" if pace else ""), flush=True)
        if standing.state == "failed":
            print("".join(f"    {line}\n" for line in standing.last.splitlines()), end="")

    def look(running):
        nonlocal shown
        terminal = sys.stdout.isatty()
        if time.monotonic() - shown > (watch.pause(folder) if terminal else 300):
            shown = time.monotonic()
            told = [pace.text()] if pace else []
            if terminal:
                names = list(pace.costs) if pace else None
                watch.show("\n".join([watch.table(watch.look(folder, names), metric), *told]))
            else:
                print("".join(f"{line}\n" for line in told), end="", flush=True)
        return searched.watch(running) if searched else []

    return statuses if launch(folder, names, parallel, ended, look) else None


def orphans(folder: str) -> dict[str, dict[str, str]]:
    """Returns the runs of a sweep on this machine whose launcher was killed -> their shares of it."""
    found = {}
    for name in sweep_folder.read(folder)["runs"] if not files.in_bucket(folder) else ():
        state = sweep_folder.state(folder, name)
        is_here = state.get("host") == os.uname().nodename and state["state"] in ("running", "lost")
        if is_here and is_held(folder, name, "lock") and not is_held(folder, name, LOCK):
            share = state.get("share")
            found[name] = share if isinstance(share, dict) else {}
    return found


def is_held(folder: str, name: str, lock: str) -> bool:
    """Whether a process has this lock of a run."""
    try:
        with files.lock(sweep_folder.workdir(folder, name) / lock, wait=False):
            return False
    except BlockingIOError:
        return True


def _hold(folder: str, name: str) -> contextlib.ExitStack:
    """Takes the launcher's lock of a run, until it is closed; where another launcher has it, none."""
    held, workdir = contextlib.ExitStack(), sweep_folder.workdir(folder, name)
    workdir.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(BlockingIOError):
        held.enter_context(files.lock(workdir / LOCK, wait=False))
    return held


def accelerators() -> list[str]:
    """Returns the GPUs that a run may use, without starting JAX."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [d for d in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if d]
    numbers = (re.fullmatch(r"/dev/nvidia(\d+)", path) for path in glob.glob("/dev/nvidia*"))
    return sorted((match[1] for match in numbers if match), key=int)


def is_tpu_host() -> bool:
    return bool(glob.glob("/dev/accel*") + glob.glob("/dev/vfio/[0-9]*"))


def shares(parallel: int) -> list[dict[str, str]]:
    """Returns, for each of the runs at a time, the environment that gives it its part of the machine.

    A part is the same for the whole run: on other numbers of cores XLA computes other last bits. More runs
    than GPUs share them, memory and the machine's cores, too: small networks leave a large GPU idle.

    Raises:
      ValueError: there are fewer devices or cores.
    """
    if parallel == 1:
        return [{}]
    if is_tpu_host():
        raise ValueError(
            f"--parallel={parallel}: on a TPU host choose 1, a run takes all its chips"
        )
    gpus, cores = accelerators(), worker.cores()
    if not 0 < parallel <= max(len(gpus), len(cores)):
        most, kind = max((len(gpus), "GPUs"), (len(cores), "cores"))
        raise ValueError(f"--parallel={parallel}: choose 1 to {most}, the number of {kind}")
    if not gpus:
        return [{worker.CORES: part} for part in _parts(cores, parallel)]
    if parallel <= len(gpus):
        return [{"CUDA_VISIBLE_DEVICES": part} for part in _parts(gpus, parallel)]
    memory = 0.9 / math.ceil(parallel / len(gpus))
    return [
        {
            "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)],
            "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{memory:.3f}",
            worker.CORES: part,
        }
        for i, part in enumerate(_parts(cores, parallel))
    ]


def _parts(numbers: list[str], parts: int) -> list[str]:
    each = len(numbers) // parts
    return [",".join(numbers[i * each : (i + 1) * each]) for i in range(parts)]


def _start(folder: str, name: str, share: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "sweeps.worker", folder, name],
        env=sweep_folder.environment() | share,
        stdout=subprocess.DEVNULL,  # the run has a log
        start_new_session=True,  # Ctrl-C reaches it through `launch` alone
    )
